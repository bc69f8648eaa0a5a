//! Decides what a recorded history proves: nothing lost, nothing made up, nothing twice, and so on.
//!
//! In: the records of a run, of which nothing else is known. Out: a [`Judgement`]. It shares no
//! logic with server, store, session or SDK: what they promise is written here a second time, from
//! the promises, so that a mistake of theirs is not a mistake here too.
//!
//! Every check is a few passes over the records with maps; none of them compares each with each.

mod acked;
mod availability;
mod commands;
mod contiguous;
mod epochs;
mod fates;
mod files;
mod isolation;
mod local;
mod log;
mod loss;
mod marks;
mod operations;
mod order;
mod phantom;
mod receipts;
mod rejection;
mod relations;
mod restore;
mod show;
#[cfg(test)]
mod tests;
mod twice;
mod views;
mod waiting;
mod world;

pub(super) use self::{availability::Availability, operations::Operations, waiting::Waits};

use self::{commands::Commands, fates::Fates, log::Log, relations::Relations, world::World};
use crate::torture::history::Record;

/// What a history proves.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) operations: Operations,
    /// Commands that were acked since the backup that was restored, and are gone.
    pub(super) rolled_back: usize,
    /// Commands (sends and read marks, by device and number) that were acked.
    pub(super) acked: usize,
    /// C1 to C9, in this order.
    pub(super) checks: Vec<Check>,
    /// C10: measured, not judged.
    pub(super) availability: Availability,
    /// How long sends waited while all nodes of a cluster were restarted.
    pub(super) waits: Waits,
}

impl Judgement {
    /// Whether C1 to C9 hold. A check that judged nothing holds too; whoever needs it to have
    /// judged something looks at `examined`.
    pub(super) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.failed == 0)
    }
}

/// One promise, judged.
#[derive(Debug)]
pub(super) struct Check {
    /// Such as "C1".
    pub(super) name: &'static str,
    /// How many things it judged: a check that judged nothing proves nothing.
    pub(super) examined: usize,
    /// How many of its rules were found broken, and how often.
    pub(super) failed: usize,
    /// The first of them.
    pub(super) failures: Vec<Failure>,
}

/// A rule that was broken.
#[derive(Debug)]
pub(super) struct Failure {
    /// One sentence.
    pub(super) why: String,
    /// The records that show it, by index: as few as possible, rising.
    pub(super) history: Vec<usize>,
}

/// The checks while they are made.
struct Checks([Check; NAMES.len()]);

/// Which check something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Loss,
    Phantom,
    Twice,
    Contiguous,
    Order,
    Change,
    Indeterminate,
    Receipts,
    Isolation,
}

impl Checks {
    fn new() -> Self {
        let check = |name| Check { name, examined: 0, failed: 0, failures: Vec::new() };
        Self(NAMES.map(check))
    }

    fn of(&mut self, of: Of) -> &mut Check {
        &mut self.0[of as usize]
    }

    /// Another thing was judged.
    fn examine(&mut self, of: Of) {
        self.of(of).examined += 1;
    }

    /// A rule was broken. The sentence is made only if it is kept.
    fn fail(&mut self, of: Of, history: &[usize], why: impl FnOnce() -> String) {
        let check = self.of(of);
        check.failed += 1;
        if check.failures.len() < FAILURES_MAX {
            let mut history = history.to_vec();
            history.sort_unstable();
            history.dedup();
            check.failures.push(Failure { why: why(), history });
        }
    }
}

/// Judges a history.
pub(super) fn judge(records: &[Record]) -> Judgement {
    let world = World::new(records);
    let commands = Commands::new(&world);
    let relations = Relations::new(&world);
    let log = Log::new(&world);
    let fates = Fates::new(&world, &commands, &log);
    let mut checks = Checks::new();

    let lost = loss::check(&world, &commands, (&log, &fates), &relations, &mut checks);
    rejection::check(&world, &commands, &log, &relations, &mut checks);
    acked::check(&world, &mut checks);
    restore::check(&world, &mut checks);
    local::check(&world, &mut checks);
    phantom::check(&world, &commands, &log, &mut checks);
    twice::check(&world, &commands, &log, &mut checks);
    contiguous::check(&world, &mut checks);
    order::check(&world, &log, &mut checks);
    receipts::check(&world, &log, &mut checks);
    marks::check(&world, &relations, &mut checks);
    isolation::check(&world, &relations, &mut checks);
    files::check(&world, &commands, &relations, &mut checks);

    Judgement {
        operations: operations::count(&world, &commands, &fates),
        rolled_back: lost.rolled_back,
        acked: commands.acked(),
        checks: checks.0.into(),
        availability: availability::measure(&world, &commands),
        waits: waiting::measure(&world, &commands),
    }
}

/// A failure's history, a line for each record: seconds since the run began, and what happened.
pub(super) fn show(records: &[Record], failure: &Failure) -> String {
    show::lines(records, failure)
}

const NAMES: [&str; 9] = ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9"];
/// Failures kept of one check: a broken server breaks a promise a million times, and the first
/// ones tell.
const FAILURES_MAX: usize = 20;
