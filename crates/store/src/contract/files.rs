//! Files: what a message may list, who sees them, how much room they take, and how they end.

use anser_proto::wire::{self, command};
use anser_proto::{Code, ConversationId, FileId, UserId};
use bytes::Bytes;
use prost::Message as _;

use super::{Factory, Person, World};
use crate::{CreateFile, EndFile, File, FileExpiry, FileState, NewFile, Outcome, Record};

const ROOM: u64 = 1_000;

impl World {
    async fn try_file(&self, owner: UserId, to: ConversationId, size: u64) -> CreateFile {
        let now_ms = self.now();
        let new = NewFile { owner, conversation: to, size, user_bytes_max: ROOM, now_ms };
        self.store.create_file(new).await.expect("makes a file")
    }

    async fn file(&self, owner: UserId, to: ConversationId, size: u64) -> FileId {
        match self.try_file(owner, to, size).await {
            CreateFile::Created(file) => file.id,
            CreateFile::Refused(code) => panic!("refused: {code:?}"),
        }
    }

    async fn complete(&self, file: FileId) -> Option<File> {
        self.store.advance_file(file, true, self.now()).await.expect("completes")
    }

    /// A complete file.
    async fn whole_file(&self, owner: UserId, to: ConversationId) -> FileId {
        let file = self.file(owner, to, 10).await;
        assert_eq!(self.complete(file).await.expect("a file").state, FileState::Complete);
        file
    }

    async fn state(&self, user: UserId, file: FileId) -> Option<FileState> {
        self.store.file(user, file).await.expect("reads").map(|file| file.state)
    }

    async fn expire(&self, incomplete_before_ms: u64, complete_before_ms: u64) -> Vec<FileId> {
        let expiry = FileExpiry { incomplete_before_ms, complete_before_ms, files_max: 100 };
        let mut ids = self.store.expire_files(expiry).await.expect("looks");
        ids.sort();
        ids
    }
}

impl Person {
    fn send_files(self, client_seq: u64, to: ConversationId, files: &[FileId]) -> Record {
        let files = files.iter().map(|file| file.0).collect();
        let send = wire::Send { conversation: to.0, key_version: 1, files };
        let (kind, body) = (Some(command::Kind::Send(send)), Bytes::from_static(b"sealed"));
        self.command(client_seq, wire::Command { kind, body }.encode_to_vec())
    }
}

/// A message lists complete files of its sender that are for its conversation, and no others.
pub async fn files_a_message_lists_whole_files_of_its_own(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, chat) = world.friends().await;
    let carol = world.person().await;
    let other_chat = world.befriend(alice.user, carol.user).await;
    let incomplete = world.file(alice.user, chat, 10).await;
    let (mine, elsewhere, theirs) = (
        world.whole_file(alice.user, chat).await,
        world.whole_file(alice.user, other_chat).await,
        world.whole_file(bob.user, chat).await,
    );
    let ended = world.whole_file(alice.user, chat).await;
    assert_eq!(world.store.end_file(alice.user, ended).await.expect("ends"), EndFile::Ended);
    let refused = [
        (incomplete, Code::FileIncomplete),
        (elsewhere, Code::FileGone),
        (theirs, Code::FileGone),
        (ended, Code::FileGone),
        (FileId(mine.0 ^ 1), Code::FileGone),
        (FileId(u64::MAX), Code::FileGone),
    ];
    for (client_seq, (file, code)) in (1..).zip(refused) {
        let record = alice.send_files(client_seq, chat, &[file]);
        assert_eq!(world.rejection(alice, record).await, code, "{file}");
    }
    let seq = refused.len() as u64 + 1;
    let send = alice.send_files(seq, chat, &[mine]);
    let committed = world.commit(vec![send.clone()]).await;
    assert_eq!(committed.entries.len(), 2, "a message for both");
    assert_eq!(world.state(bob.user, mine).await, Some(FileState::Referenced));
    assert_eq!(world.one(send).await, Outcome::Repeat);
    // Moved to another device, or sent once more: it is the same file of the same conversation.
    assert_eq!(world.commit(vec![alice.send_files(seq + 1, chat, &[mine])]).await.entries.len(), 2);
    assert_eq!(world.state(carol.user, elsewhere).await, None, "what was refused changed nothing");
    assert_eq!(world.state(alice.user, elsewhere).await, Some(FileState::Complete));
}

/// Sixteen files at most, and one bad one refuses the message as a whole.
pub async fn files_a_list_is_bounded_and_all_or_nothing(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, chat) = world.friends().await;
    let mut files = Vec::new();
    for _ in 0..17 {
        files.push(world.whole_file(alice.user, chat).await);
    }
    let record = alice.send_files(1, chat, &files);
    assert_eq!(world.rejection(alice, record).await, Code::TooManyFiles);
    let bad = world.file(alice.user, chat, 10).await;
    let record = alice.send_files(2, chat, &[files[0], bad]);
    assert_eq!(world.rejection(alice, record).await, Code::FileIncomplete);
    assert_eq!(world.state(alice.user, files[0]).await, Some(FileState::Complete));
    world.commit(vec![alice.send_files(3, chat, &files[..16])]).await;
    for file in &files[..16] {
        assert_eq!(world.state(bob.user, *file).await, Some(FileState::Referenced));
    }
    // Two messages of one batch can list the same file.
    let both = [4, 5].map(|seq| alice.send_files(seq, chat, &files[16..])).to_vec();
    assert_eq!(world.commit(both).await.entries.len(), 4);
}

/// Before a message names it a file is its owner's alone; then it is the members', friends or not.
pub async fn files_are_seen_by_members_once_a_message_names_them(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, chat) = world.friends().await;
    let eve = world.person().await;
    let file = world.whole_file(alice.user, chat).await;
    assert_eq!(world.state(alice.user, file).await, Some(FileState::Complete));
    assert_eq!(world.state(bob.user, file).await, None);
    world.commit(vec![alice.send_files(1, chat, &[file])]).await;
    for member in [alice, bob] {
        assert_eq!(world.state(member.user, file).await, Some(FileState::Referenced));
    }
    assert_eq!(world.state(eve.user, file).await, None);
    world.relate(bob.user, crate::RelationAction::Remove, alice.user).await;
    assert_eq!(world.state(bob.user, file).await, Some(FileState::Referenced), "as old history");
    assert_eq!(world.store.end_file(alice.user, file).await.expect("asks"), EndFile::Referenced);
    assert_eq!(world.store.end_file(bob.user, file).await.expect("asks"), EndFile::Unknown);
}

/// That a message names a file is as durable as the message.
pub async fn files_stay_named_after_a_crash(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, bob, chat) = world.friends().await;
    let (named, loose) =
        (world.whole_file(alice.user, chat).await, world.whole_file(alice.user, chat).await);
    world.commit(vec![alice.send_files(1, chat, &[named])]).await;
    world.store = factory.crash(world.store).await;
    assert_eq!(world.state(bob.user, named).await, Some(FileState::Referenced));
    assert_eq!(world.expire(u64::MAX, u64::MAX).await, [loose], "and never collected");
    world.reopen(factory).await;
    assert_eq!(world.expire(0, 0).await, [loose], "until it is forgotten");
}

/// Only members of an open conversation make files, and only as many bytes as they may have.
pub async fn files_are_made_by_members_within_their_room(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, chat) = world.friends().await;
    let eve = world.person().await;
    let refused = CreateFile::Refused(Code::NotMember);
    assert_eq!(world.try_file(eve.user, chat, 1).await, refused);
    assert_eq!(world.try_file(alice.user, ConversationId(chat.0 ^ 1), 1).await, refused);
    let first = world.file(alice.user, chat, 600).await;
    let full = CreateFile::Refused(Code::QuotaExceeded);
    assert_eq!(world.try_file(alice.user, chat, 401).await, full);
    assert_eq!(world.try_file(alice.user, chat, u64::MAX).await, full);
    world.file(alice.user, chat, 400).await;
    world.file(bob.user, chat, ROOM).await;
    assert_eq!(world.store.end_file(alice.user, first).await.expect("ends"), EndFile::Ended);
    assert_eq!(world.try_file(alice.user, chat, 1).await, full, "its bytes are still there");
    world.store.forget_files(vec![first]).await.expect("forgets");
    world.file(alice.user, chat, 600).await;
    world.relate(bob.user, crate::RelationAction::Remove, alice.user).await;
    assert_eq!(world.try_file(alice.user, chat, 0).await, refused, "closed");
}

/// A file that no message names ends after its time, whatever state it is in; one that grows lives.
pub async fn files_nobody_names_end_and_are_forgotten(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, _, chat) = world.friends().await;
    let start = world.now();
    let incomplete = world.file(alice.user, chat, 10).await;
    let grows = world.file(alice.user, chat, 10).await;
    let complete = world.whole_file(alice.user, chat).await;
    world.now_ms.store(start + 100, std::sync::atomic::Ordering::Relaxed);
    let grown = world.store.advance_file(grows, false, world.now()).await.expect("grows");
    assert_eq!(
        grown.map(|file| (file.state, file.updated_at_ms)),
        Some((FileState::Incomplete, start + 100))
    );
    assert_eq!(world.expire(start, start).await, []);
    assert_eq!(world.expire(start + 1, start).await, [incomplete]);
    assert_eq!(world.state(alice.user, incomplete).await, None);
    assert_eq!(world.complete(incomplete).await, None, "it can not come back");
    let mut both = [incomplete, complete];
    both.sort();
    assert_eq!(world.expire(start + 1, start + 1).await, both);
    world.store.forget_files(vec![incomplete, complete, grows]).await.expect("forgets");
    assert_eq!(world.expire(start + 1, start + 1).await, []);
    assert_eq!(world.state(alice.user, grows).await, Some(FileState::Incomplete), "not ended");
    world.reopen(factory).await;
    assert_eq!(world.expire(start + 1, start + 1).await, []);
    let record = alice.send_files(1, chat, &[complete]);
    assert_eq!(world.rejection(alice, record).await, Code::FileGone);
}
