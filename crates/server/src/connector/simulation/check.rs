//! What must hold, judged from what the simulation saw: rows of the store, entries and acks at the
//! devices, commands as they were given out. Nothing here calls the code under test.

mod fold;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::RangeInclusive,
};

use anser_proto::{ConversationId, DeviceId, Seq, UserId, wire};
use anser_store::{InboxPage, PageLimit, memory::Memory, memory::Saved};
use bytes::Bytes;
use prost::Message as _;

use super::device::Disk;
use fold::Fold;

/// The record of a seed, and the judge of it.
#[derive(Default)]
pub(super) struct Check {
    /// Who is in which conversation.
    pub(super) conversations: BTreeMap<ConversationId, Vec<UserId>>,
    pub(super) commands: Vec<Command>,
    /// Which commands were given out under a number; old copies give numbers out again.
    by_key: HashMap<(DeviceId, Seq), Vec<usize>>,
    /// All rows that every inbox ever had in this history, also those that were pruned.
    inboxes: BTreeMap<UserId, Vec<Bytes>>,
    /// What follows from the rows.
    fold: Fold,
    /// The highest message of others that some device of a user stored.
    stored: HashMap<(UserId, ConversationId), Seq>,
    /// The highest number that some device of a user said to have read.
    read: HashMap<(UserId, ConversationId), Seq>,
    /// Where each device is: the last number that it stored.
    views: HashMap<DeviceId, Seq>,
    /// Up to which command a device holds proof of what became of it.
    proved: HashMap<DeviceId, Seq>,
    /// Numbers up to which were skipped, because a store lost them and the device had forgotten.
    skips: Vec<(DeviceId, Seq)>,
    history: u32,
    /// Conversations that were closed at some time.
    closed: Vec<ConversationId>,
    /// Users who got messages from the history, past their inbox.
    by_history: HashSet<UserId>,
}

/// A command as it was given out.
pub(super) struct Command {
    pub(super) user: UserId,
    pub(super) what: What,
    /// Its numbers: one, and another for each device that it was moved to.
    keys: Vec<(DeviceId, Seq)>,
    /// Its device came back from a copy that does not know it.
    lost: bool,
    /// The history in which its device forgot it.
    trimmed_in: Option<u32>,
}

/// What a command asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Send { conversation: ConversationId, fault: Option<BadBody> },
    Read { conversation: ConversationId, conv_seq: Seq },
}

/// Why a message has to be rejected in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BadBody {
    Empty,
    TooLarge,
    UnknownKey,
}

const ALL: PageLimit = PageLimit { entries: usize::MAX, bytes: usize::MAX };

impl Check {
    pub(super) fn add_user(&mut self, user: UserId) {
        self.inboxes.insert(user, Vec::new());
    }

    pub(super) fn users(&self) -> Vec<UserId> {
        self.inboxes.keys().copied().collect()
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u64 {
        self.inboxes.values().map(|rows| rows.len() as u64).sum()
    }

    /// A new command; gives its number here.
    pub(super) fn give_out(&mut self, user: UserId, what: What) -> usize {
        if let What::Read { conversation, conv_seq } = what {
            let read = self.read.entry((user, conversation)).or_default();
            *read = conv_seq.max(*read);
        }
        let command = Command { user, what, keys: Vec::new(), lost: false, trimmed_in: None };
        self.commands.push(command);
        self.commands.len() - 1
    }

    /// A device put it into its outbox.
    pub(super) fn enqueued(&mut self, id: usize, device: DeviceId, client_seq: Seq) {
        self.commands[id].keys.push((device, client_seq));
        self.by_key.entry((device, client_seq)).or_default().push(id);
    }

    /// Reads what is new in every inbox.
    pub(super) fn audit(&mut self, memory: &Memory) {
        for user in self.users() {
            let known = self.inboxes[&user].len() as Seq;
            let head = memory.head(user);
            if head == known {
                continue;
            }
            assert!(head > known, "inbox {user}: rows {head}.. of {known} are gone");
            let InboxPage::Entries { entries, .. } = memory.read_inbox(user, known, ALL) else {
                panic!("inbox {user}: pruned above {known}, which nobody had seen");
            };
            for (expected, row) in (known + 1..).zip(&entries) {
                assert_eq!(row.seq, expected, "inbox {user}: a hole");
                self.inboxes.get_mut(&user).unwrap().push(row.entry.clone());
                self.fold_row(user, &row.entry);
            }
            assert_eq!(self.inboxes[&user].len() as Seq, head, "inbox {user}: its head is no row");
        }
    }

    /// Compares all rows with what they were.
    pub(super) fn audit_all(&mut self, memory: &Memory) {
        for (user, known) in &self.inboxes {
            let floor = memory.floor(*user);
            let InboxPage::Entries { entries, .. } = memory.read_inbox(*user, floor - 1, ALL)
            else {
                panic!("inbox {user}: nothing at its floor {floor}");
            };
            let rows = entries.iter().map(|row| row.seq);
            assert!(rows.eq(floor..=memory.head(*user)), "inbox {user}: not floor ..= head");
            for row in entries {
                let before = known.get(row.seq as usize - 1);
                assert!(
                    before.is_none_or(|before| *before == row.entry),
                    "inbox {user}: row {} changed",
                    row.seq
                );
            }
            assert!(memory.head(*user) >= known.len() as Seq, "inbox {user}: rows are gone");
        }
        self.audit(memory);
    }

    /// An old copy of the store goes on: what came after it never was.
    pub(super) fn restored(&mut self, saved: &Saved) {
        self.history += 1;
        for (user, rows) in &mut self.inboxes {
            rows.truncate(usize::try_from(saved.head(*user)).expect("a length"));
        }
        self.fold = Fold::default();
        self.stored.clear();
        let inboxes = std::mem::take(&mut self.inboxes);
        // What the rows tell was told honestly once; devices may have come and gone since.
        for (user, rows) in &inboxes {
            rows.iter().for_each(|row| self.fold_receipt_as_stored(*user, row));
        }
        for (user, rows) in &inboxes {
            rows.iter().for_each(|row| self.fold_row(*user, row));
        }
        self.inboxes = inboxes;
    }

    /// A conversation was closed, so that receipts may be missing in it.
    pub(super) fn was_closed(&mut self, conversation: ConversationId) {
        self.closed.push(conversation);
    }

    /// A device of another history made the store skip numbers.
    pub(super) fn skipped(&mut self, device: DeviceId, through: Seq) {
        self.skips.push((device, through));
    }

    /// A device stored an entry.
    pub(super) fn stored(&mut self, disk: &Disk, seq: Seq, body: &Bytes, history: u32) {
        let (user, device) = (disk.user, disk.device);
        let view = self.views.entry(device).or_default();
        assert_eq!(seq, *view + 1, "device {device}: not the next entry");
        assert_eq!(disk.position, *view, "device {device}: its position is not what it stored");
        *view = seq;
        let entry = wire::Entry::decode(body.clone()).expect("entries decode");
        let named = fold::names(&entry);
        if let Some((_, client_seq)) = named.filter(|(named, _)| *named == device) {
            self.told(device, client_seq);
        }
        if history != self.history {
            // The last bytes of a server whose history ended.
            return;
        }
        let row = self.inboxes[&user].get(seq as usize - 1);
        let row = row.unwrap_or_else(|| panic!("device {device}: entry {seq} is no row"));
        let own = named.is_some_and(|(named, _)| named == device);
        let same = body == row || (own && *body == wire::without_body(row));
        assert!(same, "device {device}: entry {seq} is not row {seq} of {user}");
        if let Some(wire::entry::Kind::Message(message)) = entry.kind
            && message.sender != user.0
        {
            self.holds(user, ConversationId(message.conversation), message.conv_seq);
        }
    }

    /// Some device of the user stored messages up to here.
    pub(super) fn holds(&mut self, user: UserId, conversation: ConversationId, conv_seq: Seq) {
        let stored = self.stored.entry((user, conversation)).or_default();
        *stored = conv_seq.max(*stored);
    }

    /// A device goes on from elsewhere: a snapshot, or an old copy of its disk.
    pub(super) fn moved(&mut self, disk: &Disk) {
        self.views.insert(disk.device, disk.position);
    }

    /// A device was told what became of its commands up to here.
    pub(super) fn told(&mut self, device: DeviceId, outbox_position: Seq) {
        let proved = self.proved.entry(device).or_default();
        *proved = outbox_position.max(*proved);
    }

    /// A device was acked these commands.
    pub(super) fn acked(&self, disk: &Disk, numbers: RangeInclusive<Seq>, history: u32) {
        if history != self.history {
            return;
        }
        let device = disk.device;
        for client_seq in numbers {
            let skipped = self.skips.iter().any(|(one, to)| *one == device && client_seq <= *to);
            let result = self.fold.results.get(&(device, client_seq));
            assert!(
                result.is_some() || skipped,
                "device {device}: command {client_seq} was acked and is in no inbox"
            );
            let (Some(result), Some(held)) = (result, disk.held(client_seq)) else { continue };
            assert!(
                result.id.is_none_or(|id| id == held.id),
                "device {device}: another command was applied under the acked {client_seq}"
            );
        }
    }

    /// A device forgot a command.
    pub(super) fn trimmed(&mut self, device: DeviceId, client_seq: Seq, id: usize, history: u32) {
        let proved = self.proved.get(&device).copied().unwrap_or(0);
        assert!(client_seq <= proved, "device {device}: forgot {client_seq} without a proof");
        self.commands[id].trimmed_in = Some(history);
    }

    /// A new device leaves a command behind that the server had acked in this history.
    pub(super) fn left_behind(&mut self, id: usize, history: u32) {
        self.commands[id].trimmed_in = Some(history);
    }

    /// A device came back from a copy that does not know this command.
    pub(super) fn lost(&mut self, id: usize) {
        self.commands[id].lost = true;
    }

    /// A device of the user goes on from a snapshot, and reads from the history what it lacks.
    pub(super) fn reads_history(&mut self, user: UserId) {
        self.by_history.insert(user);
    }

    /// After everything healed and all devices caught up.
    pub(super) fn judge(&mut self, memory: &Memory) {
        self.audit_all(memory);
        for (id, command) in self.commands.iter().enumerate() {
            let results = command.keys.iter().filter_map(|key| self.fold.results.get(key));
            let results = results.filter(|result| result.id.is_none_or(|applied| applied == id));
            let results = results.count();
            let forgotten = command.trimmed_in.is_some_and(|history| history < self.history);
            let (what, keys) = (command.what, &command.keys);
            assert!(
                results > 0 || command.lost || forgotten,
                "command {id} {what:?} {keys:?} disappeared"
            );
            assert!(results <= keys.len(), "command {id} {what:?} {keys:?}: {results} results");
        }
        for (id, members) in &self.conversations {
            let messages = memory.history(*id);
            for user in members {
                let seen = self.fold.seen.get(&(*user, *id)).copied().unwrap_or(0);
                assert_eq!(seen, messages.len() as Seq, "conversation {id:?} of {user}");
            }
            if !self.closed.contains(id) {
                self.judge_receipts(memory, *id);
            }
        }
    }

    /// Everybody holds everything, so everybody was told.
    fn judge_receipts(&self, memory: &Memory, id: ConversationId) {
        let senders: Vec<UserId> = memory.history(id).iter().map(fold::sender).collect();
        for (user, delivered, read) in memory.marks(id) {
            let others = senders.iter().rposition(|sender| *sender != user);
            let others = others.map_or(0, |at| at as Seq + 1);
            // What is read from the history is delivered with the next message, if one comes.
            let told = delivered >= others || self.by_history.contains(&user);
            assert!(told, "{id:?}: {user} holds {others}, {delivered} delivered");
            for other in &self.conversations[&id] {
                let told = self.fold.receipts.get(&(*other, id, user)).copied();
                let told = told.unwrap_or_default();
                assert!(
                    *other == user || told == (delivered, read),
                    "{id:?}: {other} was told {told:?} of {user}"
                );
            }
        }
    }
}
