//! Bodies of the admin interface: HTTP on the Unix socket `admin.sock` in the data folder, paths
//! under `/admin`. For the operator on the same machine; no part of the public contract `/v1`.

use serde::{Deserialize, Serialize};

use super::User;
use crate::{ConversationId, DeviceId, UserId};

bodies! {
    /// `POST /admin/users`.
    pub struct CreateUser {
        /// As for [`super::Register::name`].
        pub name: String,
        /// 8 to 256 characters; the user can not log in by password when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub password: Option<String>,
        /// As for [`super::Register::display_name`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub display_name: Option<String>,
        /// As for [`super::ServerCreateUser::system`].
        #[serde(default)]
        pub system: bool,
    }
    /// `PUT /admin/users/{name}/password`. Ends all sessions of the user.
    pub struct SetPassword {
        /// 8 to 256 characters.
        pub password: String,
    }
    /// `POST /admin/users/{name}/sessions`: a device token without a password.
    pub struct CreateSession {
        /// As for [`super::Login::device_name`].
        pub device_name: String,
    }
    /// `POST /admin/relations`: make two users friends.
    pub struct Befriend {
        /// Names, or ids as decimal strings. A name of digits only is taken for an id.
        pub users: [String; 2],
    }
    /// `POST /admin/backup`.
    pub struct Backup {
        /// The absolute path of a new or empty folder on the server's machine.
        pub path: String,
    }
    /// `POST /admin/users/batch`: users without password, with one device each, for load tests.
    pub struct CreateUsers {
        /// At most [`BATCH_MAX`].
        pub names: Vec<String>,
    }
    /// `POST /admin/relations/batch`: make many pairs friends, for load tests.
    pub struct BefriendMany {
        /// At most [`BATCH_MAX`].
        pub pairs: Vec<[UserId; 2]>,
    }
}

answers! {
    /// An account as its operator sees it.
    pub struct Account {
        /// The id.
        pub id: UserId,
        /// The unique user name.
        pub name: String,
        /// The name to show.
        pub display_name: String,
        /// `active`, `disabled` or `removed`.
        pub state: String,
        /// Whether it can be the sender of `POST /v1/server/messages`.
        pub system: bool,
        /// Whether it can log in by password.
        pub has_password: bool,
        /// When it was made.
        pub created_at_ms: u64,
    }
    /// `GET /admin/users?after={id}&limit={n}`.
    pub struct Accounts {
        /// By id, rising.
        pub users: Vec<Account>,
        /// Whether there are more above the last one.
        pub more: bool,
    }
    /// Answer of `POST /admin/relations`.
    pub struct Befriended {
        /// The conversation of the two.
        pub conversation: ConversationId,
    }
    /// Answer of `POST /admin/invites`.
    pub struct Invite {
        /// The code, told once. It can be used once.
        pub code: String,
    }
    /// Answer of `POST /admin/backup`.
    pub struct BackedUp {
        /// Rows written.
        pub rows: u64,
        /// Bytes written.
        pub bytes: u64,
    }
    /// `GET /admin/status`.
    pub struct Status {
        /// The server's version.
        pub version: String,
        /// The store's epoch.
        pub epoch: String,
        /// The store's schema version.
        pub schema: u32,
        /// Seconds since the start.
        pub uptime_s: u64,
        /// Open connections, where this process holds any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub connections: Option<u64>,
        /// The data folder.
        pub data_dir: String,
        /// The store's counters since the start.
        pub store: StoreStatus,
    }
    /// The store's counters since the start.
    pub struct StoreStatus {
        /// Transactions of the hot path.
        pub commits: u64,
        /// Syncs of the journal.
        pub syncs: u64,
        /// Messages stored.
        pub messages: u64,
        /// Free bytes on the data folder's file system.
        pub disk_free_bytes: u64,
        /// Bytes of the database on disk.
        pub disk_used_bytes: u64,
    }
    /// Answer of `POST /admin/users/batch`, parallel to the names.
    pub struct CreatedUsers {
        /// One for each name.
        pub users: Vec<CreatedUser>,
    }
    /// One user of a batch with its device.
    pub struct CreatedUser {
        /// The user.
        pub user: User,
        /// The device.
        pub device: DeviceId,
        /// Its token.
        pub token: String,
    }
    /// Answer of `POST /admin/relations/batch`, parallel to the pairs.
    pub struct BefriendedMany {
        /// The conversation of each pair.
        pub conversations: Vec<ConversationId>,
    }
}

/// Most items of one batch request.
pub const BATCH_MAX: usize = 10_000;
