//! The fuzz target of what a request says: bytes of a stranger in, a panic when a promise breaks.
//!
//! `fuzz/` outside the workspace drives it with coverage, the test below with the committed corpus
//! and seeded inputs. In no build that serves anybody.

use anser_proto::{ConversationId, id::NUMBER_MAX, rest};
use anser_store::HistoryRange;
use axum::http::{HeaderValue, Request, Uri, header};
use serde::de::DeserializeOwned;

use super::{
    auth::bearer,
    conversation::Page,
    error::{Error, Result},
    extract, user, validate,
};

/// What a refusal may say beside what it quotes.
const DETAIL_BYTES: usize = 1000;

/// Reads `data` as a request's body, names, header and query. The first byte chooses which.
///
/// # Panics
/// When what was accepted is outside the rules, or a refusal has no sentence or one without bound.
pub fn request(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    match choice % 4 {
        0 => bodies(data),
        1 => names(&text),
        2 => authorization(data),
        _ => query(&text),
    }
}

fn bodies(data: &[u8]) {
    body::<rest::Register>(data);
    body::<rest::Login>(data);
    body::<rest::ChangePassword>(data);
    body::<rest::RequestRelation>(data);
    body::<rest::ServerRelation>(data);
    body::<rest::ServerSend>(data);
    body::<rest::admin::Befriend>(data);
    body::<rest::admin::BefriendMany>(data);
}

fn body<T: DeserializeOwned>(data: &[u8]) {
    if let Err(error) = extract::parse::<T>(data) {
        refused(&error, data.len());
    }
}

fn names(text: &str) {
    if accepted(validate::user_name(text), text) {
        assert!(text.is_ascii() && (3..=32).contains(&text.len()), "{text:?} is a name");
        assert!(text.chars().all(|c| !c.is_ascii_uppercase() && !c.is_whitespace()));
    }
    if accepted(validate::device_name(text), text) {
        assert!(!text.chars().any(char::is_control), "{text:?} is shown");
        assert!((1..=64).contains(&text.chars().count()) && text != validate::SERVER_DEVICE);
    }
    if accepted(validate::password("password", text), text) {
        assert!((8..=256).contains(&text.chars().count()));
    }
}

fn authorization(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let mut request = Request::new(());
    request.headers_mut().insert(header::AUTHORIZATION, value);
    match bearer(&request.into_parts().0) {
        Ok(token) => assert_eq!(token.trim(), token),
        Err(error) => refused(&error, 0),
    }
}

fn query(text: &str) {
    let Ok(uri) = format!("/v1?{text}").parse::<Uri>() else { return };
    match extract::query::<Page>(&uri).and_then(|page| page.range()) {
        Ok(HistoryRange::Before(seq) | HistoryRange::After(seq) | HistoryRange::Around(seq)) => {
            assert!(seq < NUMBER_MAX, "{seq} is no message's number");
        }
        Ok(HistoryRange::Latest) => {}
        Err(error) => refused(&error, text.len()),
    }
    if let Err(error) = extract::query::<user::ByName>(&uri) {
        refused(&error, text.len());
    }
    if let Ok(id) = text.parse::<ConversationId>() {
        assert!((1..NUMBER_MAX).contains(&id.0));
    }
}

fn accepted(result: Result<()>, text: &str) -> bool {
    if let Err(error) = &result {
        refused(error, text.len());
    }
    result.is_ok()
}

/// A refusal is the caller's fault, says something, and quotes no more than it got.
fn refused(error: &Error, got: usize) {
    assert!((400..500).contains(&error.code.status()), "{error:?}");
    assert!(!error.detail.is_empty() && error.cause.is_none(), "{error:?}");
    // A quoted character is escaped at most sixfold.
    assert!(error.detail.len() <= 6 * got + DETAIL_BYTES, "{error:?}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn requests_keep_their_promises() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/request");
        anser_proto::fuzz::replay(Path::new(folder), super::request);
    }
}
