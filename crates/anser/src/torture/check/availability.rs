//! C10: how soon after a fault sends are acked again, and how soon at the rate of before.

use std::{collections::BTreeMap, time::Duration};

use super::{commands::Commands, world::World};
use crate::torture::history::What;

/// The rate before a fault is the mean over this time.
const BEFORE: Duration = Duration::from_secs(3);
/// The rate after it is counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(1);

/// Faults of one client: for all others service goes on, so they neither have a time of their own
/// nor end that of another.
const OF_ONE_CLIENT: [&str; 10] = [
    "reset",
    "half_open",
    "trickle",
    "delay",
    "duplicate",
    "reorder",
    "socket_kill",
    "slow_reader",
    "wipe",
    "old_copy",
];

/// How long the service was away.
#[derive(Debug, Default)]
pub(in crate::torture) struct Availability {
    /// Each fault that was healed before the settling, in order.
    pub(in crate::torture) faults: Vec<Measured>,
    /// By kind.
    pub(in crate::torture) worst: BTreeMap<&'static str, Worst>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::torture) struct Measured {
    pub(in crate::torture) kind: &'static str,
    pub(in crate::torture) healed_at: Duration,
    /// Sends acked per second before it.
    pub(in crate::torture) rate_before: f64,
    /// From the healing to the first ack of a send; `None`: there was none.
    pub(in crate::torture) to_first_ok: Option<Duration>,
    /// From the healing to the end of the first second in which nine tenths of the rate before were
    /// reached; `None`: they never were. 0 when there was no rate before.
    pub(in crate::torture) to_rate: Option<Duration>,
    /// Another fault began before both were reached: what is missing was not measured.
    pub(in crate::torture) cut_short: bool,
}

/// The worst of a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::torture) struct Worst {
    pub(in crate::torture) to_first_ok: Option<Duration>,
    pub(in crate::torture) to_rate: Option<Duration>,
    pub(in crate::torture) measured: usize,
    pub(in crate::torture) cut_short: usize,
    /// Faults, not cut short, after which the rate was never reached.
    pub(in crate::torture) never: usize,
}

pub(super) fn measure(world: &World<'_>, commands: &Commands<'_>) -> Availability {
    let until = world.settling.unwrap_or(world.records.len());
    let end = world.settling.map(|index| world.records[index].at);
    let end = end.or_else(|| world.records.last().map(|record| record.at)).unwrap_or_default();
    let before_end = commands.send_acks.iter().filter(|(index, _)| *index < until);
    let oks: Vec<Duration> = before_end.map(|(index, _)| world.records[*index].at).collect();
    let faults = faults(world, until);

    let mut availability = Availability::default();
    for (number, fault) in faults.iter().enumerate() {
        let Some(healed) = fault.healed else { continue };
        let others = faults.iter().enumerate().filter(|(other, _)| *other != number);
        // The next other fault; one that is still on leaves nothing to measure, for what comes
        // back then is not this one's service.
        let disturbs = |(_, other): (usize, &Span)| {
            let ended = other.healed.is_some_and(|end| end <= healed);
            (!ended).then(|| other.began.max(healed))
        };
        let disturbed = others.filter_map(disturbs).min();
        let stop = disturbed.map_or(end, |disturbed| disturbed.min(end));
        let measured = one(fault, healed, (&oks, stop), disturbed.is_some_and(|at| at < end));
        let worst = availability.worst.entry(fault.kind).or_default();
        worst.take(&measured);
        availability.faults.push(measured);
    }
    availability
}

/// A fault in time.
struct Span {
    kind: &'static str,
    began: Duration,
    healed: Option<Duration>,
}

fn faults(world: &World<'_>, until: usize) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut numbers = BTreeMap::new();
    for record in &world.records[..until] {
        match record.what {
            What::Fault { fault, kind } if !OF_ONE_CLIENT.contains(&kind) => {
                numbers.insert(fault, spans.len());
                spans.push(Span { kind, began: record.at, healed: None });
            }
            What::Healed { fault } => {
                if let Some(number) = numbers.get(&fault) {
                    spans[*number].healed.get_or_insert(record.at);
                }
            }
            _ => {}
        }
    }
    spans
}

fn one(
    fault: &Span,
    healed: Duration,
    (oks, stop): (&[Duration], Duration),
    disturbed: bool,
) -> Measured {
    let began = fault.began;
    let from = began.saturating_sub(BEFORE);
    let count = |from: Duration, to: Duration| {
        oks.partition_point(|at| *at < to) - oks.partition_point(|at| *at < from)
    };
    let span = (began - from).as_secs_f64();
    let rate_before = if span > 0.0 { count(from, began) as f64 / span } else { 0.0 };

    let after = &oks[oks.partition_point(|at| *at < healed)..];
    let after = &after[..after.partition_point(|at| *at <= stop)];
    let to_first_ok = after.first().map(|at| *at - healed);
    let needed = (0.9 * rate_before * WINDOW.as_secs_f64() - 1e-9).ceil().max(0.0) as usize;
    let to_rate = match needed {
        0 => Some(Duration::ZERO),
        needed => after.windows(needed).find_map(|acked| {
            // A window that begins at the healing or later, and ends with the last of these acks.
            let last = *acked.last()?;
            let ends = last.max(healed + WINDOW);
            (acked[0] + WINDOW >= ends && ends <= stop).then(|| ends - healed)
        }),
    };
    let cut_short = disturbed && (to_first_ok.is_none() || to_rate.is_none());
    let (kind, healed_at) = (fault.kind, healed);
    Measured { kind, healed_at, rate_before, to_first_ok, to_rate, cut_short }
}

impl Worst {
    fn take(&mut self, measured: &Measured) {
        self.measured += 1;
        self.cut_short += usize::from(measured.cut_short);
        self.never += usize::from(!measured.cut_short && measured.to_rate.is_none());
        self.to_first_ok = self.to_first_ok.max(measured.to_first_ok);
        self.to_rate = self.to_rate.max(measured.to_rate);
    }
}
