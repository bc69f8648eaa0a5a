//! Random operations: a plan made from a seed runs against the store and against a small model that
//! was written from the design and knows no engine and no `apply.rs`. After each operation its
//! result, and now and then everything that can be read, must be the same.
//!
//! A plan depends on its seed alone, so a failure is replayed by its seed. A seed that failed once
//! is kept in [`REGRESSION_SEEDS`].

mod check;
mod commit;
mod files;
mod model;
mod pairs;
mod plan;
mod run;

use super::Factory;
use plan::plan;
use run::Run;

/// Seeds of plans that failed once. 1 found conversation numbers from 2^53 on in rejections, and
/// pruning that stopped at long rows of receipts.
pub const REGRESSION_SEEDS: &[u64] = &[1];

/// Seeds that every run tries.
pub const SEEDS: std::ops::Range<u64> = 2..8;

/// A seed that perhaps nobody tried before.
pub fn fresh_seed() -> u64 {
    getrandom::u64().expect("the operating system gives random bytes")
}

/// Runs the plan of a seed on an empty store.
///
/// # Panics
/// When store and model differ, with the seed and the operation.
pub async fn random_operations(factory: &dyn Factory, seed: u64) {
    let mut run = Run::new(factory, seed).await;
    for (number, operation) in plan(seed).into_iter().enumerate() {
        run.step(factory, number, operation).await;
    }
    run.end(factory).await;
}
