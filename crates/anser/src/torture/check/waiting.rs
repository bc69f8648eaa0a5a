//! C10 in a cluster: how long sends waited for their ack while all nodes were restarted, one after
//! another, and nothing else was broken.

use std::{collections::HashMap, ops::Range, time::Duration};

use super::{commands::Commands, world::World};
use crate::torture::history::{ClientId, What};

/// The fault that sends are to bridge.
const ROLLING_RESTART: &str = "rolling_restart";

/// How long sends waited.
#[derive(Debug, Default)]
pub(in crate::torture) struct Waits {
    /// Sends that were put into an outbox meanwhile.
    pub(in crate::torture) sends: usize,
    /// The longest time from the outbox to the ack. While the client itself was switched off does
    /// not count, nor what came after the beginning of the next fault.
    pub(in crate::torture) longest: Duration,
    /// The record that put the longest one into an outbox.
    pub(in crate::torture) record: usize,
}

pub(super) fn measure(world: &World<'_>, commands: &Commands<'_>) -> Waits {
    let mut waits = Waits::default();
    let (spans, away) = (spans(world), away(world));
    for send in &commands.sends {
        // One that moved to a new device waited for a login of its own.
        let [(_, queued)] = send.names.as_slice() else { continue };
        let Some((_, end)) = spans.iter().find(|(span, _)| span.contains(queued)) else { continue };
        let acked = send.acks.first().map_or(*end, |(_, acked)| (*acked).min(*end));
        if acked < *queued {
            continue;
        }
        let (from, to) = (world.records[*queued].at, world.records[acked].at);
        let off = away.get(&send.client).map_or(&[][..], Vec::as_slice);
        let off = off.iter().map(|off| off.end.min(to).saturating_sub(off.start.max(from)));
        let waited = (to - from).saturating_sub(off.sum());
        waits.sends += 1;
        if waited > waits.longest {
            (waits.longest, waits.record) = (waited, *queued);
        }
    }
    waits
}

/// From the beginning of each rolling restart to its end, and the record that ends the measuring.
fn spans(world: &World<'_>) -> Vec<(Range<usize>, usize)> {
    let mut spans: Vec<(Range<usize>, usize)> = Vec::new();
    let mut open: Option<(u64, usize)> = None;
    let last = world.records.len().saturating_sub(1);
    for (index, what) in world.iter() {
        let ends = matches!(what, What::Fault { .. } | What::Settling);
        if ends && let Some((span, end)) = spans.last_mut().filter(|(span, _)| span.end <= index) {
            *end = (*end).min(index.max(span.end));
        }
        match (what, open) {
            (What::Fault { fault, kind: ROLLING_RESTART }, _) => open = Some((*fault, index)),
            (What::Healed { fault }, Some((known, from))) if known == *fault => {
                spans.push((from..index, last));
                open = None;
            }
            _ => {}
        }
    }
    spans
}

/// When clients were switched off by their own persons.
fn away(world: &World<'_>) -> HashMap<ClientId, Vec<Range<Duration>>> {
    let mut away: HashMap<ClientId, Vec<Range<Duration>>> = HashMap::new();
    for (index, what) in world.iter() {
        let at = world.records[index].at;
        match what {
            What::Left { client } => away.entry(*client).or_default().push(at..Duration::MAX),
            What::Back { client } => {
                if let Some(last) = away.get_mut(client).and_then(|all| all.last_mut()) {
                    last.end = at;
                }
            }
            _ => {}
        }
    }
    away
}
