//! The link between the nodes of a cluster, on TLS and where only one end has it.

use std::net::SocketAddr;

use anser_proto::ConversationId;
use anser_server::config::Config;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{certificates::certify, people::Person, server::Server, site::Account};

/// What a server that speaks TLS says to whom speaks none: an alert.
const TLS_ALERT: u8 = 21;

#[tokio::test]
async fn people_chat_over_tls_and_also_where_only_one_end_has_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = ["ca.pem", "node.pem", "node.key"].map(|name| folder.path().join(name));
    certify("127.0.0.1", &files);
    let [ca, cert, key] = files;
    let with_tls = |config: &mut Config| {
        config.link.tls_ca = Some(ca.clone());
        (config.link.tls_cert, config.link.tls_key) = (Some(cert.clone()), Some(key.clone()));
    };
    let test = "people_chat_over_tls_and_also_where_only_one_end_has_it";
    let Some(mut server) = Server::start_cluster(test, with_tls).await else { return };
    let (alice, bob, conversation) = server.friends().await;
    let link = server.link_of("connector");
    assert_eq!(hears_in_the_clear(link).await, TLS_ALERT);
    chat(&server, (&alice, &bob), conversation).await;

    server.stop().await;
    server.configure(|config| {
        if config.node.roles.transfer {
            (config.link.tls_ca, config.link.tls_cert) = (None, None);
            config.link.tls_key = None;
        }
    });
    server.start_again().await;
    assert_eq!(hears_in_the_clear(link).await, TLS_ALERT);
    // By the sweep, as nobody rings.
    chat(&server, (&alice, &bob), conversation).await;
    server.stop().await;
}

async fn chat(server: &Server, (alice, bob): (&Account, &Account), conversation: ConversationId) {
    // Devices of their own: these keep nothing.
    let mut reader = Person::online(server, &server.device(bob).await).await;
    let sender = Person::online(server, &server.device(alice).await).await;
    let text = format!("to {}", reader.client.device());
    sender.client.send(conversation, text.clone()).expect("a place in the outbox");
    while reader.text().await != text {}
}

/// The first byte that answers who begins HTTP/2 without TLS.
async fn hears_in_the_clear(address: SocketAddr) -> u8 {
    let mut clear = TcpStream::connect(address).await.expect("it listens");
    let begins = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    clear.write_all(begins).await.expect("it reads");
    clear.read_u8().await.expect("it answers")
}
