//! Hello: how a device goes on. Usually a read; only an epoch mismatch writes.

use std::collections::BTreeSet;

use anser_proto::fault::Fault;
use anser_proto::{Code, DeviceId, UserId};

use super::engine::{self, Engine};
use super::keys;
use super::rows::DeviceRow;
use super::tx::Tx;
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
    let Some(row) = engine::device(&view, device)? else { return Ok(Decision::Done(None)) };
    let user = UserId(row.user);
    let reset = |head| Greeting::Reset {
        epoch: engine.epoch.clone(),
        head,
        outbox_position: row.outbox_position,
        outbox_digest: last_digest(&row),
    };
    let head = view.inbox_head(user)?;
    let greeting = if hello.epoch != engine.epoch {
        if hello.outbox_trimmed > row.outbox_position {
            return Ok(Decision::Skip);
        }
        reset(head)
    } else if hello.outbox_head < row.outbox_position {
        return Ok(Decision::Done(Some(Greeting::DeviceStale)));
    } else {
        let floor = view.floor(user)?;
        // A device that knows nothing, of an inbox that it is known to start after: a new one.
        let new = hello.position == 0 && row.inbox_position > 0;
        if new || hello.position > head || hello.position + 1 < floor {
            reset(head)
        } else {
            // Without dedup nothing is remembered of what was applied either.
            let forgets = Fault::NoDedup.is_on();
            let position = if forgets { hello.outbox_trimmed } else { row.outbox_position };
            Greeting::Welcome {
                head,
                floor,
                outbox_position: position,
                outbox_digest: last_digest(&row).filter(|_| !forgets),
                inbox_position: row.inbox_position.min(hello.position),
            }
        }
    };
    let fresh = now_ms < row.seen_at_ms.saturating_add(SEEN_EVERY_MS);
    Ok(if fresh { Decision::Done(Some(greeting)) } else { Decision::Seen(greeting) })
}

/// Sets `outbox_position` to what the device forgot, so that no number is used twice, and resets.
pub(super) fn skip(
    tx: &mut Tx<'_>,
    device: DeviceId,
    hello: &Hello,
    now_ms: u64,
) -> Result<Option<Greeting>> {
    let Some(mut row) = engine::device(tx, device)? else { return Ok(None) };
    let trimmed = hello.outbox_trimmed.min(anser_proto::id::NUMBER_MAX - 1);
    if trimmed > row.outbox_position {
        row.outbox_position = trimmed;
        // Nothing is known of the commands that were skipped.
        row.digests = Vec::new();
    }
    row.seen_at_ms = row.seen_at_ms.max(now_ms);
    tx.put(&keys::device(device), &row);
    Ok(Some(reset_of(tx, &row)?))
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
        if engine::device(&view, session.device)?.is_none() {
            swept.over.push((*session, Code::Unauthenticated));
        }
    }
    Ok(swept)
}

fn reset_of(tx: &Tx<'_>, row: &DeviceRow) -> Result<Greeting> {
    Ok(Greeting::Reset {
        epoch: tx.view.engine.epoch.clone(),
        head: tx.inbox_head(UserId(row.user))?,
        outbox_position: row.outbox_position,
        outbox_digest: last_digest(row),
    })
}

/// The digest of command `outbox_position`: the list ends with it, or is empty after a skip.
fn last_digest(row: &DeviceRow) -> Option<u64> {
    row.digests.last().copied()
}

/// How far `seen_at` may lag: retention counts in days.
const SEEN_EVERY_MS: u64 = 60_000;
