//! Several servers on one database: what one of them commits, the sessions of the others learn by
//! the sweep.

use anser_proto::Code;
use anser_server::config::ServiceUrl;

use crate::support::{
    database::Database,
    people::Person,
    raw::{Raw, push, send},
    server::Server,
};

async fn two(database: &Database) -> (Server, Server) {
    let url = database.url();
    let one = Server::start_with(|config| config.store.url = Some(ServiceUrl::new(url))).await;
    let other = one.start_beside().await;
    (one, other)
}

#[tokio::test]
async fn people_on_different_servers_chat() {
    let Some(database) = Database::new("people_on_different_servers_chat") else { return };
    let (mut one, mut other) = two(&database).await;
    let (alice, bob, chat) = one.friends().await;
    let mut alice = Person::online(&one, &alice).await;
    let mut bob = Person::online(&other, &bob).await;
    for round in 0..3 {
        let (to, from) = (format!("there {round}"), format!("back {round}"));
        alice.client.send(chat, to.clone()).expect("a place in the outbox");
        assert_eq!(bob.text().await, to);
        bob.client.send(chat, from.clone()).expect("a place in the outbox");
        assert_eq!(alice.texts(2).await, [to, from], "her own, and his");
        assert_eq!(bob.text().await, format!("back {round}"), "his own");
    }
    alice.receipt((1, 0)).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_device_is_connected_to_one_server_and_ends_on_all() {
    let test = "a_device_is_connected_to_one_server_and_ends_on_all";
    let Some(database) = Database::new(test) else { return };
    let (mut one, mut other) = two(&database).await;
    let (alice, bob, chat) = one.friends().await;
    let mut older = Raw::online(&one, &alice).await;
    let (mut newest, _) = Raw::resume(&other, &alice, 1, 0).await;
    assert_eq!(older.closed().await, Code::Replaced);
    newest.send(push(1, send(chat, b"still here"))).await;
    newest.acked(1).await;

    let (mut revoked, _) = Raw::resume(&other, &bob, 1, 0).await;
    let owner = Person::online(&one, &one.device(&bob).await).await;
    owner.client.rest().revoke(bob.device).await.expect("revoked");
    assert_eq!(revoked.closed().await, Code::Unauthenticated);
    one.stop().await;
    other.stop().await;
}
