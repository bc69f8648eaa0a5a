//! Looks into the database of a server that is not running: what is there, whatever anybody was
//! told.

use std::{collections::HashMap, sync::Arc};

use anser_proto::{ConversationId, DeviceId, Seq, UserId, wire, wire::entry::Kind};
use anser_store::{InboxPage, PageLimit, Store};
use bytes::Bytes;
use prost::Message as _;

const PAGE: PageLimit = PageLimit { entries: 1000, bytes: 16 << 20 };

/// What earlier looks found: a row that was once there never changes.
#[derive(Default)]
pub(crate) struct Audit {
    rows: HashMap<(UserId, Seq), Bytes>,
}

/// One inbox from its floor to its head.
pub(crate) struct Inbox {
    pub(crate) floor: Seq,
    pub(crate) head: Seq,
}

impl Audit {
    /// Looks again. Every inbox has exactly the rows floor ..= head, no row differs from an earlier
    /// look, and what was acked to a device (`acked`) is applied, once, in order and for everybody.
    pub(crate) async fn look(
        &mut self,
        store: Arc<dyn Store>,
        acked: &HashMap<DeviceId, Seq>,
    ) -> HashMap<UserId, Inbox> {
        let mut inboxes = HashMap::new();
        let mut histories = HashMap::new();
        for user in store.users(None, 10_000).await.expect("users") {
            let (floor, rows) = self.rows(&*store, user.id).await;
            let head = floor + rows.len() as Seq - 1;
            let devices = store.devices(user.id).await.expect("devices");
            let positions = devices.iter().map(|device| (device.id, device.outbox_position));
            for (device, position) in positions {
                let acked = acked.get(&device).copied().unwrap_or(0);
                assert!(position >= acked, "{device}: {acked} was acked, {position} is there");
                if floor == 1 {
                    let named = rows.iter().filter_map(|row| names(row, device));
                    assert!(named.eq(1..=position), "{device}: one entry for each of {position}");
                }
            }
            for (conversation, messages) in by_conversation(&rows) {
                let known = histories.entry(conversation).or_insert_with(|| messages.clone());
                assert!(floor > 1 || *known == messages, "{conversation}: the members agree");
            }
            inboxes.insert(user.id, Inbox { floor, head });
        }
        store.close().await.expect("closed");
        inboxes
    }

    async fn rows(&mut self, store: &dyn Store, user: UserId) -> (Seq, Vec<wire::Entry>) {
        let floor = match store.read_inbox(user, 0, PAGE).await.expect("a page") {
            InboxPage::BelowFloor { floor } => floor,
            InboxPage::Entries { .. } => 1,
        };
        let mut rows = Vec::new();
        loop {
            let after = floor - 1 + rows.len() as Seq;
            let page = store.read_inbox(user, after, PAGE).await.expect("an inbox without holes");
            let InboxPage::Entries { entries, head } = page else { panic!("above the floor") };
            for row in entries {
                assert_eq!(row.seq, floor + rows.len() as Seq, "no hole");
                let known = self.rows.entry((user, row.seq)).or_insert_with(|| row.entry.clone());
                assert_eq!(*known, row.entry, "row {} of {user} never changes", row.seq);
                rows.push(wire::Entry::decode(row.entry).expect("an entry"));
            }
            if floor - 1 + rows.len() as Seq == head {
                return (floor, rows);
            }
        }
    }
}

/// The command of `device` that an entry names.
fn names(entry: &wire::Entry, device: DeviceId) -> Option<Seq> {
    let (by, client_seq) = match entry.kind.as_ref()? {
        Kind::Message(message) => (message.device, message.client_seq),
        Kind::ReadMark(mark) => (mark.device, mark.client_seq),
        Kind::Rejected(rejected) => (rejected.device, rejected.client_seq),
        Kind::Receipt(_) | Kind::Relation(_) => return None,
    };
    (by == device.0).then_some(client_seq)
}

/// The messages of an inbox, which are numbered without holes in each conversation.
fn by_conversation(rows: &[wire::Entry]) -> HashMap<ConversationId, Vec<wire::Message>> {
    let mut conversations: HashMap<_, Vec<wire::Message>> = HashMap::new();
    for row in rows {
        let Some(Kind::Message(message)) = &row.kind else { continue };
        let known = conversations.entry(ConversationId(message.conversation)).or_default();
        let next = known.last().map_or(message.conv_seq, |last| last.conv_seq + 1);
        assert_eq!(message.conv_seq, next, "conversation {} has no hole", message.conversation);
        known.push(*message);
    }
    conversations
}
