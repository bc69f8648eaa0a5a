//! What `deploy/` says of the server is true of this one.

use std::collections::BTreeSet;

use anser_proto::rest::Login;

use crate::support::{people::Person, repository, server::Server, view::View};

/// The names of metrics that a text holds.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("anser_")).map(str::to_owned).collect()
}

/// Whether only nodes of a cluster tell of it.
fn is_of_cluster(declared: &BTreeSet<String>, name: &str) -> bool {
    let shared = ["anser_queue_", "anser_link_", "anser_redis_"];
    shared.iter().any(|prefix| name.starts_with(prefix))
        && declared.contains(name.strip_suffix("_bucket").unwrap_or(name))
}

#[tokio::test]
async fn alerts_and_dashboard_name_metrics_that_there_are() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let sender = Person::online(&server, &alice).await;
    let mut receiver = View::of(Person::online(&server, &bob).await);
    sender.send_all(chat, &["one of each".to_owned()]);
    receiver.messages(1).await;
    let login = Login {
        name: alice.name.clone(),
        password: "wrong, wrong, wrong".into(),
        device_name: "test".into(),
    };
    let url = format!("http://{}/v1/sessions", server.api);
    let refused = reqwest::Client::new().post(url).json(&login).send().await.expect("an answer");
    assert_eq!(refused.status(), 401);
    drop((sender, receiver));
    // A closed connection is counted when it is gone.
    let told = async {
        let mut every = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            every.tick().await;
            let url = format!("http://{}/metrics", server.ops);
            let answer = reqwest::get(url).await.expect("an answer");
            let told = names(&answer.text().await.expect("a whole answer"));
            if told.contains("anser_connections_closed_total") {
                return told;
            }
        }
    };
    let patience = crate::support::people::PATIENCE;
    let told = tokio::time::timeout(patience, told).await.expect("a connection is closed");
    let declared = names(&repository::text("crates/server/src/metrics.rs"));
    for (file, at_least) in [("deploy/alerts.yaml", 5), ("deploy/grafana-dashboard.json", 12)] {
        let named = names(&repository::text(file));
        assert!(named.len() >= at_least, "{file} names {named:?}");
        let unknown: Vec<_> =
            named.difference(&told).filter(|name| !is_of_cluster(&declared, name)).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which no server tells");
    }
    server.stop().await;
}
