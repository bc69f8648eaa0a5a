//! Retention: removes inbox rows that are old and that every device in use has passed.
//!
//! Rows carry no time of their own but messages do, and rows are in the order of time: a row is
//! older than a moment when it is, or stands before, a message from before that moment. The last
//! row of an inbox always stays, as in the other engine, though here the head has a row of its own.

use std::sync::atomic::Ordering::Relaxed;

use anser_proto::{Seq, UserId};

use super::failure::Failure;
use super::tx::{Mode, Tx};
use super::{Mysql, in_transaction};
use crate::Result;
use crate::entry::message_of;

/// An inbox of which rows may be old: those from `floor` on, up to `bound`.
struct Candidate {
    user: UserId,
    floor: Seq,
    bound: Seq,
}

pub(super) async fn step(store: &Mysql, older_than_ms: u64, rows_max: usize) -> Result<u64> {
    let begun_at = store.inner.prune_cursor.load(Relaxed);
    let mut cursor = begun_at;
    let mut left = rows_max.max(1) as u64;
    let mut wrapped = false;
    loop {
        let page = in_transaction!(store, Mode::Single, tx =>
            candidates(&mut tx, cursor, older_than_ms))?;
        let Some(last) = page.last else {
            // Only what was looked at from the first user on is done.
            cursor = 0;
            if wrapped || begun_at == 0 || left < rows_max.max(1) as u64 {
                break;
            }
            wrapped = true;
            continue;
        };
        for candidate in page.candidates {
            let bounds = (older_than_ms, left);
            left -= in_transaction!(store, Mode::Write, tx =>
                piece(&mut tx, &candidate, bounds))?;
            if left == 0 {
                // This user may have more.
                store.inner.prune_cursor.store(candidate.user.0 - 1, Relaxed);
                return Ok(rows_max.max(1) as u64);
            }
        }
        cursor = last;
    }
    store.inner.prune_cursor.store(cursor, Relaxed);
    Ok(rows_max.max(1) as u64 - left)
}

struct Page {
    candidates: Vec<Candidate>,
    /// The last user that was looked at; `None` when there are no more.
    last: Option<u64>,
}

/// The next users after `cursor`: those of them whose devices in use have passed something.
async fn candidates(tx: &mut Tx, cursor: u64, since_ms: u64) -> Result<Page, Failure> {
    let users = format!(
        "SELECT h.user, h.floor, h.head, \
         (SELECT MIN(d.inbox_position) FROM im_device d WHERE d.user = h.user \
             AND d.seen_at_ms >= {since_ms}) \
         FROM im_inbox_head h WHERE h.user > {cursor} ORDER BY h.user LIMIT {USERS_PER_PAGE}"
    );
    let users: Vec<(u64, u64, u64, Option<u64>)> = tx.select(users).await?;
    let last = users.last().map(|row| row.0);
    let candidate = |(user, floor, head, passed): (u64, u64, u64, Option<u64>)| {
        let bound = passed.unwrap_or(Seq::MAX).min(head.saturating_sub(1));
        (floor <= bound).then_some(Candidate { user: UserId(user), floor, bound })
    };
    Ok(Page { candidates: users.into_iter().filter_map(candidate).collect(), last })
}

/// Raises the floor of an inbox and removes the rows below it; gives how many.
async fn piece(
    tx: &mut Tx,
    candidate: &Candidate,
    (older_than_ms, rows_max): (u64, u64),
) -> Result<u64, Failure> {
    let Candidate { user, floor, bound } = *candidate;
    let Some(old) = old(tx, candidate, older_than_ms, rows_max).await? else { return Ok(0) };
    // A second look, locked: a device may have come back since, and another step been here.
    let devices = format!(
        "SELECT inbox_position FROM im_device WHERE user = {0} AND seen_at_ms >= {older_than_ms} \
         FOR UPDATE; SELECT floor FROM im_inbox_head WHERE user = {0} FOR UPDATE",
        user.0
    );
    let results = tx.script(devices).await?;
    let mut numbers = results.iter().map(|rows| {
        let number = |row| Ok(<(u64,) as sqlx::FromRow<_>>::from_row(row)?.0);
        rows.iter().map(number).collect::<Result<Vec<u64>, Failure>>()
    });
    let passed = numbers.next().transpose()?.unwrap_or_default();
    let floor_now = numbers.next().transpose()?.unwrap_or_default();
    let to = passed.into_iter().min().unwrap_or(Seq::MAX).min(old).min(bound);
    let from = floor_now.first().copied().unwrap_or(floor);
    if to < from {
        return Ok(0);
    }
    let (user, next) = (user.0, to + 1);
    let changes = format!(
        "UPDATE im_inbox_head SET floor = {next} WHERE user = {user}; \
         DELETE FROM im_inbox WHERE user = {user} AND seq >= {from} AND seq <= {to}"
    );
    tx.script(changes).await?;
    Ok(to + 1 - from)
}

/// The last row that is old, within `rows_max` of the floor.
async fn old(
    tx: &mut Tx,
    candidate: &Candidate,
    older_than_ms: u64,
    rows_max: u64,
) -> Result<Option<Seq>, Failure> {
    let Candidate { user, floor, bound } = *candidate;
    let most = floor.saturating_add(rows_max - 1);
    let mut next = floor;
    let mut old = None;
    // The message that tells the age of rows may stand beyond what this step takes.
    while next <= bound && old != Some(most) {
        let rows = format!(
            "SELECT seq, LEFT(entry, {MESSAGE_BYTES_MAX}) FROM im_inbox WHERE user = {} \
             AND seq >= {next} AND seq <= {bound} ORDER BY seq LIMIT {ROWS_PER_PAGE}",
            user.0
        );
        let rows: Vec<(u64, Vec<u8>)> = tx.select(rows).await?;
        let Some((last, _)) = rows.last() else { break };
        next = last + 1;
        for (seq, head) in &rows {
            match message_of(head) {
                Some(message) if message.created_at_ms >= older_than_ms => return Ok(old),
                Some(_) => old = Some((*seq).min(most)),
                None => {}
            }
            if old == Some(most) {
                break;
            }
        }
    }
    Ok(old)
}

const USERS_PER_PAGE: usize = 500;
const ROWS_PER_PAGE: usize = 1000;
/// A message without its body takes at most 9 numbers of 11 bytes.
const MESSAGE_BYTES_MAX: usize = 128;
