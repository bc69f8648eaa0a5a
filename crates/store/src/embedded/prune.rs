//! Retention: removes inbox rows that are old and that every device in use has passed.
//!
//! Rows carry no time of their own but messages do, and rows are in the order of time: a row is
//! older than a moment when it is, or stands before, a message from before that moment. The last
//! row of an inbox always stays, because the next number is counted from it.

use std::sync::atomic::Ordering::Relaxed;

use anser_proto::{Seq, UserId};
use fjall::Readable as _;

use super::engine::{Engine, Rows, View, broken};
use super::rows::{DeviceRow, FloorRow};
use super::tx::Tx;
use super::{Embedded, engine, keys};
use crate::Result;
use crate::entry::message_of;

/// A piece of one inbox that can go: `from ..= to`.
struct Piece {
    user: UserId,
    from: Seq,
    to: Seq,
}

pub(super) async fn step(store: &Embedded, older_than_ms: u64, rows_max: usize) -> Result<u64> {
    let cursor = store.inner.shared.prune_cursor.load(Relaxed);
    let search = move |engine: &Engine| {
        let (pieces, next) = find(engine, cursor, older_than_ms, rows_max)?;
        if pieces.is_empty() && cursor > 0 {
            // Only what was looked at from the first user on is done.
            return find(engine, 0, older_than_ms, rows_max);
        }
        Ok((pieces, next))
    };
    let (pieces, cursor) = store.read(search).await?;
    store.inner.shared.prune_cursor.store(cursor, Relaxed);
    if pieces.is_empty() {
        return Ok(0);
    }
    // Freeing space is what a full disk needs.
    store.write_always(move |tx| remove(tx, &pieces, older_than_ms)).await
}

/// Looks for pieces from the user `cursor` on; gives where the next step goes on, 0 at the end.
fn find(
    engine: &Engine,
    cursor: u64,
    older_than_ms: u64,
    rows_max: usize,
) -> Result<(Vec<Piece>, u64)> {
    let view = engine.view();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut left = rows_max.max(1) as u64;
    let users = keys::user(UserId(cursor))..=keys::user(UserId(u64::MAX));
    for row in view.snapshot.range(&engine.small, users) {
        let key = row.key().map_err(broken)?;
        let user = UserId(keys::last_number(&key).unwrap_or_default());
        if let Some(piece) = piece(&view, user, older_than_ms, left)? {
            left -= piece.to - piece.from + 1;
            pieces.push(piece);
        }
        if left == 0 {
            // This user may have more.
            return Ok((pieces, user.0));
        }
    }
    Ok((pieces, 0))
}

fn piece(
    view: &View<'_>,
    user: UserId,
    older_than_ms: u64,
    rows_max: u64,
) -> Result<Option<Piece>> {
    let head = view.inbox_head(user)?;
    let from = view.floor(user)?;
    let bound = passed(view, user, older_than_ms)?.min(head.saturating_sub(1));
    let most = from.saturating_add(rows_max - 1);
    let mut to = from - 1;
    if from <= bound {
        for (seq, row) in (from..).zip(view.rows(&view.engine.inbox, user.0, from, bound)) {
            match message_of(&row.value().map_err(broken)?) {
                Some(message) if message.created_at_ms >= older_than_ms => break,
                Some(_) => to = seq.min(most),
                // The message that tells the age of these may stand beyond what this step takes.
                None => {}
            }
            if to == most {
                break;
            }
        }
    }
    Ok((to >= from).then_some(Piece { user, from, to }))
}

/// The lowest position of the devices that were seen since then; no such device, no bound.
fn passed(rows: &impl Rows, user: UserId, since_ms: u64) -> Result<Seq> {
    let mut passed = Seq::MAX;
    for (key, _) in rows.scan(&keys::one(keys::SESSION, user.0))? {
        let id = anser_proto::DeviceId(keys::last_number(&key).unwrap_or_default());
        let device: DeviceRow = engine::device(rows, id)?.unwrap_or_default();
        if device.seen_at_ms >= since_ms {
            passed = passed.min(device.inbox_position);
        }
    }
    Ok(passed)
}

/// Raises the floors and removes the rows below them, after a second look at devices and floors: a
/// device may have come back since the search.
fn remove(tx: &mut Tx<'_>, pieces: &[Piece], older_than_ms: u64) -> Result<u64> {
    let mut count = 0;
    for piece in pieces {
        let to = piece.to.min(passed(tx, piece.user, older_than_ms)?);
        // Another step may have been here since: a floor never sinks.
        let floor = engine::floor(tx, piece.user)?;
        if to < floor {
            continue;
        }
        tx.put(&keys::floor(piece.user), &FloorRow { floor: to + 1 });
        for seq in floor..=to {
            tx.prune_entry(piece.user, seq);
        }
        count += to + 1 - floor;
    }
    Ok(count)
}
