//! Everything that can be read, compared with the model.

use anser_proto::wire::{self, RelationState, entry::Kind};
use anser_proto::{ConversationId, Seq, UserId};

use super::super::decode;
use super::model::Conversation;
use super::run::Run;
use crate::{HistoryRange, InboxPage, PageLimit, TokenOwner, UserKey, UserState, UserView};

impl Run {
    pub(super) async fn check(&self) {
        let users: Vec<UserId> = self.model.users.keys().copied().collect();
        let listed = self.world.store.users(None, 1000).await.expect("lists");
        assert!(listed.iter().map(|user| user.id).eq(users.iter().copied()), "all users");
        for user in users {
            self.check_account(user).await;
            self.check_inbox(user).await;
            self.check_relations(user).await;
            self.check_conversations(user).await;
            self.check_files(user).await;
        }
    }

    async fn check_account(&self, id: UserId) {
        let store = &self.world.store;
        let user = store.user(UserKey::Id(id)).await.expect("finds").expect("is there");
        let known = &self.model.users[&id];
        let state = match (known.removed, known.active) {
            (true, _) => UserState::Removed,
            (false, true) => UserState::Active,
            (false, false) => UserState::Disabled,
        };
        assert_eq!((&user.name, user.state), (&known.name, state));

        let devices = self.model.devices.iter().filter(|(_, device)| device.user == id);
        let mut expected: Vec<_> = devices.clone().collect();
        expected.sort_by_key(|(device, row)| (row.created_at_ms, **device));
        let listed = store.devices(id).await.expect("lists");
        assert_eq!(listed.len(), expected.len());
        for (found, (device, row)) in listed.iter().zip(expected) {
            let positions = (found.outbox_position, found.inbox_position);
            assert_eq!(positions, (row.outbox.len() as Seq, row.inbox_position), "{device}");
            let times = (found.created_at_ms, found.seen_at_ms);
            assert_eq!(times, (row.created_at_ms, row.seen_at_ms), "{device}");
        }
        for (device, row) in devices {
            let owner = known.active.then_some(TokenOwner { user: id, device: *device });
            assert_eq!(store.token(row.token).await.expect("finds"), owner);
        }
    }

    async fn check_inbox(&self, id: UserId) {
        let known = &self.model.users[&id];
        let limit = PageLimit { entries: 100, bytes: 1 << 20 };
        if known.floor > 1 {
            let below = self.world.store.read_inbox(id, known.floor - 2, limit).await;
            let below = below.expect("reads");
            let InboxPage::BelowFloor { floor } = below else { panic!("{below:?}") };
            assert_eq!(floor, known.floor);
        }
        let mut after = known.floor - 1;
        loop {
            let page = self.world.store.read_inbox(id, after, limit).await.expect("reads");
            let InboxPage::Entries { entries, head } = page else { panic!("{after}: {page:?}") };
            assert_eq!(head, self.model.head(id), "the head of {id}");
            if entries.is_empty() {
                assert_eq!(after, head, "the last page of {id}");
                return;
            }
            for row in entries {
                after += 1;
                let index = usize::try_from(after).expect("short logs") - 1;
                assert_eq!((row.user, row.seq), (id, after));
                assert_eq!(decode(&row.entry), known.inbox[index], "entry {after} of {id}");
                assert_eq!(row.mark, self.model.mark(id, after));
            }
        }
    }

    async fn check_relations(&self, id: UserId) {
        let listed = self.world.store.relations(id).await.expect("lists");
        let mut expected = Vec::new();
        for (users, pair) in &self.model.pairs {
            let (peer, me) = match id {
                _ if users.0 == id => (users.1, 0),
                _ if users.1 == id => (users.0, 1),
                _ => continue,
            };
            let state = pair.seen_by(me);
            // What never was a friendship and is nothing now does not show.
            if state != RelationState::None || !pair.keys.is_empty() {
                expected.push((pair.id, self.view(peer), state, pair.keys.clone()));
            }
        }
        expected.sort_by_key(|(relation, ..)| *relation);
        let listed: Vec<_> =
            listed.into_iter().map(|one| (one.id, one.peer, one.state, one.wrapped_keys)).collect();
        assert_eq!(listed, expected);
    }

    async fn check_conversations(&self, id: UserId) {
        let store = &self.world.store;
        let listed = store.conversations(id).await.expect("lists");
        let snapshot = store.snapshot(id).await.expect("snapshot");
        assert_eq!((&snapshot.epoch, snapshot.head), (&self.model.epoch, self.model.head(id)));
        assert_eq!(snapshot.conversations, listed);
        assert_eq!(snapshot.relations, store.relations(id).await.expect("lists"));
        let mut left = listed.into_iter();
        for (conversation, known) in &self.model.conversations {
            let range = HistoryRange::Latest;
            let history = store.history(id, *conversation, range, 100_000).await.expect("reads");
            if !known.marks.contains_key(&id) {
                assert_eq!(history, None, "not a member");
                continue;
            }
            let history = history.expect("a member");
            assert!(history.messages.iter().map(decode).eq(known.messages.iter().cloned()));
            self.compare(id, (*conversation, known), &left.next().expect("a conversation"));
            self.check_pages(id, *conversation, known).await;
        }
        assert_eq!(left.next(), None, "no more conversations");
    }

    fn compare(
        &self,
        user: UserId,
        (id, known): (ConversationId, &Conversation),
        found: &crate::Conversation,
    ) {
        let pair = &self.model.pairs[&known.pair];
        let head = known.messages.len() as Seq;
        assert_eq!((found.id, found.open, found.head), (id, pair.friends, head));
        let members = found.members.iter();
        let members = members.map(|one| (one.user.clone(), (one.delivered, one.read)));
        let marks = known.marks.iter().map(|(member, marks)| (self.view(*member), *marks));
        assert!(members.eq(marks), "the marks of {id}: {found:?}");
        let read = known.marks[&user].1;
        let unread = known.messages.iter().filter(|entry| {
            let Some(Kind::Message(message)) = &entry.kind else { panic!("a message") };
            message.sender != user.0 && message.conv_seq > read
        });
        assert_eq!(found.unread, unread.count().min(1000) as u64);
        let last: Option<wire::Entry> = found.last_message.as_ref().map(decode);
        assert_eq!(last.as_ref(), known.messages.last());
    }

    /// Pages from the end to the beginning give the whole history.
    async fn check_pages(&self, user: UserId, id: ConversationId, known: &Conversation) {
        let (mut before, mut pages) = (known.messages.len() as Seq + 1, Vec::new());
        loop {
            let range = HistoryRange::Before(before);
            let page = self.world.store.history(user, id, range, 90).await.expect("reads");
            let page = page.expect("a member");
            assert_eq!(page.more_after, before <= known.messages.len() as Seq);
            before -= page.messages.len() as Seq;
            assert_eq!(page.more_before, before > 1);
            pages.push(page.messages);
            if !page.more_before {
                break;
            }
        }
        let all = pages.iter().rev().flatten().map(decode);
        assert!(all.eq(known.messages.iter().cloned()), "the pages of {id}");
    }

    fn view(&self, id: UserId) -> UserView {
        let name = self.model.users[&id].name.clone();
        UserView { id, display_name: name.to_uppercase(), name }
    }
}
