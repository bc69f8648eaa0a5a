//! Users and invitations.
//!
//! Whoever changes something of a user locks that user's row first; several of them by rising id.

use std::collections::BTreeMap;

use anser_proto::{DeviceId, UserId};

use super::failure::Failure;
use super::script::list;
use super::tx::Tx;
use super::{devices, relations};
use crate::{
    CreateUser, Devices, Hash, NewUser, Removed, User, UserChange, UserKey, UserState, UserView,
};

const ACTIVE: u8 = 0;
const DISABLED: u8 = 1;
const REMOVED: u8 = 2;

/// Columns of `im_user` as [`UserRow`] reads them.
const COLUMNS: &str = "user, name, display_name, password_hash, state, `system`, created_at_ms";
type UserRow = (u64, String, String, Option<String>, u8, u8, u64);

pub(super) async fn create(tx: &mut Tx, new: &NewUser) -> Result<CreateUser, Failure> {
    if let Some(hash) = &new.invite {
        let row = sqlx::query("SELECT used_by FROM im_invite WHERE code_hash = ? FOR UPDATE");
        let used_by = tx.one::<(u64,)>(row.bind(&hash[..])).await?;
        // Used by this very user: the answer to an earlier run was lost.
        if !used_by.is_some_and(|(user,)| user == 0 || user == new.id.0) {
            // Before the name is looked up: a stranger without an invitation learns no names.
            return Ok(CreateUser::InviteInvalid);
        }
    }
    let owner = sqlx::query("SELECT user FROM im_user_name WHERE name = ?").bind(&new.name);
    if let Some((owner,)) = tx.one::<(u64,)>(owner).await? {
        if owner == new.id.0 {
            let made = find(tx, &UserKey::Id(new.id)).await?;
            return Ok(made.map_or(CreateUser::NameTaken, CreateUser::Created));
        }
        return Ok(CreateUser::NameTaken);
    }
    let id = fresh_id(tx, new.id).await?;
    if let Some(hash) = &new.invite {
        let used = sqlx::query("UPDATE im_invite SET used_by = ? WHERE code_hash = ?");
        tx.change(used.bind(id.0).bind(&hash[..])).await?;
    }
    let user = User {
        id,
        name: new.name.clone(),
        display_name: new.display_name.clone(),
        password_hash: new.password_hash.clone(),
        state: UserState::Active,
        system: new.system,
        created_at_ms: new.now_ms,
    };
    insert(tx, &user).await?;
    Ok(CreateUser::Created(user))
}

async fn insert(tx: &mut Tx, user: &User) -> Result<(), Failure> {
    let name = sqlx::query("INSERT INTO im_user_name (name, user) VALUES (?, ?)");
    tx.change(name.bind(&user.name).bind(user.id.0)).await?;
    let row = sqlx::query(
        "INSERT INTO im_user (user, name, display_name, password_hash, state, `system`, \
         created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    let row = row.bind(user.id.0).bind(&user.name).bind(&user.display_name);
    let row = row.bind(&user.password_hash).bind(ACTIVE).bind(u8::from(user.system));
    tx.change(row.bind(user.created_at_ms)).await?;
    let inbox = sqlx::query("INSERT INTO im_inbox_head (user, head, floor) VALUES (?, 0, 1)");
    tx.change(inbox.bind(user.id.0)).await?;
    Ok(())
}

/// The first id that is free: the one given, then random ones.
async fn fresh_id(tx: &mut Tx, first: UserId) -> Result<UserId, Failure> {
    let mut id = first;
    loop {
        let taken = sqlx::query("SELECT user FROM im_user WHERE user = ?").bind(id.0);
        if tx.one::<(u64,)>(taken).await?.is_none() {
            return Ok(id);
        }
        id = UserId::random();
    }
}

pub(super) async fn find(tx: &mut Tx, by: &UserKey) -> Result<Option<User>, Failure> {
    let sql = match by {
        UserKey::Id(_) => "SELECT {} FROM im_user WHERE user = ?",
        UserKey::Name(_) => {
            "SELECT {} FROM im_user WHERE user = (SELECT user FROM im_user_name WHERE name = ?)"
        }
    };
    let sql = sqlx::AssertSqlSafe(sql.replace("{}", COLUMNS));
    let row = match by {
        UserKey::Id(id) => tx.one::<UserRow>(sqlx::query(sql).bind(id.0)).await?,
        UserKey::Name(name) => tx.one::<UserRow>(sqlx::query(sql).bind(name)).await?,
    };
    Ok(row.map(user_of))
}

pub(super) async fn page(
    tx: &mut Tx,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<User>, Failure> {
    // Ids begin at 1.
    let after = after.map_or(0, |after| after.0);
    let page =
        format!("SELECT {COLUMNS} FROM im_user WHERE user > {after} ORDER BY user LIMIT {limit}");
    Ok(tx.select::<UserRow>(page).await?.into_iter().map(user_of).collect())
}

pub(super) async fn update(
    tx: &mut Tx,
    user: UserId,
    change: &UserChange,
) -> Result<Option<Vec<DeviceId>>, Failure> {
    if !lock(tx, &[user]).await?.values().any(Locked::lives) {
        return Ok(None);
    }
    let state = match change.state {
        Some(UserState::Active) => Some(ACTIVE),
        Some(UserState::Disabled) => Some(DISABLED),
        // Removing is a verb of its own.
        Some(UserState::Removed) | None => None,
    };
    let row = sqlx::query(
        "UPDATE im_user SET display_name = COALESCE(?, display_name), \
         password_hash = COALESCE(?, password_hash), state = COALESCE(?, state) WHERE user = ?",
    );
    let row = row.bind(&change.display_name).bind(&change.password_hash).bind(state);
    tx.change(row.bind(user.0)).await?;
    let ended = match change.end_sessions {
        Some(which) => devices::revoke(tx, user, which).await?,
        None => Vec::new(),
    };
    Ok(Some(ended))
}

pub(super) async fn remove(tx: &mut Tx, user: UserId) -> Result<Option<Removed>, Failure> {
    if !lock(tx, &[user]).await?.values().any(Locked::lives) {
        return Ok(None);
    }
    let row = sqlx::query("UPDATE im_user SET state = ?, password_hash = NULL WHERE user = ?");
    tx.change(row.bind(REMOVED).bind(user.0)).await?;
    let devices = devices::revoke(tx, user, Devices::All).await?;
    let entries = relations::end_all(tx, user).await?;
    Ok(Some(Removed { devices, entries }))
}

pub(super) async fn invite(tx: &mut Tx, code_hash: &Hash, now_ms: u64) -> Result<(), Failure> {
    let row = sqlx::query(
        "INSERT IGNORE INTO im_invite (code_hash, created_at_ms, used_by) VALUES (?, ?, 0)",
    );
    tx.change(row.bind(&code_hash[..]).bind(now_ms)).await?;
    Ok(())
}

/// What the other verbs need to know of a user.
pub(super) struct Locked {
    pub(super) view: UserView,
    state: u8,
}

impl Locked {
    /// Was not removed.
    pub(super) fn lives(&self) -> bool {
        self.state != REMOVED
    }

    /// Can log in.
    pub(super) fn is_active(&self) -> bool {
        self.state == ACTIVE
    }
}

/// Locks the rows of users.
pub(super) async fn lock(
    tx: &mut Tx,
    users: &[UserId],
) -> Result<BTreeMap<UserId, Locked>, Failure> {
    look(tx, users, "FOR UPDATE").await
}

/// Reads the rows of users, locked or not.
pub(super) async fn look(
    tx: &mut Tx,
    users: &[UserId],
    lock: &'static str,
) -> Result<BTreeMap<UserId, Locked>, Failure> {
    let wanted = list(users.iter().map(|user| user.0));
    let rows = format!(
        "SELECT user, name, display_name, state FROM im_user FORCE INDEX (PRIMARY) \
         WHERE user IN ({wanted}) ORDER BY user {lock}"
    );
    let rows: Vec<(u64, String, String, u8)> = tx.select(rows).await?;
    let locked = |(id, name, display_name, state)| {
        let id = UserId(id);
        (id, Locked { view: UserView { id, name, display_name }, state })
    };
    Ok(rows.into_iter().map(locked).collect())
}

fn user_of(row: UserRow) -> User {
    let (id, name, display_name, password_hash, state, system, created_at_ms) = row;
    User {
        id: UserId(id),
        name,
        display_name,
        password_hash,
        state: match state {
            ACTIVE => UserState::Active,
            DISABLED => UserState::Disabled,
            _ => UserState::Removed,
        },
        system: system != 0,
        created_at_ms,
    }
}
