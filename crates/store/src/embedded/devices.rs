//! Devices and their tokens. A device that ends is deleted with its token: what it still asks is
//! then refused as unauthenticated.

use anser_proto::{DeviceId, UserId};

use super::accounts::{ACTIVE, fresh_id};
use super::engine::{self, Rows, View};
use super::keys;
use super::rows::{self, DeviceRow, SessionRow, TokenRow};
use super::tx::Tx;
use crate::{Device, Devices, Hash, NewDevice, Result, TokenOwner};

pub(super) fn create(tx: &mut Tx<'_>, new: NewDevice) -> Result<Option<DeviceId>> {
    let user = engine::user(tx, new.user)?.filter(|user| user.state == ACTIVE);
    if user.is_none() || sessions(tx, new.user)?.len() >= new.devices_max {
        return Ok(None);
    }
    let device = fresh_id(tx, None, DeviceId::random, keys::device)?;
    tx.put(
        &keys::device(device),
        &DeviceRow {
            user: new.user.0,
            inbox_position: tx.inbox_head(new.user)?,
            seen_at_ms: new.now_ms,
            ..DeviceRow::default()
        },
    );
    tx.put(
        &keys::session(new.user, device),
        &SessionRow {
            name: new.name,
            token_hash: new.token_hash.to_vec(),
            created_at_ms: new.now_ms,
        },
    );
    tx.put(&keys::token(&new.token_hash), &TokenRow { user: new.user.0, device: device.0 });
    Ok(Some(device))
}

pub(super) fn list(view: &View<'_>, user: UserId) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for (id, session) in sessions(view, user)? {
        let Some(row) = engine::device(view, id)? else { continue };
        devices.push(Device {
            id,
            name: session.name,
            outbox_position: row.outbox_position,
            inbox_position: row.inbox_position,
            created_at_ms: session.created_at_ms,
            seen_at_ms: row.seen_at_ms,
        });
    }
    devices.sort_by_key(|device| (device.created_at_ms, device.id));
    Ok(devices)
}

pub(super) fn revoke(tx: &mut Tx<'_>, user: UserId, which: Devices) -> Result<Vec<DeviceId>> {
    let mut ended = Vec::new();
    for (device, session) in sessions(tx, user)? {
        let ends = match which {
            Devices::All => true,
            Devices::AllBut(kept) => device != kept,
            Devices::One(one) => device == one,
        };
        if ends {
            tx.delete(&keys::device(device));
            tx.delete(&keys::session(user, device));
            tx.delete(&keys::bytes(keys::TOKEN, &session.token_hash));
            ended.push(device);
        }
    }
    Ok(ended)
}

pub(super) fn token(view: &View<'_>, hash: &Hash) -> Result<Option<TokenOwner>> {
    let Some(row) = view.row::<TokenRow>("token", &keys::token(hash))? else { return Ok(None) };
    let user = UserId(row.user);
    let active = engine::user(view, user)?.is_some_and(|user| user.state == ACTIVE);
    Ok(active.then_some(TokenOwner { user, device: DeviceId(row.device) }))
}

fn sessions(rows: &impl Rows, user: UserId) -> Result<Vec<(DeviceId, SessionRow)>> {
    let found = rows.scan(&keys::one(keys::SESSION, user.0))?;
    let decode = |(key, value): &(fjall::Slice, fjall::Slice)| {
        let device = DeviceId(keys::last_number(key).unwrap_or_default());
        Ok((device, rows::decode("session", value)?))
    };
    found.iter().map(decode).collect()
}
