//! Hello: the device's row is locked, so what other sessions have under way is in it, or waits and
//! is refused.

use std::collections::HashMap;

use anser_proto::{Code, DeviceId, UserId};

use super::failure::Failure;
use super::hot::device_into;
use super::load::{DEVICE_COLUMNS, device};
use super::script::{Script, list};
use super::tx::Tx;
use crate::apply::{self, Bounds, Session, WorkingSet};
use crate::{Greeting, Hello, LiveSession, Swept};

pub(super) async fn greet(
    tx: &mut Tx,
    epoch: &str,
    id: DeviceId,
    (hello, now_ms): (&Hello, u64),
) -> Result<Option<Greeting>, Failure> {
    let owner = format!("SELECT user FROM im_device WHERE device = {}", id.0);
    let Some((user,)) = tx.select::<(u64,)>(owner).await?.pop() else { return Ok(None) };
    // Found by its owner, it is locked by the key that batches lock it by.
    let rows = format!(
        "SELECT {DEVICE_COLUMNS} FROM im_device FORCE INDEX (PRIMARY) \
         WHERE user = {user} AND device = {} FOR UPDATE; \
         SELECT head, floor FROM im_inbox_head WHERE user = {user}",
        id.0
    );
    let results = tx.script(rows).await?;
    let mut set = WorkingSet::default();
    let Some(row) = results.first().and_then(|rows| rows.first()) else { return Ok(None) };
    device(&mut set, row)?;
    let inbox = results.get(1).and_then(|rows| rows.first());
    let inbox = inbox.ok_or_else(|| Failure::corrupt(format!("user {user} has no inbox")))?;
    let (head, floor) = sqlx::FromRow::from_row(inbox)?;

    set.sessions.insert(id, Session::new(hello.session));
    let row = set.devices.get_mut(&id).expect("read right above");
    let greeting = apply::greet(epoch, row, Bounds { head, floor }, hello);
    if greeting != Greeting::DeviceStale {
        row.seen_at_ms = row.seen_at_ms.max(now_ms);
    }
    let mut script = Script::default();
    let row = set.devices.get(&id).expect("read above");
    device_into(&mut script, (id, row), &set);
    tx.write_and_commit(script).await?;
    Ok(Some(greeting))
}

/// Looks at sessions in one snapshot.
pub(super) async fn sweep(tx: &mut Tx, sessions: &[LiveSession]) -> Result<Swept, Failure> {
    let users = list(sessions.iter().map(|one| one.user.0));
    let devices = list(sessions.iter().map(|one| one.device.0));
    let heads =
        format!("SELECT user, head FROM im_inbox_head WHERE user IN ({users}) ORDER BY user");
    let heads: Vec<(u64, u64)> = tx.select(heads).await?;
    let rows = format!(
        "SELECT device, session, outbox_position FROM im_device WHERE device IN ({devices})"
    );
    let rows: Vec<(u64, Option<u64>, u64)> = tx.select(rows).await?;
    let applied = rows.iter().map(|(device, _, applied)| (DeviceId(*device), *applied)).collect();
    let known: HashMap<u64, Option<u64>> =
        rows.into_iter().map(|(device, session, _)| (device, session)).collect();
    let over = |one: &LiveSession| match known.get(&one.device.0) {
        None => Some((*one, Code::Unauthenticated)),
        Some(Some(session)) if *session != one.session.0 => Some((*one, Code::Replaced)),
        Some(_) => None,
    };
    Ok(Swept {
        heads: heads.into_iter().map(|(user, head)| (UserId(user), head)).collect(),
        applied,
        over: sessions.iter().filter_map(over).collect(),
    })
}
