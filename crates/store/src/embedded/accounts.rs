//! Users and invitations.

use anser_proto::{DeviceId, UserId};

use super::engine::{self, Rows, View, broken};
use super::rows::{self, InviteRow, UserRow};
use super::tx::Tx;
use super::{devices, keys, relations};
use crate::{
    CreateUser, Devices, Hash, NewUser, Removed, Result, User, UserChange, UserKey, UserState,
};
use fjall::Readable as _;

/// `UserRow::state` of those who can log in.
pub(super) const ACTIVE: u32 = 0;
const DISABLED: u32 = 1;
const REMOVED: u32 = 2;

pub(super) fn create(tx: &mut Tx<'_>, new: NewUser) -> Result<CreateUser> {
    let invite = match new.invite {
        Some(hash) => {
            let key = keys::bytes(keys::INVITE, &hash);
            let row = tx.row::<InviteRow>("invite", &key)?;
            let Some(row) = row.filter(|row| row.used_by == 0) else {
                // Before the name is looked up: a stranger without an invitation learns no names.
                return Ok(CreateUser::InviteInvalid);
            };
            Some((key, row))
        }
        None => None,
    };
    if tx.get(&keys::user_name(&new.name))?.is_some() {
        return Ok(CreateUser::NameTaken);
    }
    let id = fresh_id(tx, Some(new.id), UserId::random, keys::user)?;
    if let Some((key, row)) = invite {
        tx.put(&key, &InviteRow { used_by: id.0, ..row });
    }
    let row = UserRow {
        name: new.name,
        display_name: new.display_name,
        password_hash: new.password_hash,
        state: ACTIVE,
        system: new.system,
        created_at_ms: new.now_ms,
    };
    tx.put_bytes(&keys::user_name(&row.name), &id.0.to_be_bytes());
    tx.put(&keys::user(id), &row);
    Ok(CreateUser::Created(user_of(id, row)))
}

pub(super) fn find(view: &View<'_>, by: &UserKey) -> Result<Option<User>> {
    let id = match by {
        UserKey::Id(id) => Some(*id),
        UserKey::Name(name) => {
            let id = view.get(&keys::user_name(name))?;
            id.and_then(|id| keys::last_number(&id)).map(UserId)
        }
    };
    let Some(id) = id else { return Ok(None) };
    Ok(engine::user(view, id)?.map(|row| user_of(id, row)))
}

pub(super) fn page(view: &View<'_>, after: Option<UserId>, limit: usize) -> Result<Vec<User>> {
    let first = after.map_or(0, |after| after.0.saturating_add(1));
    let range = keys::user(UserId(first))..=keys::user(UserId(u64::MAX));
    let rows = view.snapshot.range(&view.engine.small, range).take(limit);
    rows.map(|row| {
        let (key, value) = row.into_inner().map_err(broken)?;
        let id = UserId(keys::last_number(&key).unwrap_or_default());
        Ok(user_of(id, rows::decode("user", &value)?))
    })
    .collect()
}

pub(super) fn update(
    tx: &mut Tx<'_>,
    user: UserId,
    change: UserChange,
) -> Result<Option<Vec<DeviceId>>> {
    let Some(mut row) = living(tx, user)? else { return Ok(None) };
    if let Some(display_name) = change.display_name {
        row.display_name = display_name;
    }
    if let Some(hash) = change.password_hash {
        row.password_hash = Some(hash);
    }
    match change.state {
        Some(UserState::Active) => row.state = ACTIVE,
        Some(UserState::Disabled) => row.state = DISABLED,
        // Removing is a verb of its own.
        Some(UserState::Removed) | None => {}
    }
    tx.put(&keys::user(user), &row);
    let ended = change.end_sessions.map(|which| devices::revoke(tx, user, which)).transpose()?;
    Ok(Some(ended.unwrap_or_default()))
}

pub(super) fn remove(tx: &mut Tx<'_>, user: UserId) -> Result<Option<Removed>> {
    let Some(mut row) = living(tx, user)? else { return Ok(None) };
    row.state = REMOVED;
    row.password_hash = None;
    tx.put(&keys::user(user), &row);
    let devices = devices::revoke(tx, user, Devices::All)?;
    let entries = relations::end_all(tx, user)?;
    Ok(Some(Removed { devices, entries }))
}

pub(super) fn invite(tx: &mut Tx<'_>, code_hash: Hash, now_ms: u64) -> Result<()> {
    let key = keys::bytes(keys::INVITE, &code_hash);
    if tx.get(&key)?.is_none() {
        tx.put(&key, &InviteRow { created_at_ms: now_ms, used_by: 0 });
    }
    Ok(())
}

/// A user who was not removed.
pub(super) fn living(rows: &impl Rows, user: UserId) -> Result<Option<UserRow>> {
    Ok(engine::user(rows, user)?.filter(|row| row.state != REMOVED))
}

/// The first id that is free: the one given, then random ones.
pub(super) fn fresh_id<I: Copy, K: AsRef<[u8]>>(
    rows: &impl Rows,
    first: Option<I>,
    random: impl Fn() -> I,
    key: impl Fn(I) -> K,
) -> Result<I> {
    let mut id = first.unwrap_or_else(&random);
    while rows.get(key(id).as_ref())?.is_some() {
        id = random();
    }
    Ok(id)
}

fn user_of(id: UserId, row: UserRow) -> User {
    User {
        id,
        name: row.name,
        display_name: row.display_name,
        password_hash: row.password_hash,
        state: match row.state {
            ACTIVE => UserState::Active,
            DISABLED => UserState::Disabled,
            _ => UserState::Removed,
        },
        system: row.system,
        created_at_ms: row.created_at_ms,
    }
}
