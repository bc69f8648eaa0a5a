//! History on demand: pages from REST, opened.

use anser_proto::{ConversationId, rest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    error::Result,
    event::Message,
    model::{KeyMissing, Model, Outcome},
    rest::{Authorized, Range},
    shared::Shared,
};

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// By `conv_seq`, rising.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub more_before: bool,
    /// Whether there are newer ones.
    pub more_after: bool,
}

/// Fetches and opens a page; fetches the keys first where one is not here.
pub(crate) async fn page(
    shared: &Shared,
    conversation: ConversationId,
    range: Range,
    limit: u32,
) -> Result<Page> {
    let rest = shared.authorized();
    let answer = rest.history(conversation, range, limit).await?;
    let opened = open(&shared.local.lock().model, &answer, false);
    let messages = match opened {
        Ok(messages) => messages,
        Err(KeyMissing) => {
            fetch_keys(shared, &rest).await?;
            // A key that is missing now stays missing: the message says so.
            open(&shared.local.lock().model, &answer, true).unwrap_or_default()
        }
    };
    let rest::Messages { more_before, more_after, .. } = answer;
    Ok(Page { messages, more_before, more_after })
}

/// Fetches all relations with their keys. Their states stay: entries tell those in order.
pub(crate) async fn fetch_keys(shared: &Shared, rest: &Authorized) -> Result<()> {
    let relations = rest.relations().await?;
    let mut outcome = Outcome::default();
    let mut local = shared.local.lock();
    for relation in &relations.relations {
        local.model.on_rest_keys(relation, &mut outcome);
    }
    shared.settle(&mut local, &mut outcome)
}

/// A body as REST tells it; one that is no base64 does not open either.
pub(crate) fn body(message: &rest::Message) -> Vec<u8> {
    STANDARD.decode(&message.body).unwrap_or_default()
}

fn open(
    model: &Model,
    answer: &rest::Messages,
    keys_are_fresh: bool,
) -> Result<Vec<Message>, KeyMissing> {
    let open = |message| model.open_history(message, &body(message), keys_are_fresh);
    answer.messages.iter().map(open).collect()
}
