//! Hello: how a device goes on. Usually a read; only an epoch mismatch writes.

use std::collections::BTreeSet;

use anser_proto::{Code, DeviceId, UserId};

use super::engine::{self, Engine};
use super::keys;
use super::rows::DeviceRow;
use super::tx::Tx;
use crate::apply::{self, Bounds};
use crate::{Greeting, Hello, LiveSession, Result, Swept};

/// What a Hello needs.
pub(super) enum Decision {
    /// Nothing more.
    Done(Option<Greeting>),
    /// `seen_at` is to move at some time.
    Seen(Greeting),
    /// `outbox_position` has to skip what the device forgot, before it is answered.
    Skip,
}

/// Decides from a snapshot.
pub(super) fn decide(
    engine: &Engine,
    device: DeviceId,
    hello: &Hello,
    now_ms: u64,
) -> Result<Decision> {
    let view = engine.view();
    let Some(mut row) = view.device(device)? else { return Ok(Decision::Done(None)) };
    let inbox = Bounds { head: view.inbox_head(row.user)?, floor: view.floor(row.user)? };
    let position = row.outbox_position;
    let greeting = apply::greet(&engine.epoch, &mut row, inbox, hello);
    if row.outbox_position != position {
        return Ok(Decision::Skip);
    }
    let fresh = now_ms < row.seen_at_ms.saturating_add(SEEN_EVERY_MS);
    let done = fresh || greeting == Greeting::DeviceStale;
    Ok(if done { Decision::Done(Some(greeting)) } else { Decision::Seen(greeting) })
}

/// Sets `outbox_position` to what the device forgot, and resets.
pub(super) fn skip(
    tx: &mut Tx<'_>,
    device: DeviceId,
    hello: &Hello,
    now_ms: u64,
) -> Result<Option<Greeting>> {
    let Some(row) = engine::device(tx, device)? else { return Ok(None) };
    let mut row = apply::Device::from(row);
    let inbox = Bounds { head: tx.inbox_head(row.user)?, floor: engine::floor(tx, row.user)? };
    let greeting = apply::greet(&tx.view.engine.epoch, &mut row, inbox, hello);
    row.seen_at_ms = row.seen_at_ms.max(now_ms);
    tx.put(&keys::device(device), &DeviceRow::from(&row));
    Ok(Some(greeting))
}

/// Looks at sessions in one snapshot. Whom a device said Hello to elsewhere nobody has to be told:
/// all connections are in this process.
pub(super) fn sweep(engine: &Engine, sessions: &[LiveSession]) -> Result<Swept> {
    let view = engine.view();
    let mut swept = Swept::default();
    let users: BTreeSet<UserId> = sessions.iter().map(|one| one.user).collect();
    for user in users {
        swept.heads.push((user, view.inbox_head(user)?));
    }
    for session in sessions {
        match engine::device(&view, session.device)? {
            Some(device) => swept.applied.push((session.device, device.outbox_position)),
            None => swept.over.push((*session, Code::Unauthenticated)),
        }
    }
    Ok(swept)
}

/// How far `seen_at` may lag: retention counts in days.
const SEEN_EVERY_MS: u64 = 60_000;
