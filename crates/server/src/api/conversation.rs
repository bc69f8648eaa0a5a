//! Conversations, their history, and the snapshot that a new device starts from.

use anser_proto::{ConversationId, Seq, id::NUMBER_MAX, rest};
use anser_store::HistoryRange;
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    App,
    auth::Caller,
    error::{Error, Result},
    extract::{Path, Query},
    view,
};

/// All conversations with watermarks, unread count and last message.
#[utoipa::path(get, path = "/v1/conversations", operation_id = "list_conversations",
    tag = "conversations",
    security(("device_token" = [])),
    responses((status = 200, description = "All, by id", body = rest::Conversations)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<rest::Conversations>> {
    let conversations = app.store.conversations(caller.user).await?.into_iter();
    let conversations = conversations.map(view::conversation).collect::<Result<_>>()?;
    Ok(Json(rest::Conversations { conversations }))
}

/// Which part of the history: at most one of `before`, `after` and `around`; the newest without.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The messages right below this `conv_seq`.
    #[param(value_type = Option<u64>, maximum = 9_007_199_254_740_991_u64)]
    before: Option<Seq>,
    /// The messages right above this `conv_seq`.
    #[param(value_type = Option<u64>, maximum = 9_007_199_254_740_991_u64)]
    after: Option<Seq>,
    /// This `conv_seq` in the middle.
    #[param(value_type = Option<u64>, maximum = 9_007_199_254_740_991_u64)]
    around: Option<Seq>,
    /// How many, 50 when left out. More than `limits.page_max` of `GET /v1/server` is refused.
    // The maximum is written when the server knows its configuration.
    #[param(minimum = 1)]
    limit: Option<usize>,
}

/// A page of a conversation's history, rising by `conv_seq`.
#[utoipa::path(get, path = "/v1/conversations/{id}/messages", operation_id = "list_messages",
    tag = "conversations",
    security(("device_token" = [])),
    params(("id" = ConversationId, Path, description = "The conversation"), Page),
    responses((status = 200, description = "The messages", body = rest::Messages)))]
pub(super) async fn messages(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ConversationId>,
    Query(page): Query<Page>,
) -> Result<Json<rest::Messages>> {
    let range = page.range()?;
    let limit = limit(page.limit, app.config.page_max)?;
    let history = app.store.history(caller.user, id, range, limit).await?;
    let history = history.ok_or(Error::not_found(
        "You are in no such conversation; GET /v1/conversations lists yours.",
    ))?;
    let messages = history.messages.iter().map(|entry| view::message(entry));
    Ok(Json(rest::Messages {
        messages: messages.collect::<Result<_>>()?,
        more_before: history.more_before,
        more_after: history.more_after,
    }))
}

/// All relations and conversations of one moment: where a new device starts.
#[utoipa::path(get, path = "/v1/snapshot", operation_id = "get_snapshot",
    tag = "conversations", security(("device_token" = [])),
    responses((status = 200, description = "The snapshot", body = rest::Snapshot)))]
pub(super) async fn snapshot(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<rest::Snapshot>> {
    let snapshot = app.store.snapshot(caller.user).await?;
    let relations = snapshot.relations.into_iter();
    let relations = relations.map(|relation| view::relation(relation, &app.keys));
    let conversations = snapshot.conversations.into_iter().map(view::conversation);
    Ok(Json(rest::Snapshot {
        epoch: snapshot.epoch,
        head: snapshot.head,
        relations: relations.collect::<Result<_>>()?,
        conversations: conversations.collect::<Result<_>>()?,
    }))
}

/// The size of a page: refused above `max`, never cut silently.
pub(super) fn limit(asked: Option<usize>, max: usize) -> Result<usize> {
    match asked {
        None => Ok(PAGE_DEFAULT.min(max)),
        Some(limit) if (1..=max).contains(&limit) => Ok(limit),
        Some(_) => Err(Error::invalid(format!(
            "limit: this server gives 1 to {max} at once; ask for less and page on."
        ))),
    }
}

impl Page {
    /// The range that the parameters name.
    pub(super) fn range(&self) -> Result<HistoryRange> {
        let range = match (self.before, self.after, self.around) {
            (None, None, None) => return Ok(HistoryRange::Latest),
            (Some(seq), None, None) => HistoryRange::Before(seq),
            (None, Some(seq), None) => HistoryRange::After(seq),
            (None, None, Some(seq)) => HistoryRange::Around(seq),
            _ => {
                return Err(Error::invalid(
                    "Give only one of before, after and around: each is a place to start from.",
                ));
            }
        };
        let given = [self.before, self.after, self.around];
        if given.into_iter().flatten().any(|seq| seq >= NUMBER_MAX) {
            return Err(Error::invalid("before, after and around are message numbers below 2^53."));
        }
        Ok(range)
    }
}

const PAGE_DEFAULT: usize = 50;
