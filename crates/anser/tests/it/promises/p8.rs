//! Only members: the server stamps the sender, and nobody reads or writes a conversation that they
//! are not in.

use anser_client::{ErrorKind, MemoryStorage, Range};
use anser_proto::{Code, wire::entry::Kind};

use crate::support::{
    people::Person,
    raw::{Raw, push, send},
    server::Server,
    site::Account,
};

/// The last of these accounts by id, and the others.
fn last_by_id<const N: usize>(accounts: [Account; N]) -> (Account, Vec<Account>) {
    let mut accounts = accounts.to_vec();
    accounts.sort_by_key(|account| account.user);
    (accounts.pop().expect("an account"), accounts)
}

#[tokio::test]
async fn p8_a_stranger_writes_nothing() {
    let mut server = Server::start().await;
    let (_, bob, chat) = server.friends().await;
    let [mallory] = server.accounts(["mallory"]).await;
    let mut receiver = Raw::online(&server, &bob).await;
    let mut stranger = Raw::online(&server, &mallory).await;
    stranger.send(push(1, send(chat, b"let me in"))).await;
    let (_, entry) = stranger.entry().await;
    let Some(Kind::Rejected(rejected)) = entry.kind else { panic!("rejected, not {entry:?}") };
    assert_eq!(rejected.code, Code::NotMember.number());
    // Bob's next entry is his friend's.
    let friend = server.befriend(&bob, &mallory).await;
    stranger.send(push(2, send(friend, b"now we are friends"))).await;
    for entry in receiver.entries(1, 3).await {
        if let Some(Kind::Message(message)) = entry.kind {
            assert_eq!(message.conversation, friend.0, "nothing of a stranger");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn p8_a_stranger_is_pushed_nothing() {
    let mut server = Server::start().await;
    let accounts = server.accounts(["alice", "bob", "mallory"]).await;
    let (mallory, friends) = last_by_id(accounts);
    let chat = server.befriend(&friends[0], &friends[1]).await;
    let mut stranger = Raw::online(&server, &mallory).await;
    let mut sender = Raw::online(&server, &friends[0]).await;
    for number in 1..=20 {
        sender.send(push(number, send(chat, b"between us"))).await;
    }
    sender.acked(20).await;
    stranger.send(push(1, send(chat, b"what did they say?"))).await;
    let (seq, entry) = stranger.entry().await;
    assert!(matches!(entry.kind, Some(Kind::Rejected(_))), "only what is theirs: {entry:?}");
    assert_eq!(seq, 1, "an inbox that holds nothing else");
    server.stop().await;
}

#[tokio::test]
async fn p8_a_stranger_reads_nothing() {
    let mut server = Server::start().await;
    let (alice, _, chat) = server.friends().await;
    let [mallory] = server.accounts(["mallory"]).await;
    let sender = Person::online(&server, &alice).await;
    sender.client.send(chat, "between us").expect("a place in the outbox").sent().await;
    let stranger = Person::open(&server, &mallory, MemoryStorage::default()).await;
    let refused = stranger.client.send(chat, "knock knock").err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::NotFriends), "the SDK has no key for it");
    let history = stranger.client.rest().history(chat, Range::Latest, 10).await;
    let refused = history.err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Refused(Code::NotFound)));
    let snapshot = stranger.client.rest().snapshot().await.expect("a snapshot");
    assert!(snapshot.conversations.is_empty() && snapshot.relations.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn p8_the_server_stamps_user_device_and_number() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let alices_other = server.device(&alice).await;
    let mut receiver = Raw::online(&server, &bob).await;
    receiver.entries(1, 1).await;
    for (seq, account) in [(2, &alice), (3, &alices_other)] {
        let (mut sender, _) = Raw::resume(&server, account, 1, 0).await;
        sender.send(push(1, send(chat, b"who am I?"))).await;
        let entry = receiver.entries(seq, seq).await.pop().expect("an entry");
        let Some(Kind::Message(message)) = entry.kind else { panic!("a message, not {entry:?}") };
        let stamped = (message.sender, message.device, message.client_seq);
        assert_eq!(stamped, (account.user.0, account.device.0, 1));
    }
    server.stop().await;
}
