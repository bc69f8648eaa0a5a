//! Bodies of the REST interface `/v1`, shared by server and SDK. Ids are decimal strings, positions
//! numbers, binary values base64 (standard alphabet, padded), times milliseconds since 1970 UTC.

use serde::{Deserialize, Serialize};

use crate::{ConversationId, DeviceId, Seq, UserId};

/// Shape of an id in OpenAPI.
#[cfg(feature = "openapi")]
pub(crate) fn id_schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[1-9][0-9]{0,15}$"))
        .examples(["7205759403792793"])
        .into()
}

/// Shape of a name to show in OpenAPI.
#[cfg(feature = "openapi")]
fn shown_schema() -> utoipa::openapi::schema::Object {
    shown(utoipa::openapi::schema::Type::String.into())
}

/// The same where it may be left out.
#[cfg(feature = "openapi")]
fn optional_shown_schema() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{SchemaType, Type};
    shown(SchemaType::Array(vec![Type::String, Type::Null]))
}

#[cfg(feature = "openapi")]
fn shown(kind: utoipa::openapi::schema::SchemaType) -> utoipa::openapi::schema::Object {
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(kind)
        .description(Some("1 to 64 characters, not only spaces, no control characters."))
        .min_length(Some(1))
        .max_length(Some(64))
        .pattern(Some(r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"))
        .build()
}

macro_rules! bodies {
    (
        $($(#[$meta:meta])* pub struct $name:ident {
            $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)*
        })*
    ) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }
    )*};
}

macro_rules! answers {
    (
        $($(#[$meta:meta])* pub struct $name:ident {
            $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)*
        })*
    ) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }
    )*};
}

// Below the macros, which it uses.
pub mod admin;

// Requests refuse unknown fields; answers may grow, so readers ignore what they do not know.
bodies! {
    /// `POST /v1/users`: register.
    pub struct Register {
        /// 3 to 32 characters of `a-z 0-9 . _ -`, starting with a letter or digit.
        #[cfg_attr(feature = "openapi", schema(pattern = "^[a-z0-9][a-z0-9._-]{2,31}$"))]
        pub name: String,
        /// 8 to 256 characters.
        #[cfg_attr(feature = "openapi", schema(min_length = 8, max_length = 256))]
        pub password: String,
        /// 1 to 64 characters; the name when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(schema_with = optional_shown_schema))]
        pub display_name: Option<String>,
        /// The invitation code, where the server asks for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub invite: Option<String>,
    }
    /// `POST /v1/sessions`: log in as a new device.
    pub struct Login {
        /// The user name.
        pub name: String,
        /// The password.
        pub password: String,
        /// Shown in the list of sessions, 1 to 64 characters.
        #[cfg_attr(feature = "openapi", schema(schema_with = shown_schema))]
        pub device_name: String,
    }
    /// `PUT /v1/me/password`. Ends all other sessions.
    pub struct ChangePassword {
        /// The password so far.
        pub old: String,
        /// The new one, 8 to 256 characters.
        #[cfg_attr(feature = "openapi", schema(min_length = 8, max_length = 256))]
        pub new: String,
    }
    /// `PATCH /v1/me`.
    pub struct UpdateProfile {
        /// 1 to 64 characters.
        #[cfg_attr(feature = "openapi", schema(schema_with = shown_schema))]
        pub display_name: String,
    }
    /// `POST /v1/relations`: ask a user to become friends. A crossing request is an accept.
    pub struct RequestRelation {
        /// The user to ask.
        pub user: UserId,
    }
    /// `POST /v1/server/users`: create a user without a password.
    pub struct ServerCreateUser {
        /// As for [`Register::name`].
        #[cfg_attr(feature = "openapi", schema(pattern = "^[a-z0-9][a-z0-9._-]{2,31}$"))]
        pub name: String,
        /// As for [`Register::display_name`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(schema_with = optional_shown_schema))]
        pub display_name: Option<String>,
        /// A system user can be the sender of `POST /v1/server/messages`.
        #[serde(default)]
        pub system: bool,
    }
    /// `POST /v1/server/users/{user}/sessions`: mint a device token for a user.
    pub struct ServerCreateSession {
        /// As for [`Login::device_name`].
        #[cfg_attr(feature = "openapi", schema(schema_with = shown_schema))]
        pub device_name: String,
    }
    /// `PUT /v1/server/relations`, `DELETE /v1/server/relations`: make or remove a relation without
    /// a request.
    pub struct ServerRelation {
        /// The two users, in any order.
        #[cfg_attr(feature = "openapi", schema(min_items = 2, max_items = 2))]
        pub users: [UserId; 2],
    }
    /// `POST /v1/server/messages`: send a text as a system user.
    pub struct ServerSend {
        /// A system user.
        pub from: UserId,
        /// The receiver, who is (or becomes) related to it.
        pub to: UserId,
        /// The text; the server seals it with the relation's key.
        #[cfg_attr(feature = "openapi", schema(min_length = 1))]
        pub text: String,
        /// The same key gives the same message, however often it is sent. 1 to 64 characters.
        #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
        pub idempotency_key: String,
    }
}

answers! {
    /// A user as everybody may see them.
    pub struct User {
        /// The id.
        pub id: UserId,
        /// The unique user name.
        pub name: String,
        /// The name to show.
        pub display_name: String,
    }
    /// A new session: the token is told once.
    pub struct LoggedIn {
        /// The user.
        pub user: User,
        /// The device that this session is.
        pub device: DeviceId,
        /// Secret: authorises REST calls (`Authorization: Bearer`) and the Hello. A new device
        /// takes
        /// `GET /v1/snapshot` and says Hello with the epoch and head that it tells.
        pub token: String,
    }
    /// One session (device) of the own account.
    pub struct Session {
        /// The device.
        pub device: DeviceId,
        /// The name given at login.
        pub device_name: String,
        /// When it logged in.
        pub created_at_ms: u64,
        /// When it was last connected (to within minutes).
        pub seen_at_ms: u64,
        /// Whether it is the one that asks.
        pub current: bool,
    }
    /// `GET /v1/me/sessions`.
    pub struct Sessions {
        /// All sessions, oldest first.
        pub sessions: Vec<Session>,
    }
    /// `GET /v1/server`: what a client must know before it registers.
    pub struct ServerInfo {
        /// The product: "anser".
        pub product: String,
        /// The server's version.
        pub version: String,
        /// `open`, `invite` or `closed`.
        pub registration: String,
        /// The limits in force.
        pub limits: ServerLimits,
    }
    /// The limits in force.
    pub struct ServerLimits {
        /// Largest frame.
        pub frame_bytes_max: u64,
        /// Largest sealed message body.
        pub body_bytes_max: u64,
        /// Largest page of any list.
        pub page_max: u64,
        /// Largest file, sealed.
        #[serde(default)]
        pub file_bytes_max: u64,
        /// All sealed files of one user together.
        #[serde(default)]
        pub user_file_bytes_max: u64,
    }
    /// `GET /v1/connectors`: where to connect, best first.
    pub struct Connectors {
        /// The addresses to try, in this order.
        pub connectors: Vec<Connector>,
    }
    /// One connector.
    pub struct Connector {
        /// `host:port`, plain frames.
        pub tcp: String,
        /// `ws://host:port/v1/connect`, the same frames in WebSocket messages.
        pub ws: String,
    }
    /// One relation as the asking user sees it.
    pub struct Relation {
        /// The relation, also the id of its conversation.
        pub id: ConversationId,
        /// The other user.
        pub peer: User,
        /// `requested`, `incoming`, `friends`, `none` or `blocked`.
        pub state: String,
        /// Every version of the key that was ever minted, oldest first; empty before the first
        /// acceptance.
        pub keys: Vec<RelationKey>,
    }
    /// One version of a relation's key.
    pub struct RelationKey {
        /// 1, 2, 3 …; the highest one seals new messages.
        pub version: u32,
        /// 32 bytes, base64.
        pub key: String,
    }
    /// `GET /v1/relations`.
    pub struct Relations {
        /// All of them, by id.
        pub relations: Vec<Relation>,
    }
    /// One conversation as the asking user sees it.
    pub struct Conversation {
        /// The id.
        pub id: ConversationId,
        /// `direct`.
        pub kind: String,
        /// Whether messages can be sent.
        pub open: bool,
        /// The highest `conv_seq`, 0 when there is no message.
        pub head: Seq,
        /// Messages of others above the own `read`, counted up to 1000.
        pub unread: u64,
        /// All members, the asking user too.
        pub members: Vec<Member>,
        /// The message `head`.
        pub last_message: Option<Message>,
    }
    /// One member of a conversation and how far they are.
    pub struct Member {
        /// The user.
        pub user: User,
        /// Everything up to here is on a device of theirs.
        pub delivered: Seq,
        /// Everything up to here was read.
        pub read: Seq,
    }
    /// `GET /v1/conversations`.
    pub struct Conversations {
        /// All of them, by id.
        pub conversations: Vec<Conversation>,
    }
    /// A stored message.
    pub struct Message {
        /// Its conversation.
        pub conversation: ConversationId,
        /// Its number there.
        pub conv_seq: Seq,
        /// Who sent it.
        pub sender: UserId,
        /// From which device.
        pub device: DeviceId,
        /// Its command number there.
        pub client_seq: Seq,
        /// The version of the key that sealed it.
        pub key_version: u32,
        /// The sealed body, base64.
        pub body: String,
        /// When the server took it. For display, never for order.
        pub created_at_ms: u64,
    }
    /// `GET /v1/conversations/{id}/messages`.
    pub struct Messages {
        /// By `conv_seq`, rising.
        pub messages: Vec<Message>,
        /// Whether there are older ones than these.
        pub more_before: bool,
        /// Whether there are newer ones than these.
        pub more_after: bool,
    }
    /// `GET /v1/snapshot`: all state but the messages, read at or after `head`.
    pub struct Snapshot {
        /// The store's epoch.
        pub epoch: String,
        /// The inbox position that this state contains at least.
        pub head: Seq,
        /// All relations, with keys.
        pub relations: Vec<Relation>,
        /// All conversations.
        pub conversations: Vec<Conversation>,
    }
    /// Answer of `PUT /v1/server/relations`.
    pub struct ServerRelated {
        /// The conversation of the two.
        pub conversation: ConversationId,
    }
    /// Answer of `POST /v1/server/messages`.
    pub struct ServerSent {
        /// The conversation.
        pub conversation: ConversationId,
        /// The idempotency key was used before: nothing new was sent.
        pub repeated: bool,
    }
    /// Every error: `application/problem+json`, RFC 9457.
    pub struct Problem {
        /// The shared code's name.
        pub code: String,
        /// The code's sentence.
        pub title: String,
        /// The HTTP status.
        pub status: u16,
        /// What was wrong here and what to do.
        pub detail: String,
        /// Whether the same request can succeed later.
        pub retryable: bool,
        /// Names this request in the server's log.
        pub request_id: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_refuse_what_they_do_not_know_and_say_its_name() {
        let json = r#"{"name":"a","password":"b","device_name":"c","extra":1}"#;
        let error = serde_json::from_str::<Login>(json).unwrap_err().to_string();
        assert!(error.contains("extra"), "{error}");
    }

    #[test]
    fn optional_fields_may_be_left_out_and_are() {
        let register: Register = serde_json::from_str(r#"{"name":"a","password":"b"}"#).unwrap();
        assert_eq!((&register.display_name, &register.invite), (&None, &None));
        assert_eq!(serde_json::to_string(&register).unwrap(), r#"{"name":"a","password":"b"}"#);
        let json = r#"{"name":"bot"}"#;
        assert!(!serde_json::from_str::<ServerCreateUser>(json).unwrap().system);
    }

    #[test]
    fn answers_may_grow() {
        let json = r#"{"id":"1","name":"a","display_name":"A","avatar":"later"}"#;
        let user = User { id: UserId(1), name: "a".to_owned(), display_name: "A".to_owned() };
        assert_eq!(serde_json::from_str::<User>(json).unwrap(), user);
    }

    /// Ids are strings and positions are numbers, because a JavaScript reader has doubles.
    #[test]
    fn a_message_has_its_published_shape() {
        let message = Message {
            conversation: ConversationId(7),
            conv_seq: 3,
            sender: UserId(1),
            device: DeviceId(2),
            client_seq: 4,
            key_version: 1,
            body: "AAEC".to_owned(),
            created_at_ms: 1_700_000_000_123,
        };
        let expected = serde_json::json!({
            "conversation": "7", "conv_seq": 3, "sender": "1", "device": "2", "client_seq": 4,
            "key_version": 1, "body": "AAEC", "created_at_ms": 1_700_000_000_123_u64,
        });
        assert_eq!(serde_json::to_value(&message).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Message>(expected).unwrap(), message);
    }

    #[test]
    fn users_of_a_relation_are_exactly_two() {
        let two = r#"{"users":["1","2"]}"#;
        assert_eq!(serde_json::from_str::<ServerRelation>(two).unwrap().users[1], UserId(2));
        assert!(serde_json::from_str::<ServerRelation>(r#"{"users":["1"]}"#).is_err());
        assert!(serde_json::from_str::<ServerRelation>(r#"{"users":["1","2","3"]}"#).is_err());
    }
}
