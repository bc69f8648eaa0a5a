//! A store in memory, for simulations: the real apply rule over a disk that fails by plan.
//!
//! Plain functions: no thread, no clock, no I/O. A batch that was begun is neither durable nor seen
//! until [`Memory::sync`]; [`Memory::crash`] says how many of the begun ones had reached the disk
//! before anybody was told. It is no engine to serve people from: accounts, tokens and the steps of
//! making friends are left out.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use anser_proto::wire::{self, RelationState, entry};
use anser_proto::{Code, ConversationId, DeviceId, Seq, SessionId, UserId, fault::Fault};
use bytes::Bytes;

use crate::apply::{
    self, Bounds, Conversation, Device, IdMap, Limits, Member, NewRow, Session, WorkingSet,
};
use crate::{
    Batch, Committed, Greeting, Hello, InboxPage, LiveSession, Mark, NewEntry, PageLimit, Swept,
};

/// The store.
pub struct Memory {
    /// What is durable and seen.
    now: Saved,
    /// Batches that were begun, oldest first.
    begun: VecDeque<Batch>,
    limits: Limits,
    /// What a crash falls back to, when a planted fault left out the sync.
    unsynced: Option<Box<Saved>>,
}

/// All rows of a store.
#[derive(Default)]
pub struct Saved {
    epoch: String,
    set: WorkingSet,
    inboxes: IdMap<UserId, Inbox>,
    history: IdMap<ConversationId, Vec<Bytes>>,
}

/// The rows `floor ..= head` of a user.
#[derive(Clone)]
struct Inbox {
    floor: Seq,
    rows: VecDeque<NewEntry>,
    /// When the newest message among the rows up to each one was made, to prune by.
    made_at_ms: VecDeque<u64>,
}

/// A member's watermarks: user, delivered, read.
pub type Marks = (UserId, Seq, Seq);

impl Memory {
    /// An empty store.
    pub fn new(epoch: &str, body_bytes_max: usize) -> Self {
        let now = Saved { epoch: epoch.to_owned(), ..Saved::default() };
        Self { now, begun: VecDeque::new(), limits: Limits { body_bytes_max }, unsynced: None }
    }

    /// Adds a user with an empty inbox.
    pub fn add_user(&mut self, user: UserId) {
        self.now.set.heads.insert(user, 0);
        let inbox = Inbox { floor: 1, rows: VecDeque::new(), made_at_ms: VecDeque::new() };
        self.now.inboxes.insert(user, inbox);
        // For the fault `DeliverAcross`: somebody whom nothing of others concerns.
        self.now.set.stranger = Some(user);
    }

    /// Adds a device, which starts at the head of its user's inbox.
    pub fn add_device(&mut self, user: UserId, device: DeviceId, now_ms: u64) {
        let inbox_position = self.head(user);
        let row = Device { user, inbox_position, seen_at_ms: now_ms, ..Device::default() };
        self.now.set.devices.insert(device, row);
    }

    /// Adds an open conversation.
    pub fn add_conversation(&mut self, id: ConversationId, users: &[UserId]) {
        let member = |user: &UserId| Member { user: *user, ..Member::default() };
        let members = users.iter().map(member).collect();
        let row = Conversation { open: true, head: 0, key_version: 1, members };
        self.now.set.conversations.insert(id, row);
    }

    /// Ends being friends, or befriends again under a new key version, and tells both; nothing when
    /// it is so already.
    pub fn set_open(&mut self, id: ConversationId, open: bool) -> Vec<NewEntry> {
        let mut entries = Vec::new();
        let Some(row) = self.now.set.conversations.get_mut(&id) else { return entries };
        if row.open == open {
            return entries;
        }
        row.open = open;
        row.key_version += u32::from(open);
        let key_version = row.key_version;
        let users: Vec<UserId> = row.members.iter().map(|member| member.user).collect();
        let state = if open { RelationState::Friends } else { RelationState::None };
        for user in &users {
            let peer = users.iter().find(|other| *other != user).unwrap_or(user);
            let relation = wire::Relation {
                relation: id.0,
                peer: peer.0,
                peer_name: String::new(),
                state: state.into(),
                key_version,
            };
            let entry = apply::encode_entry(entry::Kind::Relation(relation));
            let row = NewRow { user: *user, entry, mark: Mark::Other };
            apply::push_entry(&mut self.now.set.heads, &mut entries, row);
        }
        self.now.append(&entries, 0);
        entries
    }

    /// Takes a batch; it is neither durable nor seen yet.
    pub fn begin(&mut self, batch: Batch) {
        self.begun.push_back(batch);
    }

    /// How many batches were begun and not decided.
    pub fn begun(&self) -> usize {
        self.begun.len()
    }

    /// Makes the oldest begun batch durable, then seen, and tells what became of it.
    pub fn sync(&mut self) -> Option<Committed> {
        let batch = self.begun.pop_front()?;
        if Fault::SkipSync.is_on() && self.unsynced.is_none() {
            self.unsynced = Some(Box::new(self.save()));
        }
        Some(self.now.apply(&batch, self.limits))
    }

    /// Runs a batch again whose answer was lost.
    pub fn again(&mut self, batch: &Batch) -> Committed {
        self.now.apply(batch, self.limits)
    }

    /// Gives up the oldest begun batch: nothing of it was applied.
    pub fn refuse(&mut self) -> Option<Batch> {
        self.begun.pop_front()
    }

    /// The process ends. The first `survivors` of the begun batches were durable already, though
    /// nobody was told; the others are lost.
    pub fn crash(&mut self, survivors: usize) {
        for batch in self.begun.drain(..).take(survivors) {
            self.now.apply(&batch, self.limits);
        }
        if let Some(synced) = self.unsynced.take() {
            self.now = *synced;
        }
        self.now.set.sessions.clear();
    }

    /// A copy of what is durable.
    pub fn save(&self) -> Saved {
        let Saved { epoch, set, inboxes, history } = &self.now;
        let set = WorkingSet {
            devices: set.devices.clone(),
            conversations: set.conversations.clone(),
            files: set.files.clone(),
            heads: set.heads.clone(),
            once: set.once.clone(),
            sessions: IdMap::default(),
            stranger: set.stranger,
        };
        Saved { epoch: epoch.clone(), set, inboxes: inboxes.clone(), history: history.clone() }
    }

    /// Goes on from a copy, as another history.
    pub fn restore(&mut self, saved: Saved, epoch: &str) {
        self.begun.clear();
        self.unsynced = None;
        self.now = Saved { epoch: epoch.to_owned(), ..saved };
    }

    /// The epoch.
    pub fn epoch(&self) -> &str {
        &self.now.epoch
    }

    /// Whose device it is.
    pub fn owner(&self, device: DeviceId) -> Option<UserId> {
        Some(self.now.set.devices.get(&device)?.user)
    }

    /// The last applied command of a device.
    pub fn outbox_position(&self, device: DeviceId) -> Seq {
        self.now.set.devices.get(&device).map_or(0, |row| row.outbox_position)
    }

    /// The head of an inbox.
    pub fn head(&self, user: UserId) -> Seq {
        self.now.set.heads.get(&user).copied().unwrap_or(0)
    }

    /// The lowest row that an inbox still has, or the one that it gets next.
    pub fn floor(&self, user: UserId) -> Seq {
        self.now.inboxes.get(&user).map_or(1, |inbox| inbox.floor)
    }

    /// The messages of a conversation, rising from number 1.
    pub fn history(&self, conversation: ConversationId) -> &[Bytes] {
        self.now.history.get(&conversation).map_or(&[], Vec::as_slice)
    }

    /// The watermarks of a conversation's members.
    pub fn marks(&self, conversation: ConversationId) -> Vec<Marks> {
        let row = self.now.set.conversations.get(&conversation);
        let members = row.map_or(&[][..], |row| &row.members);
        members.iter().map(|one| (one.user, one.delivered, one.read)).collect()
    }

    /// As [`crate::Store::greet`].
    pub fn greet(&mut self, device: DeviceId, hello: &Hello, now_ms: u64) -> Option<Greeting> {
        self.now.set.sessions.insert(device, Session::new(hello.session));
        let user = self.owner(device)?;
        let inbox = Bounds { head: self.head(user), floor: self.floor(user) };
        let row = self.now.set.devices.get_mut(&device)?;
        row.seen_at_ms = row.seen_at_ms.max(now_ms);
        Some(apply::greet(&self.now.epoch, row, inbox, hello))
    }

    /// As [`crate::Store::sweep`].
    pub fn sweep(&self, sessions: &[LiveSession]) -> Swept {
        let mut heads: Vec<_> =
            sessions.iter().map(|one| (one.user, self.head(one.user))).collect();
        heads.sort_unstable();
        heads.dedup();
        let set = &self.now.set;
        let over = |one: &LiveSession| match set.sessions.get(&one.device) {
            _ if !set.devices.contains_key(&one.device) => Some((*one, Code::Unauthenticated)),
            Some(live) if live.id != one.session => Some((*one, Code::Replaced)),
            _ => None,
        };
        let applied =
            |one: &LiveSession| Some((one.device, set.devices.get(&one.device)?.outbox_position));
        let applied = sessions.iter().filter_map(applied).collect();
        Swept { heads, applied, over: sessions.iter().filter_map(over).collect() }
    }

    /// As [`crate::Store::leave`].
    pub fn leave(&mut self, device: DeviceId, session: SessionId) {
        let sessions = &mut self.now.set.sessions;
        if sessions.get(&device).is_some_and(|live| live.id == session) {
            sessions.remove(&device);
        }
    }

    /// As [`crate::Store::read_inbox`].
    pub fn read_inbox(&self, user: UserId, after: Seq, limit: PageLimit) -> InboxPage {
        let Some(inbox) = self.now.inboxes.get(&user) else {
            return InboxPage::Entries { entries: Vec::new(), head: 0 };
        };
        if after + 1 < inbox.floor {
            return InboxPage::BelowFloor { floor: inbox.floor };
        }
        let first = inbox.rows.partition_point(|row| row.seq <= after);
        let mut bytes = 0;
        let mut entries: Vec<NewEntry> = Vec::new();
        for row in inbox.rows.range(first..) {
            let full = entries.len() >= limit.entries.max(1) || bytes >= limit.bytes;
            if full && !entries.is_empty() {
                break;
            }
            bytes += row.entry.len();
            entries.push(row.clone());
        }
        InboxPage::Entries { entries, head: self.head(user) }
    }

    /// As [`crate::Store::prune`], in one step.
    pub fn prune(&mut self, older_than_ms: u64) -> u64 {
        let mut count = 0;
        for (user, inbox) in &mut self.now.inboxes {
            let used = |row: &&Device| row.user == *user && row.seen_at_ms >= older_than_ms;
            let devices = self.now.set.devices.values().filter(used);
            let passed = devices.map(|row| row.inbox_position).min().unwrap_or(Seq::MAX);
            while inbox.rows.len() > 1
                && inbox.floor <= passed
                && inbox.made_at_ms.front().is_some_and(|made| *made < older_than_ms)
            {
                inbox.rows.pop_front();
                inbox.made_at_ms.pop_front();
                inbox.floor += 1;
                count += 1;
            }
        }
        count
    }
}

impl Saved {
    /// The head of an inbox.
    pub fn head(&self, user: UserId) -> Seq {
        self.set.heads.get(&user).copied().unwrap_or(0)
    }

    fn apply(&mut self, batch: &Batch, limits: Limits) -> Committed {
        let commands = apply::decode(batch);
        let applied = apply::apply(&mut self.set, batch, commands, limits);
        for (conversation, _, entry) in applied.messages {
            self.history.entry(conversation).or_default().push(entry);
        }
        self.append(&applied.entries, batch.now_ms);
        Committed { outcomes: applied.outcomes, entries: applied.entries, sync: None }
    }

    fn append(&mut self, entries: &[NewEntry], now_ms: u64) {
        for entry in entries {
            let Some(inbox) = self.inboxes.get_mut(&entry.user) else { continue };
            let newest = inbox.made_at_ms.back().copied().unwrap_or(0);
            inbox.made_at_ms.push_back(newest.max(now_ms));
            inbox.rows.push_back(entry.clone());
        }
    }
}
