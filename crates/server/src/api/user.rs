//! Accounts: register, the own profile and password, and exact look-up of others.

use std::time::Instant;

use anser_proto::{Code, UserId, rest};
use anser_store::{CreateUser, Devices, NewUser, User, UserChange, UserKey, UserState};
use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    App,
    attempts::Key,
    auth::Caller,
    error::{Error, Result},
    extract::{Json, Path, Query},
    validate, view,
};
use crate::{clock, config::Registration, token};

/// Register an account. Where the server asks for an invitation, `invite` is consumed by it.
#[utoipa::path(post, path = "/v1/users", tag = "accounts", request_body = rest::Register,
    responses((status = 201, description = "The account", body = rest::User)))]
pub(super) async fn register(
    State(app): State<App>,
    Json(body): Json<rest::Register>,
) -> Result<(StatusCode, axum::Json<rest::User>)> {
    let invite = match (app.config.registration, &body.invite) {
        (Registration::Closed, _) => return Err(Error::plain(Code::RegistrationClosed)),
        (Registration::Invite, None) => {
            return Err(Error::new(
                Code::InviteInvalid,
                "invite: this server asks for an invitation code; its operator gives them.",
            ));
        }
        (Registration::Invite, Some(code)) => Some(token::hash(code)),
        (Registration::Open, _) => None,
    };
    validate::user_name(&body.name)?;
    validate::password("password", &body.password)?;
    let display_name = body.display_name.unwrap_or_else(|| body.name.clone());
    validate::shown("display_name", &display_name)?;
    let new = NewUser {
        id: UserId::random(),
        name: body.name,
        display_name,
        password_hash: Some(app.passwords.hash(body.password).await?),
        system: false,
        invite,
        now_ms: clock::now_ms(),
    };
    let user = created(app.store.create_user(new).await?)?;
    Ok((StatusCode::CREATED, axum::Json(view::user(user))))
}

/// The own profile.
#[utoipa::path(get, path = "/v1/me", tag = "accounts", security(("device_token" = [])),
    responses((status = 200, description = "The own profile", body = rest::User)))]
pub(super) async fn me(State(app): State<App>, caller: Caller) -> Result<axum::Json<rest::User>> {
    Ok(axum::Json(view::user(own(&app, caller).await?)))
}

/// Change the own profile.
#[utoipa::path(patch, path = "/v1/me", tag = "accounts", security(("device_token" = [])),
    request_body = rest::UpdateProfile,
    responses((status = 200, description = "The profile now", body = rest::User)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<rest::UpdateProfile>,
) -> Result<axum::Json<rest::User>> {
    validate::shown("display_name", &body.display_name)?;
    let change = UserChange { display_name: Some(body.display_name), ..UserChange::default() };
    app.store.update_user(caller.user, change).await?;
    me(State(app), caller).await
}

/// Change the own password. All other sessions of the account end at once.
#[utoipa::path(put, path = "/v1/me/password", tag = "accounts", security(("device_token" = [])),
    request_body = rest::ChangePassword,
    responses((status = 204, description = "Changed")))]
pub(super) async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<rest::ChangePassword>,
) -> Result<StatusCode> {
    validate::password("new", &body.new)?;
    let user = own(&app, caller).await?;
    let key = [Key::Name(user.name)];
    app.attempts.take(Instant::now(), &key).map_err(Error::rate_limited)?;
    if !app.passwords.verify(body.old, user.password_hash).await? {
        return Err(Error::new(Code::WrongPassword, "old: this is not the password so far."));
    }
    app.attempts.give_back(&key);
    let change = UserChange {
        password_hash: Some(app.passwords.hash(body.new).await?),
        end_sessions: Some(Devices::AllBut(caller.device)),
        ..UserChange::default()
    };
    let ended = app.store.update_user(caller.user, change).await?;
    app.link.close(&ended.unwrap_or_default(), Code::Unauthenticated);
    Ok(StatusCode::NO_CONTENT)
}

/// Which user.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ByName {
    /// The exact user name.
    pub(super) name: String,
}

/// Look a user up by the exact name. Unknown, disabled and removed users answer alike.
#[utoipa::path(get, path = "/v1/users", tag = "accounts", security(("device_token" = [])),
    params(ByName), responses((status = 200, description = "The user", body = rest::User)))]
pub(super) async fn find(
    State(app): State<App>,
    _: Caller,
    Query(query): Query<ByName>,
) -> Result<axum::Json<rest::User>> {
    let user = active(&app, UserKey::Name(query.name)).await?;
    Ok(axum::Json(view::user(user)))
}

/// Look a user up by id. Unknown, disabled and removed users answer alike.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "accounts", security(("device_token" = [])),
    params(("id" = UserId, Path, description = "The user")),
    responses((status = 200, description = "The user", body = rest::User)))]
pub(super) async fn by_id(
    State(app): State<App>,
    _: Caller,
    Path(id): Path<UserId>,
) -> Result<axum::Json<rest::User>> {
    Ok(axum::Json(view::user(active(&app, UserKey::Id(id)).await?)))
}

/// What the store said about a new account.
pub(super) fn created(outcome: CreateUser) -> Result<User> {
    match outcome {
        CreateUser::Created(user) => Ok(user),
        CreateUser::NameTaken => Err(Error::new(Code::NameTaken, "name: taken; choose another.")),
        CreateUser::InviteInvalid => Err(Error::plain(Code::InviteInvalid)),
    }
}

/// An active user; the answer does not tell unknown, disabled and removed apart.
pub(super) async fn active(app: &App, key: UserKey) -> Result<User> {
    let user = app.store.user(key).await?.filter(|user| user.state == UserState::Active);
    user.ok_or(Error::not_found("There is no such user. Names are exact and in lower case."))
}

async fn own(app: &App, caller: Caller) -> Result<User> {
    // Removed between the token's check and here.
    let user = app.store.user(UserKey::Id(caller.user)).await?;
    user.ok_or_else(|| Error::plain(Code::Unauthenticated))
}
