//! Sessions: a login mints a device and its token; revoking ends both, and its open connection.

use std::time::Instant;

use anser_proto::{Code, DeviceId, rest};
use anser_store::{Devices, NewDevice, User, UserKey, UserState};
use axum::{extract::State, http::StatusCode};

use super::{
    App,
    attempts::Key,
    auth::{self, Caller},
    error::{Error, Result},
    extract::{Json, Path},
    listen::Peer,
    validate, view,
};
use crate::{clock, token};

/// Log in as a new device.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = rest::Login,
    responses((status = 201, description = "The session; its token is told once", body = rest::LoggedIn)))]
pub(super) async fn login(
    State(app): State<App>,
    Peer(peer): Peer,
    Json(body): Json<rest::Login>,
) -> Result<(StatusCode, axum::Json<rest::LoggedIn>)> {
    validate::device_name(&body.device_name)?;
    let mut keys = vec![Key::Name(body.name.chars().take(NAME_CHARS_MAX).collect())];
    keys.extend(peer.map(Key::network));
    app.attempts.take(Instant::now(), &keys).map_err(Error::rate_limited)?;

    let found = app.store.user(UserKey::Name(body.name)).await?;
    let stored = found.as_ref().and_then(|user| user.password_hash.clone());
    let fits = app.passwords.verify(body.password, stored).await?;
    let user = found.filter(|user| fits && user.state == UserState::Active);
    let user = user.ok_or_else(|| Error::plain(Code::WrongPassword))?;
    app.attempts.give_back(&keys);

    let checked = user.password_hash.clone();
    let logged_in = mint(&app, user, body.device_name).await?;
    // A password change that came between the check and the new device did not see the device, so
    // it could not end it.
    let now = app.store.user(UserKey::Id(logged_in.user.id)).await?;
    if now.is_none_or(|user| user.password_hash != checked) {
        end(&app, logged_in.user.id, Devices::One(logged_in.device)).await?;
        return Err(Error::plain(Code::WrongPassword));
    }
    Ok((StatusCode::CREATED, axum::Json(logged_in)))
}

/// Log out: ends the session that asks.
#[utoipa::path(delete, path = "/v1/sessions/current", tag = "sessions",
    security(("device_token" = [])), responses((status = 204, description = "Logged out")))]
pub(super) async fn logout(State(app): State<App>, caller: Caller) -> Result<StatusCode> {
    end(&app, caller.user, Devices::One(caller.device)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The own sessions, oldest first.
#[utoipa::path(get, path = "/v1/me/sessions", tag = "sessions", security(("device_token" = [])),
    responses((status = 200, description = "All sessions", body = rest::Sessions)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<rest::Sessions>> {
    let devices = app.store.devices(caller.user).await?;
    let sessions = devices.into_iter().map(|device| view::session(device, caller.device));
    Ok(axum::Json(rest::Sessions { sessions: sessions.collect() }))
}

/// End one of the own sessions: its token is void and its connection closed at once.
#[utoipa::path(delete, path = "/v1/me/sessions/{device}", tag = "sessions",
    security(("device_token" = [])),
    params(("device" = DeviceId, Path, description = "The session's device")),
    responses((status = 204, description = "Ended")))]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<DeviceId>,
) -> Result<StatusCode> {
    if end(&app, caller.user, Devices::One(device)).await? == 0 {
        return Err(Error::not_found("You have no such session; GET /v1/me/sessions lists them."));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a device with a token.
pub(super) async fn mint(app: &App, user: User, device_name: String) -> Result<rest::LoggedIn> {
    let token = token::mint(auth::DEVICE_TOKEN);
    let new = NewDevice {
        user: user.id,
        name: device_name,
        token_hash: token::hash(&token),
        devices_max: app.config.devices_per_user,
        now_ms: clock::now_ms(),
    };
    let device = app.store.create_device(new).await?.ok_or_else(|| {
        Error::new(
            Code::TooMany,
            "The account has as many sessions as it may have; end one of them first.",
        )
    })?;
    Ok(rest::LoggedIn { user: view::user(user), device, token })
}

/// Ends sessions, then their connections. Gives their number.
async fn end(app: &App, user: anser_proto::UserId, which: Devices) -> Result<usize> {
    let ended = app.store.revoke_devices(user, which).await?;
    app.link.close(&ended, Code::Unauthenticated);
    Ok(ended.len())
}

/// Longer names exist nowhere; their attempts need not be told apart.
const NAME_CHARS_MAX: usize = 64;
