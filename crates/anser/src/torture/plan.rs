//! What a seed decides: the acts of each client and the order of the faults. Nothing here depends
//! on time or on what happens, so a seed replays the same plan; how far a run gets in it does.

use std::time::Duration;

use super::{
    fault::{Kind, Lane},
    history::ClientId,
    random::Random,
};

/// What a client does next, and how long its person thinks before that.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Act {
    pub(super) think: Duration,
    pub(super) what: Deed,
    /// Chooses among what there is at that moment: a conversation, a peer, a device.
    pub(super) choice: u64,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Deed {
    /// Writes so many messages to one friend.
    Send {
        messages: usize,
    },
    /// Sends a file of so many bytes to one friend.
    SendFile {
        bytes: usize,
    },
    /// Fetches the file of a message that it holds.
    Fetch,
    /// Marks the newest message of a conversation as read.
    Read,
    /// Is closed, and opened again after a while.
    Leave {
        away: Duration,
    },
    /// Changes one of the relations that come and go.
    Befriend,
    Remove,
    Block,
    Unblock,
    /// Ends the session of another device of the same user, or its own.
    Revoke,
    /// Reads a page of history.
    Page,
    /// Asks for the history of a conversation of others, and for a file in one.
    Snoop,
}

/// Shares of the deeds in a hundred. Half of a chat is writing; what is rare with people is
/// frequent here, since a run lasts a minute.
const SHARES: [(u32, Deed); 11] = [
    (54, Deed::Send { messages: 0 }),
    (3, Deed::SendFile { bytes: 0 }),
    (1, Deed::Fetch),
    (17, Deed::Read),
    (5, Deed::Leave { away: Duration::ZERO }),
    (8, Deed::Befriend),
    (3, Deed::Remove),
    (1, Deed::Block),
    (2, Deed::Unblock),
    (4, Deed::Page),
    (2, Deed::Snoop),
];
/// One act in so many revokes a device instead: a login is the most expensive call of the server.
const ACTS_PER_REVOCATION: usize = 150;
/// Most messages of one act.
const BURST_MAX: usize = 6;
/// Sizes of files are below a power of two that is chosen first, so that there are as many small
/// ones as large ones. The largest, 2 MiB, goes out in several parts of many chunks.
const FILE_BITS_MAX: usize = 21;
/// A person thinks so long between two acts, in milliseconds.
const THINK_MS: (u64, u64) = (20, 240);
/// A client stays away so long, in milliseconds.
const AWAY_MS: (u64, u64) = (50, 3_000);

/// The acts of one client, without end.
pub(super) struct Acts {
    random: Random,
}

impl Acts {
    /// Those of one client of a seed.
    pub(super) fn of(seed: u64, client: ClientId) -> Self {
        Self { random: Random::of(seed, &format!("client {client}")) }
    }

    /// The next act. Every act draws the same number of numbers.
    pub(super) fn next(&mut self) -> Act {
        let random = &mut self.random;
        let think = random.millis(THINK_MS.0, THINK_MS.1);
        let share = u32::try_from(random.below(100)).unwrap_or(0);
        let (messages, away) = (1 + random.below(BURST_MAX), random.millis(AWAY_MS.0, AWAY_MS.1));
        let revokes = random.below(ACTS_PER_REVOCATION) == 0;
        let below = 1 << (1 + random.below(FILE_BITS_MAX));
        let bytes = 1 + random.below(below);
        let choice = random.next();
        let what = match deed(share) {
            _ if revokes => Deed::Revoke,
            Deed::Send { .. } => Deed::Send { messages },
            Deed::SendFile { .. } => Deed::SendFile { bytes },
            Deed::Leave { .. } => Deed::Leave { away },
            other => other,
        };
        Act { think, what, choice }
    }
}

fn deed(share: u32) -> Deed {
    let mut below = 0;
    let found = SHARES.iter().find(|(wide, _)| {
        below += wide;
        share < below
    });
    found.map_or(Deed::Read, |(_, deed)| *deed)
}

/// The faults of one lane, one after another, without end: all kinds in a random order, then all of
/// them in another one, so that none is left out by chance.
pub(super) struct Schedule {
    random: Random,
    kinds: Vec<Kind>,
    dealt: Vec<Kind>,
}

/// A fault that is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    /// How long all is well before it.
    pub(super) pause: Duration,
    pub(super) kind: Kind,
    /// Decides the fault's own numbers: how long, how often, whom.
    pub(super) seed: u64,
}

impl Schedule {
    pub(super) fn of(seed: u64, lane: Lane, kinds: &[Kind]) -> Self {
        let kinds = kinds.iter().copied().filter(|kind| lane.hits(*kind)).collect();
        Self { random: Random::of(seed, lane.name()), kinds, dealt: Vec::new() }
    }

    /// The next fault; `None` when the lane has no kinds.
    pub(super) fn next(&mut self, pause_ms: (u64, u64)) -> Option<Due> {
        if self.dealt.is_empty() {
            self.dealt.clone_from(&self.kinds);
            self.random.shuffle(&mut self.dealt);
        }
        let kind = self.dealt.pop()?;
        let pause = self.random.millis(pause_ms.0, pause_ms.1);
        Some(Due { pause, kind, seed: self.random.next() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_acts_again_and_another_seed_others() {
        let acts = |seed, client| {
            let mut acts = Acts::of(seed, client);
            (0..200).map(|_| acts.next()).collect::<Vec<_>>()
        };
        assert_eq!(acts(7, 1), acts(7, 1));
        assert_ne!(acts(7, 1), acts(7, 2));
        assert_ne!(acts(7, 1), acts(8, 1));
    }

    #[test]
    fn every_kind_of_deed_is_done() {
        let mut acts = Acts::of(1, 0);
        let deeds = (0..2_000).map(|_| std::mem::discriminant(&acts.next().what));
        assert_eq!(deeds.collect::<HashSet<_>>().len(), SHARES.len() + 1);
        let mut sizes = Vec::new();
        let mut acts = Acts::of(1, 0);
        for _ in 0..20_000 {
            if let Deed::SendFile { bytes } = acts.next().what {
                sizes.push(bytes);
            }
        }
        sizes.sort_unstable();
        assert!(sizes[0] < 10 && *sizes.last().unwrap() > 1_500_000, "{sizes:?}");
        assert!(sizes.iter().all(|bytes| (1..=2 << 20).contains(bytes)));
        assert_eq!(SHARES.iter().map(|(share, _)| share).sum::<u32>(), 100);
    }

    #[test]
    fn a_schedule_repeats_itself_and_leaves_no_kind_out() {
        let kinds: Vec<Kind> = Kind::ALL.iter().map(|(kind, _)| *kind).collect();
        for lane in [Lane::Server, Lane::Nodes, Lane::Services, Lane::Network, Lane::Link] {
            let of_lane = kinds.iter().filter(|kind| lane.hits(**kind)).count();
            let deal = |seed| {
                let mut schedule = Schedule::of(seed, lane, &kinds);
                (0..of_lane).map(|_| schedule.next((1, 2)).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(deal(3), deal(3));
            assert_ne!(deal(3), deal(4));
            let dealt: HashSet<_> = deal(3).into_iter().map(|due| due.kind).collect();
            assert_eq!(dealt.len(), of_lane);
        }
        assert!(Schedule::of(3, Lane::Link, &[Kind::Kill]).next((1, 2)).is_none());
    }
}
