//! Relations: friends, those who asked, those who are blocked, and the keys that friends share.

use anser_proto::{Code, UserId, rest, seal::Key};
use anser_store::{Relation, RelationAction, RelationChange, RelationOutcome};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    App,
    auth::Caller,
    error::{Error, Result},
    extract::{self, Path},
    view,
};
use crate::clock;

/// What to do with a relation.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verb {
    /// Accept their request.
    Accept,
    /// Decline their request, or take the own one back.
    Decline,
    /// End being friends. The history stays readable.
    Remove,
    /// Block them: ends being friends, and their requests are not told.
    Block,
    /// Undo the own block.
    Unblock,
}

/// All relations, with every version of their keys.
#[utoipa::path(get, path = "/v1/relations", tag = "relations", security(("device_token" = [])),
    responses((status = 200, description = "All relations, by id", body = rest::Relations)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<rest::Relations>> {
    let relations = app.store.relations(caller.user).await?.into_iter();
    let relations = relations.map(|relation| view::relation(relation, &app.keys));
    Ok(Json(rest::Relations { relations: relations.collect::<Result<_>>()? }))
}

/// Ask a user to become friends. When they asked already, this accepts.
#[utoipa::path(post, path = "/v1/relations", tag = "relations", security(("device_token" = [])),
    request_body = rest::RequestRelation,
    responses((status = 200, description = "The relation now", body = rest::Relation)))]
pub(super) async fn request(
    State(app): State<App>,
    caller: Caller,
    extract::Json(body): extract::Json<rest::RequestRelation>,
) -> Result<Json<rest::Relation>> {
    let relation = change(&app, caller.user, body.user, RelationAction::Request).await?;
    Ok(Json(view::relation(relation, &app.keys)?))
}

/// Accept, decline, remove, block or unblock. `user` is the other one.
#[utoipa::path(post, path = "/v1/relations/{user}/{verb}", tag = "relations",
    security(("device_token" = [])),
    params(("user" = UserId, Path, description = "The other user"),
           ("verb" = Verb, Path, description = "What to do")),
    responses((status = 200, description = "The relation now", body = rest::Relation)))]
pub(super) async fn act(
    State(app): State<App>,
    caller: Caller,
    Path((user, verb)): Path<(UserId, Verb)>,
) -> Result<Json<rest::Relation>> {
    let action = match verb {
        Verb::Accept => RelationAction::Accept,
        Verb::Decline => RelationAction::Decline,
        Verb::Remove => RelationAction::Remove,
        Verb::Block => RelationAction::Block,
        Verb::Unblock => RelationAction::Unblock,
    };
    let relation = change(&app, caller.user, user, action).await?;
    Ok(Json(view::relation(relation, &app.keys)?))
}

/// Applies a user's change within their limit of relations and rings the bells.
pub(super) async fn change(
    app: &App,
    actor: UserId,
    peer: UserId,
    action: RelationAction,
) -> Result<Relation> {
    let change = RelationChange {
        actor,
        peer,
        action,
        // Stored only if the two become friends by this.
        wrapped_key: app.keys.wrap(&Key::random()),
        relations_max: app.config.relations_per_user,
        now_ms: clock::now_ms(),
    };
    apply(app, change).await
}

/// Applies a change and rings the bells.
pub(super) async fn apply(app: &App, change: RelationChange) -> Result<Relation> {
    match app.store.change_relation(change).await? {
        RelationOutcome::Done { relation, entries } => {
            app.link.deliver(entries);
            Ok(relation)
        }
        RelationOutcome::Refused(code) => Err(Error::new(code, refusal(code))),
    }
}

fn refusal(code: Code) -> &'static str {
    match code {
        Code::NotFound => "There is no such user.",
        Code::RelationState => {
            "The relation is not in a state for this; GET /v1/relations tells it."
        }
        Code::TooMany => "You have as many relations as you may have; remove one first.",
        Code::InvalidRequest => "user: this is you; name somebody else.",
        other => other.sentence(),
    }
}
