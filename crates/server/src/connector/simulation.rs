//! The deterministic simulation: users with several devices, their connections, and a server over a
//! store that crashes, refuses or does not say, in one thread on a virtual clock. A seed decides
//! everything, so a failure repeats itself.
//!
//! Under test is the real code: both ends' `Session`, the codec, the connector's `Feed`, `Mailbox`
//! and `Registry`, and the store's apply rule. What stands round them in the product (sockets,
//! tasks, the disk, the SDK's storage) is replaced by what is here. `check.rs` judges from what it
//! saw and calls none of it.
//!
//! `ANSER_SIM_SEED=7` runs one seed, `ANSER_SIM_SEEDS=1000` so many fresh ones (`make simulate`).

mod check;
mod connection;
mod device;
mod event;
mod faults;
mod knobs;
mod life;
mod line;
mod random;
mod server;
mod trace;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use event::Reached;
use trace::Trace;
use world::World;

/// Seeds that failed once, each with what it found.
///
/// - 4228412376918770: the store was restored twice in a row, so that the Reset was of one history
///   and the snapshot of the next. The device forgot commands that the last history did not have,
///   and every Welcome after that ended with `outbox_gap`, for ever.
/// - 19, which every run begins with: an old copy of a device said Hello while commands of the time
///   that it lost were under way, and took their entries for its own.
/// - 2480909023138284: a Hello of a connection that the device had given up came after its next
///   one, which was ended with `replaced`, and the device stayed away for good.
/// - 4496371334845557: a restored store skipped to the number that the original of a device had
///   forgotten; its old copy held another command under that number, and believed it applied.
const REGRESSIONS: &[u64] = &[4_228_412_376_918_770, 2_480_909_023_138_284, 4_496_371_334_845_557];

/// Seeds of every run: about fifteen seconds of an unoptimised build on two cores.
const SEEDS: u64 = 400;

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whatever_breaks() {
    if let Some(seed) = number("ANSER_SIM_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let (from, count) = match number("ANSER_SIM_SEEDS") {
        Some(count) => (anser_proto::UserId::random().0, count),
        None => (1, SEEDS),
    };
    let started = Instant::now();
    let seeds: Vec<u64> = REGRESSIONS.iter().copied().chain((0..count).map(|n| from + n)).collect();
    let reached = run_all(&seeds);
    let per_minute = seeds.len() as f64 * 60.0 / started.elapsed().as_secs_f64();
    println!("{} seeds from {from} on, {per_minute:.0} a minute: {reached:?}", seeds.len());
    let all = [reached.crashes, reached.restores, reached.resets, reached.new_devices];
    let more = [reached.pruned, reached.unknown_commits, reached.closed_conversations];
    assert!(count < SEEDS || all.iter().chain(&more).all(|count| *count > 0), "{reached:?}");
}

#[test]
fn a_simulation_is_its_seed() {
    for seed in 1..5 {
        let once = World::new(seed, Trace::default()).run();
        assert_eq!(once, World::new(seed, Trace::on()).run());
    }
}

/// Runs seeds on all cores, each in one thread.
fn run_all(seeds: &[u64]) -> Reached {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Reached::default());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed));
                    let Some(seed) = at.ok().and_then(|at| seeds.get(at)) else { return };
                    let reached = run(*seed);
                    sum.lock().unwrap().add(&reached);
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

/// Runs a seed; one that fails is run again, to tell what happened last.
fn run(seed: u64) -> Reached {
    let quiet = catch_unwind(|| World::new(seed, Trace::default()).run());
    if let Ok(reached) = quiet {
        return reached;
    }
    let trace = Trace::on();
    let again = catch_unwind(AssertUnwindSafe(|| World::new(seed, trace.clone()).run()));
    let told = if again.is_ok() { "and does not when it is run again" } else { "" };
    panic!("seed {seed} fails {told}; ANSER_SIM_SEED={seed} repeats it\n{}", trace.text());
}

#[expect(clippy::disallowed_methods, reason = "which seeds to run is said from outside")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
