//! The server API: what a product's own server, which holds the server key, may do for its users.

use anser_proto::{
    Code, ConversationId, DeviceId, Seq, SessionId, UserId, rest,
    seal::{Key, Place},
    wire,
};
use anser_store::{
    Batch, Committed, Hash, NewDevice, NewUser, Outcome, Record, Relation, RelationAction,
    RelationChange, UserKey,
};
use axum::{Json, extract::State, http::StatusCode};
use prost::Message as _;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{
    App,
    auth::Product,
    error::{Error, Result},
    extract::{self, Path, Query},
    relation, session,
    user::{self, ByName},
    validate, view,
};
use crate::{clock, token};

/// Create a user without a password.
#[utoipa::path(post, path = "/v1/server/users", operation_id = "server_create_user",
    tag = "server API",
    security(("server_key" = [])), request_body = rest::ServerCreateUser,
    responses((status = 201, description = "The account", body = rest::User)))]
pub(super) async fn create_user(
    State(app): State<App>,
    _: Product,
    extract::Json(body): extract::Json<rest::ServerCreateUser>,
) -> Result<(StatusCode, Json<rest::User>)> {
    validate::user_name(&body.name)?;
    let display_name = body.display_name.unwrap_or_else(|| body.name.clone());
    validate::shown("display_name", &display_name)?;
    let new = NewUser {
        id: UserId::random(),
        name: body.name,
        display_name,
        password_hash: None,
        system: body.system,
        invite: None,
        now_ms: clock::now_ms(),
    };
    let user = user::created(app.store.create_user(new).await?)?;
    Ok((StatusCode::CREATED, Json(view::user(user))))
}

/// Look a user up by the exact name.
#[utoipa::path(get, path = "/v1/server/users", operation_id = "server_find_user",
    tag = "server API",
    security(("server_key" = [])), params(ByName),
    responses((status = 200, description = "The user", body = rest::User)))]
pub(super) async fn find_user(
    State(app): State<App>,
    _: Product,
    Query(query): Query<ByName>,
) -> Result<Json<rest::User>> {
    Ok(Json(view::user(user::active(&app, UserKey::Name(query.name)).await?)))
}

/// Mint a device token for a user: the product logs its user in.
#[utoipa::path(post, path = "/v1/server/users/{user}/sessions",
    operation_id = "server_create_session",
    tag = "server API",
    security(("server_key" = [])), request_body = rest::ServerCreateSession,
    params(("user" = UserId, Path, description = "The user")),
    responses((status = 201, description = "The session, told once", body = rest::LoggedIn)))]
pub(super) async fn create_session(
    State(app): State<App>,
    _: Product,
    Path(user): Path<UserId>,
    extract::Json(body): extract::Json<rest::ServerCreateSession>,
) -> Result<(StatusCode, Json<rest::LoggedIn>)> {
    validate::device_name(&body.device_name)?;
    let user = user::active(&app, UserKey::Id(user)).await?;
    Ok((StatusCode::CREATED, Json(session::mint(&app, user, body.device_name).await?)))
}

/// Make two users friends without a request. Nothing happens when they are; a block is respected.
#[utoipa::path(put, path = "/v1/server/relations", operation_id = "server_befriend",
    tag = "server API",
    security(("server_key" = [])), request_body = rest::ServerRelation,
    responses((status = 200, description = "Their conversation", body = rest::ServerRelated)))]
pub(super) async fn befriend(
    State(app): State<App>,
    _: Product,
    extract::Json(body): extract::Json<rest::ServerRelation>,
) -> Result<Json<rest::ServerRelated>> {
    let [actor, peer] = pair(&app, body.users).await?;
    let relation = relation::change(&app, actor, peer, RelationAction::Befriend).await?;
    Ok(Json(rest::ServerRelated { conversation: relation.id }))
}

/// End two users' being friends. Nothing happens when they are not.
#[utoipa::path(delete, path = "/v1/server/relations", operation_id = "server_unfriend",
    tag = "server API",
    security(("server_key" = [])), request_body = rest::ServerRelation,
    responses((status = 204, description = "They are not friends")))]
pub(super) async fn unfriend(
    State(app): State<App>,
    _: Product,
    extract::Json(body): extract::Json<rest::ServerRelation>,
) -> Result<StatusCode> {
    let [actor, peer] = pair(&app, body.users).await?;
    match relation::change(&app, actor, peer, RelationAction::Remove).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(error) if error.code == Code::RelationState => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(error),
    }
}

/// Send a text as a system user, who becomes friends with the receiver by it. The server seals it.
#[utoipa::path(post, path = "/v1/server/messages", operation_id = "server_send",
    tag = "server API",
    security(("server_key" = [])), request_body = rest::ServerSend,
    responses((status = 200, description = "Sent, now or before", body = rest::ServerSent)))]
pub(super) async fn send(
    State(app): State<App>,
    _: Product,
    extract::Json(body): extract::Json<rest::ServerSend>,
) -> Result<Json<rest::ServerSent>> {
    let chars = body.idempotency_key.chars().count();
    if !(1..=IDEMPOTENCY_CHARS_MAX).contains(&chars) {
        return Err(Error::invalid(format!(
            "idempotency_key: use 1 to {IDEMPOTENCY_CHARS_MAX} characters."
        )));
    }
    if body.text.is_empty() {
        return Err(Error::new(Code::BodyEmpty, "text: write something."));
    }
    let text = wire::content::Kind::Text(wire::Text { text: body.text });
    let content = wire::Content { kind: Some(text) }.encode_to_vec();
    let max = app.limits.body_bytes_max.saturating_sub(anser_proto::seal::OVERHEAD_BYTES);
    if content.len() > max {
        let detail = format!("text: the server takes {max} bytes with its wrapping; send less.");
        return Err(Error::new(Code::BodyTooLarge, detail));
    }
    let [from, to] = pair(&app, [body.from, body.to]).await?;
    if !user::active(&app, UserKey::Id(from)).await?.system {
        return Err(Error::new(Code::Forbidden, "from: this is no system user."));
    }

    let _turn = app.senders.turn(from).await;
    let relation = relation::apply(&app, befriending(&app, from, to)).await?;
    let once = once(from, &body.idempotency_key);
    for _ in 0..SEND_ATTEMPTS {
        let committed = commit(&app, from, &relation, &content, once).await?;
        let outcome = committed.outcomes.first().copied();
        let rejected = rejection(&committed, from);
        app.link.deliver(committed.entries);
        match (outcome, rejected) {
            (_, Some(code)) => return Err(Error::plain(code)),
            (Some(Outcome::Applied), None) => return Ok(sent(relation.id, false)),
            (Some(Outcome::Repeat), None) => return Ok(sent(relation.id, true)),
            // Another api process used the device, or it was revoked: look at it again.
            (Some(Outcome::Refused(code)), None) => tracing::debug!(code = code.name(), "again"),
            (None, None) => return Err(Error::internal("a commit told no outcome")),
        }
    }
    Err(Error::plain(Code::Unavailable))
}

/// Lets one request at a time use the device of a system user, whose commands must be in order.
pub(super) struct Senders([Mutex<()>; SENDER_TURNS]);

impl Default for Senders {
    fn default() -> Self {
        Self([const { Mutex::const_new(()) }; SENDER_TURNS])
    }
}

impl Senders {
    async fn turn(&self, user: UserId) -> tokio::sync::MutexGuard<'_, ()> {
        let index = usize::try_from(user.0 % SENDER_TURNS as u64).unwrap_or(0);
        self.0[index].lock().await
    }
}

/// Commits one message of the system user as its next command.
async fn commit(
    app: &App,
    from: UserId,
    relation: &Relation,
    content: &[u8],
    once: Hash,
) -> Result<Committed> {
    let (device, position) = server_device(app, from).await?;
    let client_seq = position + 1;
    let wrapped = relation.wrapped_keys.last();
    let wrapped = wrapped.ok_or_else(|| Error::internal("friends without a key"))?;
    let key = app.keys.unwrap(wrapped).map_err(Error::internal)?;
    let key_version = u32::try_from(relation.wrapped_keys.len()).map_err(Error::internal)?;
    let conversation = relation.id;
    let place = Place { conversation, sender: from, device, client_seq, key_version };
    let send = wire::Send { conversation: conversation.0, key_version, files: Vec::new() };
    let command = wire::Command {
        kind: Some(wire::command::Kind::Send(send)),
        body: key.seal(&place, content).into(),
    };
    let record = Record::Command {
        user: from,
        device,
        session: SessionId(0),
        client_seq,
        command: command.encode_to_vec().into(),
        once: Some(Box::new(once)),
        trace: None,
    };
    let batch = Batch { records: vec![record], now_ms: clock::now_ms() };
    Ok(app.store.commit(batch).await?)
}

/// The system user's own device, made when it is missing. Nobody knows its token.
async fn server_device(app: &App, user: UserId) -> Result<(DeviceId, Seq)> {
    let devices = app.store.devices(user).await?.into_iter();
    let mut found = devices.filter(|device| device.name == validate::SERVER_DEVICE);
    if let Some(device) = found.next() {
        return Ok((device.id, device.outbox_position));
    }
    let new = NewDevice {
        user,
        name: validate::SERVER_DEVICE.into(),
        token_hash: token::hash(&token::mint("")),
        devices_max: usize::MAX,
        now_ms: clock::now_ms(),
    };
    let made = app.store.create_device(new).await?;
    // The user was disabled just now.
    Ok((made.ok_or(Error::not_found("from: there is no such user."))?, 0))
}

/// A system user may have as many friends as the product has users.
fn befriending(app: &App, from: UserId, to: UserId) -> RelationChange {
    RelationChange {
        actor: from,
        peer: to,
        action: RelationAction::Befriend,
        wrapped_key: app.keys.wrap(&Key::random()),
        relations_max: usize::MAX,
        now_ms: clock::now_ms(),
    }
}

/// The code of the `rejected` entry in the sender's inbox, if there is one.
fn rejection(committed: &Committed, from: UserId) -> Option<Code> {
    let own = committed.entries.iter().filter(|entry| entry.user == from);
    let mut kinds = own.filter_map(|entry| wire::Entry::decode(entry.entry.clone()).ok()?.kind);
    kinds.find_map(|kind| match kind {
        wire::entry::Kind::Rejected(rejected) => {
            Some(Code::from_number(rejected.code).unwrap_or(Code::Internal))
        }
        _ => None,
    })
}

/// Both are active users; the answer is the same for each kind of absence.
async fn pair(app: &App, users: [UserId; 2]) -> Result<[UserId; 2]> {
    for id in users {
        user::active(app, UserKey::Id(id)).await?;
    }
    Ok(users)
}

fn once(user: UserId, key: &str) -> Hash {
    Sha256::new().chain_update(user.0.to_be_bytes()).chain_update(key).finalize().into()
}

fn sent(conversation: ConversationId, repeated: bool) -> Json<rest::ServerSent> {
    Json(rest::ServerSent { conversation, repeated })
}

const IDEMPOTENCY_CHARS_MAX: usize = 64;
/// Several api processes may use the same device; each of them wins at some time.
const SEND_ATTEMPTS: usize = 5;
/// System users are few; two that share a turn only wait for each other.
const SENDER_TURNS: usize = 64;
