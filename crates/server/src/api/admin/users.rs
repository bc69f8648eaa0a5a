//! Accounts and relations by the operator's hand.

use anser_proto::{
    Code, UserId,
    rest::{self, admin},
};
use anser_store::{Devices, NewUser, RelationAction, User, UserChange, UserKey, UserState};
use axum::{Json, http::StatusCode};
use serde::Deserialize;

use super::Operator;
use crate::{
    api::{
        App, conversation,
        error::{Error, Result},
        extract::{self, Path, Query},
        relation, session, user, validate,
    },
    clock,
};

pub(super) async fn create(
    shared: Operator,
    extract::Json(body): extract::Json<admin::CreateUser>,
) -> Result<(StatusCode, Json<admin::Account>)> {
    let app = &shared.app;
    validate::user_name(&body.name)?;
    let display_name = body.display_name.unwrap_or_else(|| body.name.clone());
    validate::shown("display_name", &display_name)?;
    let password_hash = match body.password {
        Some(password) => Some(hash(app, password).await?),
        None => None,
    };
    let new = NewUser {
        id: UserId::random(),
        name: body.name,
        display_name,
        password_hash,
        system: body.system,
        invite: None,
        now_ms: clock::now_ms(),
    };
    let user = user::created(app.store.create_user(new).await?)?;
    Ok((StatusCode::CREATED, Json(account(user))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<UserId>,
    limit: Option<usize>,
}

pub(super) async fn list(
    shared: Operator,
    Query(page): Query<Page>,
) -> Result<Json<admin::Accounts>> {
    let limit = conversation::limit(page.limit, LIST_MAX)?;
    // One more than asked tells whether there are more.
    let mut users = shared.app.store.users(page.after, limit + 1).await?;
    let more = users.len() > limit;
    users.truncate(limit);
    Ok(Json(admin::Accounts { users: users.into_iter().map(account).collect(), more }))
}

pub(super) async fn set_password(
    shared: Operator,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<admin::SetPassword>,
) -> Result<StatusCode> {
    let password_hash = Some(hash(&shared.app, body.password).await?);
    let end_sessions = Some(Devices::All);
    let change = UserChange { password_hash, end_sessions, ..UserChange::default() };
    update(&shared.app, &name, change).await
}

pub(super) async fn disable(shared: Operator, Path(name): Path<String>) -> Result<StatusCode> {
    let state = Some(UserState::Disabled);
    let end_sessions = Some(Devices::All);
    let change = UserChange { state, end_sessions, ..UserChange::default() };
    update(&shared.app, &name, change).await
}

pub(super) async fn enable(shared: Operator, Path(name): Path<String>) -> Result<StatusCode> {
    let change = UserChange { state: Some(UserState::Active), ..UserChange::default() };
    update(&shared.app, &name, change).await
}

pub(super) async fn remove(shared: Operator, Path(name): Path<String>) -> Result<StatusCode> {
    let app = &shared.app;
    let user = present(app, UserKey::Name(name)).await?;
    let removed = app.store.remove_user(user.id, clock::now_ms()).await?.ok_or(NO_USER)?;
    app.link.close(&removed.devices, Code::Unauthenticated);
    app.link.deliver(removed.entries);
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn create_session(
    shared: Operator,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<admin::CreateSession>,
) -> Result<(StatusCode, Json<rest::LoggedIn>)> {
    validate::device_name(&body.device_name)?;
    let user = user::active(&shared.app, UserKey::Name(name)).await?;
    let logged_in = session::mint(&shared.app, user, body.device_name).await?;
    Ok((StatusCode::CREATED, Json(logged_in)))
}

pub(super) async fn befriend(
    shared: Operator,
    extract::Json(body): extract::Json<admin::Befriend>,
) -> Result<Json<admin::Befriended>> {
    let app = &shared.app;
    let [one, other] = body
        .users
        .map(|text| text.parse().map(UserKey::Id).unwrap_or_else(|_| UserKey::Name(text)));
    let (one, other) = (present(app, one).await?, present(app, other).await?);
    let relation = relation::change(app, one.id, other.id, RelationAction::Befriend).await?;
    Ok(Json(admin::Befriended { conversation: relation.id }))
}

async fn update(app: &App, name: &str, change: UserChange) -> Result<StatusCode> {
    let user = present(app, UserKey::Name(name.into())).await?;
    let ended = app.store.update_user(user.id, change).await?.ok_or(NO_USER)?;
    app.link.close(&ended, Code::Unauthenticated);
    Ok(StatusCode::NO_CONTENT)
}

/// A user who was not removed.
async fn present(app: &App, key: UserKey) -> Result<User> {
    let user = app.store.user(key).await?;
    user.filter(|user| user.state != UserState::Removed).ok_or(NO_USER)
}

async fn hash(app: &App, password: String) -> Result<String> {
    validate::password("password", &password)?;
    app.passwords.hash(password).await
}

fn account(user: User) -> admin::Account {
    let state = match user.state {
        UserState::Active => "active",
        UserState::Disabled => "disabled",
        UserState::Removed => "removed",
    };
    admin::Account {
        id: user.id,
        name: user.name,
        display_name: user.display_name,
        state: state.into(),
        system: user.system,
        has_password: user.password_hash.is_some(),
        created_at_ms: user.created_at_ms,
    }
}

const NO_USER: Error = Error::not_found("There is no such user; `anser user list` shows all.");
const LIST_MAX: usize = 1000;
