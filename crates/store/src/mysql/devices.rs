//! Devices and their tokens. A device that ends is deleted with its token: what it still asks is
//! then refused as unauthenticated.

use anser_proto::{DeviceId, SessionId, UserId};

use super::accounts;
use super::failure::Failure;
use super::script::{bytes, list};
use super::tx::Tx;
use crate::{Device, Devices, Hash, NewDevice, TokenOwner};

pub(super) async fn create(tx: &mut Tx, new: &NewDevice) -> Result<Option<DeviceId>, Failure> {
    let user = accounts::lock(tx, &[new.user]).await?;
    let known = sqlx::query("SELECT user, device FROM im_token WHERE token_hash = ?");
    if let Some((user, device)) = tx.one::<(u64, u64)>(known.bind(&new.token_hash[..])).await?
        && user == new.user.0
    {
        // A secret of 256 bits comes twice only when the answer to an earlier run was lost.
        return Ok(Some(DeviceId(device)));
    }
    let count = format!("SELECT COUNT(*) FROM im_device_session WHERE user = {}", new.user.0);
    let count = tx.select::<(i64,)>(count).await?.pop().map_or(0, |(count,)| count);
    let room = usize::try_from(count).is_ok_and(|count| count < new.devices_max);
    if !room || !user.values().any(accounts::Locked::is_active) {
        return Ok(None);
    }
    let device = fresh_id(tx).await?;
    let hot = sqlx::query(
        "INSERT INTO im_device (user, device, outbox_position, inbox_position, seen_at_ms, \
         digests, session_over) SELECT user, ?, 0, head, ?, '', 0 FROM im_inbox_head \
         WHERE user = ?",
    );
    tx.change(hot.bind(device.0).bind(new.now_ms).bind(new.user.0)).await?;
    let rest = sqlx::query(
        "INSERT INTO im_device_session (user, device, name, token_hash, created_at_ms) \
         VALUES (?, ?, ?, ?, ?)",
    );
    let rest = rest.bind(new.user.0).bind(device.0).bind(&new.name);
    tx.change(rest.bind(&new.token_hash[..]).bind(new.now_ms)).await?;
    let token = sqlx::query("INSERT INTO im_token (token_hash, user, device) VALUES (?, ?, ?)");
    tx.change(token.bind(&new.token_hash[..]).bind(new.user.0).bind(device.0)).await?;
    Ok(Some(device))
}

async fn fresh_id(tx: &mut Tx) -> Result<DeviceId, Failure> {
    loop {
        let id = DeviceId::random();
        let taken = format!("SELECT device FROM im_device WHERE device = {}", id.0);
        if tx.select::<(u64,)>(taken).await?.is_empty() {
            return Ok(id);
        }
    }
}

pub(super) async fn list_of(tx: &mut Tx, user: UserId) -> Result<Vec<Device>, Failure> {
    let rows = sqlx::query(
        "SELECT d.device, s.name, d.outbox_position, d.inbox_position, s.created_at_ms, \
         d.seen_at_ms FROM im_device_session s \
         JOIN im_device d ON d.user = s.user AND d.device = s.device \
         WHERE s.user = ? ORDER BY s.created_at_ms, s.device",
    );
    let rows: Vec<(u64, String, u64, u64, u64, u64)> = tx.all(rows.bind(user.0)).await?;
    let device = |row: (u64, String, u64, u64, u64, u64)| Device {
        id: DeviceId(row.0),
        name: row.1,
        outbox_position: row.2,
        inbox_position: row.3,
        created_at_ms: row.4,
        seen_at_ms: row.5,
    };
    Ok(rows.into_iter().map(device).collect())
}

pub(super) async fn revoke(
    tx: &mut Tx,
    user: UserId,
    which: Devices,
) -> Result<Vec<DeviceId>, Failure> {
    accounts::lock(tx, &[user]).await?;
    let rows = format!("SELECT device, token_hash FROM im_device_session WHERE user = {}", user.0);
    let mut rows: Vec<(u64, Vec<u8>)> = tx.select(rows).await?;
    rows.retain(|(device, _)| match which {
        Devices::All => true,
        Devices::AllBut(kept) => *device != kept.0,
        Devices::One(one) => *device == one.0,
    });
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    tx.script(end(user, &rows)).await?;
    Ok(rows.into_iter().map(|(device, _)| DeviceId(device)).collect())
}

/// The statements that end devices of a user, each given with the hash of its token.
fn end(user: UserId, rows: &[(u64, Vec<u8>)]) -> String {
    let devices = list(rows.iter().map(|row| row.0));
    let those = format!("WHERE user = {} AND device IN ({devices})", user.0);
    let mut tokens = String::new();
    for (at, (_, hash)) in rows.iter().enumerate() {
        tokens.push_str(if at > 0 { "," } else { "" });
        bytes(&mut tokens, hash);
    }
    // The device first, as in the order of all locks: what it still has under way comes before.
    // Tokens by their hashes: for a subquery MariaDB would read, and lock, those of all users.
    format!(
        "DELETE FROM im_device {those}; \
         DELETE FROM im_token WHERE token_hash IN ({tokens}); \
         DELETE FROM im_device_session {those}"
    )
}

pub(super) async fn token(tx: &mut Tx, hash: &Hash) -> Result<Option<TokenOwner>, Failure> {
    let row = sqlx::query(
        "SELECT t.user, t.device FROM im_token t JOIN im_user u ON u.user = t.user \
         WHERE t.token_hash = ? AND u.state = 0",
    );
    let row: Option<(u64, u64)> = tx.one(row.bind(&hash[..])).await?;
    Ok(row.map(|(user, device)| TokenOwner { user: UserId(user), device: DeviceId(device) }))
}

/// The session ended, if it is still the live one.
pub(super) async fn leave(
    tx: &mut Tx,
    device: DeviceId,
    session: SessionId,
) -> Result<(), Failure> {
    let row = sqlx::query(
        "UPDATE im_device SET session = NULL, session_over = 0 WHERE device = ? AND session = ?",
    );
    tx.change(row.bind(device.0).bind(session.0)).await?;
    Ok(())
}
