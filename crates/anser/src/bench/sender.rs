//! The sending half of `bench send`, and the stamp by which a receiver checks what it got.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anser_client::{Client, SendHandle, SendState, proto::ConversationId};
use anyhow::ensure;
use tokio::{sync::mpsc, task::JoinSet};

use super::report::Latencies;

/// Bytes of a stamp; a text is at least so long.
pub(super) const STAMP_BYTES: usize = 32;
/// Handles of one sender that wait for their ack in the open loop; more means that the server is
/// not keeping up at all.
const UNACKED_MAX: usize = 100_000;

/// How to send.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) size: usize,
    pub(super) window: usize,
    pub(super) started: Instant,
    pub(super) until: Instant,
}

/// What was sent.
pub(super) struct Sent {
    /// By sender.
    pub(super) counts: Vec<u64>,
    /// Acked within the measured time.
    pub(super) acked: u64,
    /// From the call (or the intended time) to the ack.
    pub(super) latencies: Latencies,
}

/// The first bytes of a text: its number with its sender, and when it was (to be) sent.
pub(super) struct Stamp {
    pub(super) number: u64,
    /// Since the start of the run.
    pub(super) at: Duration,
}

/// Which numbers came.
#[derive(Default)]
pub(super) struct Seen {
    bits: Vec<u64>,
    count: u64,
    highest: Option<u64>,
}

/// How a number came.
#[derive(PartialEq, Eq)]
pub(super) enum Order {
    /// Right after the highest so far.
    Next,
    /// It was here before.
    Again,
    /// After a higher one, or with a hole before it.
    Wrong,
}

impl Stamp {
    pub(super) fn write(&self, size: usize) -> String {
        let mut text = format!("{:015} {:015} ", self.number, self.at.as_nanos());
        text.extend(std::iter::repeat_n('.', size.saturating_sub(text.len())));
        text
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let number = words.next()?.parse().ok()?;
        let at = Duration::from_nanos(words.next()?.parse().ok()?);
        Some(Self { number, at })
    }
}

impl Seen {
    pub(super) fn insert(&mut self, number: u64) -> Order {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if self.bits[word] & bit != 0 {
            return Order::Again;
        }
        self.bits[word] |= bit;
        self.count += 1;
        let next = self.highest.map_or(0, |highest| highest + 1);
        self.highest = self.highest.max(Some(number));
        if number == next { Order::Next } else { Order::Wrong }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

/// Every sender keeps `window` messages under way.
pub(super) async fn closed_loop(
    senders: Vec<(Client, ConversationId)>,
    plan: Plan,
) -> anyhow::Result<Sent> {
    let mut tasks = JoinSet::new();
    for (client, conversation) in senders {
        tasks.spawn(async move {
            let (mut number, mut acked, mut latencies) = (0, 0, Latencies::new());
            let mut under_way: VecDeque<(SendHandle, Instant)> = VecDeque::new();
            loop {
                let now = Instant::now();
                if now >= plan.until {
                    return anyhow::Ok((number, acked, latencies));
                }
                if under_way.len() < plan.window {
                    let stamp = Stamp { number, at: now - plan.started };
                    let handle = client.send(conversation, stamp.write(plan.size))?;
                    under_way.push_back((handle, now));
                    number += 1;
                } else if let Some((handle, sent_at)) = under_way.pop_front() {
                    // Acks are cumulative, so the oldest is acked first.
                    let state = tokio::time::timeout_at(plan.until.into(), handle.sent()).await;
                    let Ok(state) = state else { continue };
                    ensure!(!matches!(state, SendState::Failed { .. }), "a message was refused");
                    latencies.record(sent_at.elapsed());
                    acked += 1;
                }
            }
        });
    }
    let mut sent = Sent { counts: Vec::new(), acked: 0, latencies: Latencies::new() };
    while let Some(ended) = tasks.join_next().await {
        let (count, acked, latencies) = ended??;
        sent.counts.push(count);
        sent.acked += acked;
        sent.latencies.add(&latencies);
    }
    Ok(sent)
}

/// All senders together send `rate` messages per second on a timetable, whatever the server does;
/// latencies count from the timetable, so waiting in line is not left out.
pub(super) async fn open_loop(
    senders: Vec<(Client, ConversationId)>,
    plan: Plan,
    rate: u64,
) -> anyhow::Result<Sent> {
    ensure!(rate > 0, "--rate must be at least 1");
    let mut tasks = JoinSet::new();
    let mut lines = Vec::new();
    for _ in &senders {
        let (line, mut handles) = mpsc::channel::<(SendHandle, Instant)>(UNACKED_MAX);
        lines.push(line);
        tasks.spawn(async move {
            let (mut acked, mut latencies) = (0, Latencies::new());
            while let Some((handle, intended)) = handles.recv().await {
                handle.sent().await;
                latencies.record(intended.elapsed());
                acked += 1;
            }
            (acked, latencies)
        });
    }
    // A thread of its own: the runtime's timers are a millisecond coarse.
    let timetable =
        tokio::task::spawn_blocking(move || keep_timetable(&senders, &lines, plan, rate));
    let counts = timetable.await??;
    let mut sent = Sent { counts, acked: 0, latencies: Latencies::new() };
    while let Some(ended) = tasks.join_next().await {
        let (acked, latencies) = ended?;
        sent.acked += acked;
        sent.latencies.add(&latencies);
    }
    Ok(sent)
}

#[expect(clippy::disallowed_methods, reason = "a timetable is made of times")]
fn keep_timetable(
    senders: &[(Client, ConversationId)],
    lines: &[mpsc::Sender<(SendHandle, Instant)>],
    plan: Plan,
    rate: u64,
) -> anyhow::Result<Vec<u64>> {
    let mut counts = vec![0; senders.len()];
    for message in 0_u64.. {
        let after = Duration::from_nanos(message * 1_000_000_000 / rate);
        let intended = plan.started + after;
        if intended >= plan.until {
            break;
        }
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        let index = message as usize % senders.len();
        let (client, conversation) = &senders[index];
        let stamp = Stamp { number: counts[index], at: after };
        let handle = client.send(*conversation, stamp.write(plan.size))?;
        counts[index] += 1;
        lines[index].try_send((handle, intended))?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_judged() {
        let mut seen = Seen::default();
        let judged = [0, 1, 3, 2, 3, 4].map(|number| match seen.insert(number) {
            Order::Next => 'n',
            Order::Again => 'a',
            Order::Wrong => 'w',
        });
        assert_eq!(judged, ['n', 'n', 'w', 'w', 'a', 'n']);
        assert_eq!(seen.count(), 5);
    }

    #[test]
    fn a_stamp_survives_its_text() {
        let text = Stamp { number: 7, at: Duration::from_nanos(1234) }.write(128);
        assert_eq!(text.len(), 128);
        let stamp = Stamp::read(&text).expect("a stamp");
        assert_eq!((stamp.number, stamp.at), (7, Duration::from_nanos(1234)));
    }
}
