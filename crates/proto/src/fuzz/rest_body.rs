//! Bodies of requests and of answers, as JSON from a stranger.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Code, ConversationId, DeviceId, UserId,
    id::NUMBER_MAX,
    rest::{self, admin},
};

/// Reads `data` as the body of every request and answer of REST and of the admin interface.
///
/// # Panics
/// When a body that was read does not survive its own JSON, or an id is out of its range.
pub fn rest_body(data: &[u8]) {
    requests(data);
    answers(data);
    if let Ok(text) = std::str::from_utf8(data) {
        ids(text);
        if let Some(code) = Code::from_name(text) {
            assert_eq!(code.name(), text);
        }
    }
}

fn requests(data: &[u8]) {
    body::<rest::Register>(data);
    body::<rest::Login>(data);
    body::<rest::ChangePassword>(data);
    body::<rest::UpdateProfile>(data);
    body::<rest::RequestRelation>(data);
    body::<rest::ServerCreateUser>(data);
    body::<rest::ServerCreateSession>(data);
    body::<rest::ServerRelation>(data);
    body::<rest::ServerSend>(data);
    body::<admin::CreateUser>(data);
    body::<admin::SetPassword>(data);
    body::<admin::CreateSession>(data);
    body::<admin::Befriend>(data);
    body::<admin::Backup>(data);
    body::<admin::CreateUsers>(data);
    body::<admin::BefriendMany>(data);
}

/// What a client reads from whoever answers under the server's address.
fn answers(data: &[u8]) {
    body::<rest::User>(data);
    body::<rest::LoggedIn>(data);
    body::<rest::Sessions>(data);
    body::<rest::ServerInfo>(data);
    body::<rest::Connectors>(data);
    body::<rest::Relation>(data);
    body::<rest::Relations>(data);
    body::<rest::Conversations>(data);
    body::<rest::Messages>(data);
    body::<rest::Snapshot>(data);
    body::<rest::ServerRelated>(data);
    body::<rest::ServerSent>(data);
    body::<rest::Problem>(data);
    body::<admin::Accounts>(data);
    body::<admin::Status>(data);
    body::<admin::CreatedUsers>(data);
}

fn body<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<T>(data) else { return };
    let json = serde_json::to_vec(&body).expect("texts and numbers have JSON");
    let again: T = serde_json::from_slice(&json).expect("its own JSON is read");
    assert_eq!(again, body, "a body survives its own JSON");
}

fn ids(text: &str) {
    let number = text.parse::<UserId>().map(|id| id.0);
    assert_eq!(text.parse::<DeviceId>().map(|id| id.0), number);
    assert_eq!(text.parse::<ConversationId>().map(|id| id.0), number);
    if let Ok(number) = number {
        assert!((1..NUMBER_MAX).contains(&number), "{number} is no id");
        assert_eq!(number.to_string(), text, "one text per id");
    }
}
