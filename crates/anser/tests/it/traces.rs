//! Traces: a command is followed from its socket to the store and back, through all processes that
//! it passes, and a collector learns no more than numbers.

use anser_server::config::{Config, Share};

use crate::support::{
    collector::{Collector, Heard, Told},
    people::Person,
    server::Server,
    site::Account,
};

const TEXT: &str = "what nobody else is to read";

fn to(collector: &Collector) -> impl FnOnce(&mut Config) + use<> {
    let endpoint = collector.endpoint();
    move |config| {
        config.trace.endpoint = Some(endpoint);
        config.trace.sample = Share::new(1.0).expect("all of them");
    }
}

#[tokio::test]
async fn a_command_is_followed_to_the_store_and_back() {
    let collector = Collector::start().await;
    let mut server = Server::start_with(to(&collector)).await;
    let (alice, spans) = chat(&server, &collector, &["command", "transfer", "commit"]).await;
    is_one_trace(&alice, &spans);
    server.stop().await;
}

#[tokio::test]
async fn a_command_is_followed_through_a_cluster() {
    let collector = Collector::start().await;
    let test = "a_command_is_followed_through_a_cluster";
    let Some(mut server) = Server::start_cluster(test, to(&collector)).await else { return };
    let steps = ["command", "publish", "transfer", "commit"];
    let (alice, spans) = chat(&server, &collector, &steps).await;
    is_one_trace(&alice, &spans);
    for (step, role) in steps.iter().zip(["connector", "connector", "transfer", "transfer"]) {
        let span = named(&spans, step);
        assert_eq!(span.node("anser.roles").as_deref(), Some(role), "{step}");
        assert_eq!(span.node("service.name").as_deref(), Some("anser"));
    }
    let publish = named(&spans, "publish");
    assert_eq!(publish.span.parent_span_id, named(&spans, "command").span.span_id);
    server.stop().await;
}

/// Alice writes to Bob. Gives Alice, and the spans of her command once all these steps are told.
async fn chat(server: &Server, collector: &Collector, steps: &[&str]) -> (Account, Vec<Told>) {
    let (alice, bob, chat) = server.friends().await;
    let sender = Person::online(server, &alice).await;
    let mut reader = Person::online(server, &bob).await;
    sender.client.send(chat, TEXT.to_owned()).expect("a place in the outbox");
    assert_eq!(reader.text().await, TEXT);
    let of_command = |heard: &Heard| {
        let first = heard.spans.iter().find(|told| {
            told.span.name == "command"
                && told.says("anser.device") == Some(alice.device.to_string())
                && told.says("anser.client_seq").as_deref() == Some("1")
        })?;
        assert_eq!(first.says("anser.conversation"), Some(chat.to_string()));
        let trace = heard.spans.iter().filter(|told| told.span.trace_id == first.span.trace_id);
        let trace: Vec<Told> = trace.cloned().collect();
        let there = |step: &&str| trace.iter().any(|told| told.span.name == **step);
        steps.iter().all(there).then_some(trace)
    };
    let spans = collector.heard(of_command).await;
    let bytes = collector.heard(|heard| Some(heard.bytes.clone())).await;
    for secret in [TEXT, &alice.token, &bob.token, &alice.name, &bob.name] {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "the collector learned {secret:?}");
    }
    (alice, spans)
}

#[track_caller]
fn is_one_trace(alice: &Account, spans: &[Told]) {
    let [command, transfer, commit] = ["command", "transfer", "commit"].map(|it| named(spans, it));
    assert!(command.span.parent_span_id.is_empty(), "it is the first");
    assert_eq!(transfer.span.parent_span_id, command.span.span_id);
    assert_eq!(commit.span.parent_span_id, transfer.span.span_id);
    assert_eq!(transfer.says("anser.outcome").as_deref(), Some("applied"));
    assert_eq!(transfer.says("anser.device"), Some(alice.device.to_string()));
    assert_eq!(transfer.says("anser.user"), Some(alice.user.to_string()));
    for told in spans {
        let (from, to) = (told.span.start_time_unix_nano, told.span.end_time_unix_nano);
        assert!(from <= to && from > 0, "{told:?}");
    }
}

#[track_caller]
fn named<'a>(spans: &'a [Told], name: &str) -> &'a Told {
    let mut found = spans.iter().filter(|told| told.span.name == name);
    let one = found.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(found.next().is_none(), "{name} is there twice");
    one
}
