//! Who has an account here is told to nobody who has none: neither by an answer nor by the work
//! that it costs, counted in hashes and not in time.
//!
//! What can not be hidden: an open registration says that a name is taken, and whoever has an
//! account can look others up by their exact names, as that is how people find their friends.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::process::Process;

/// All of an answer that may not differ.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
    hashes: u64,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().expect("a problem has a code")
    }
}

/// Asks from one of the loopback addresses, which limits count apart.
async fn ask(server: &Process, from: u8, what: (Method, &str), body: &Value) -> Answer {
    let hashes = "anser_password_hashes_total";
    let before = server.metric(hashes).await;
    let address = IpAddr::from(Ipv4Addr::new(127, 0, 0, from));
    let client = reqwest::Client::builder().local_address(address).build().expect("a client");
    let url = format!("http://{}{}", server.api, what.1);
    let answer = client.request(what.0, url).json(body).send().await.expect("an answer");
    let (status, mut headers) = (answer.status().as_u16(), answer.headers().clone());
    for differs in ["date", "x-request-id"] {
        headers.remove(differs).expect("each answer has one");
    }
    let mut body: Value = answer.json().await.expect("a problem");
    body.as_object_mut().expect("an object").remove("request_id").expect("named");
    Answer { status, headers, body, hashes: server.metric(hashes).await - before }
}

async fn login(server: &Process, from: u8, name: &str, password: &str) -> Answer {
    let body = json!({ "name": name, "password": password, "device_name": "laptop" });
    ask(server, from, (Method::POST, "/v1/sessions"), &body).await
}

/// A server with an account, one that is disabled, one that was removed and one without a password.
async fn server(variables: &[(&str, &str)]) -> Process {
    let server = Process::start(variables).await;
    for name in ["known", "disabled", "removed"] {
        let body = json!({ "name": name, "password": "correct horse" });
        server.operate("POST", "/admin/users", body).await;
    }
    server.operate("POST", "/admin/users", json!({ "name": "no-password" })).await;
    server.operate("POST", "/admin/users/disabled/disable", json!({})).await;
    server.operate("DELETE", "/admin/users/removed", json!({})).await;
    server
}

#[tokio::test]
async fn a_login_does_not_tell_whether_a_name_is_known() {
    let server = server(&[]).await;
    let wrong = login(&server, 2, "known", "wrong horse").await;
    assert_eq!((wrong.status, wrong.code(), wrong.hashes), (401, "wrong_password", 1));
    for name in ["unknown", "disabled", "removed", "no-password", "No Name", "", "a\0b", "\u{430}"]
    {
        assert_eq!(login(&server, 2, name, "correct horse").await, wrong, "{name:?}");
    }
}

#[tokio::test]
async fn the_limit_of_logins_does_not_tell_whether_a_name_is_known() {
    let server = server(&[("ANSER_API__LOGINS_PER_MINUTE", "2")]).await;
    let mut limited = Vec::new();
    for (address, name) in [(2, "known"), (3, "unknown")] {
        for _ in 0..2 {
            assert_eq!(login(&server, address, name, "wrong horse").await.hashes, 1);
        }
        let mut answer = login(&server, address, name, "correct horse").await;
        assert_eq!((answer.status, answer.hashes), (429, 0));
        // How long to wait depends on the moment.
        answer.headers.remove("retry-after").expect("it says when");
        answer.headers.remove("content-length");
        answer.body["detail"] = Value::Null;
        limited.push(answer);
    }
    assert_eq!(limited[0], limited[1]);
}

#[tokio::test]
async fn who_has_no_invitation_learns_no_names_by_registering() {
    let server = server(&[("ANSER_API__REGISTRATION", "invite")]).await;
    for invite in [Value::Null, json!("ansi_00"), json!("")] {
        let mut answers = Vec::new();
        for name in ["known", "unknown"] {
            let mut body = json!({ "name": name, "password": "correct horse" });
            if !invite.is_null() {
                body["invite"] = invite.clone();
            }
            answers.push(ask(&server, 2, (Method::POST, "/v1/users"), &body).await);
        }
        assert_eq!((answers[0].status, answers[0].code()), (403, "invite_invalid"));
        assert_eq!(answers[0], answers[1], "{invite}");
    }
}

#[tokio::test]
async fn who_is_not_logged_in_looks_nobody_up() {
    let server = server(&[]).await;
    let [alice] = server.accounts(["alice"]).await;
    let look_up = async |path: &str| ask(&server, 2, (Method::GET, path), &Value::Null).await;
    let unknown = look_up("/v1/users?name=unknown").await;
    assert_eq!((unknown.status, unknown.hashes), (401, 0));
    assert_eq!(look_up("/v1/users?name=alice").await, unknown);
    assert_eq!(look_up("/v1/users/77").await, unknown);
    assert_eq!(look_up(&format!("/v1/users/{}", alice.user)).await, unknown);
}
