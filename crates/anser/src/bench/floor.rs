//! What the disk can do at best: the bytes of the same batches appended to a plain file, one sync for
//! each. Disks differ by a factor of ten and vary by two within a minute; a share of this says more
//! than a figure alone.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use super::report::{Latencies, Report, per_second};

/// Copies of a message's bytes that the store writes: the history and two inboxes.
const COPIES: usize = 3;
/// Bytes around a body in each copy: sealing, envelope, key.
const ENVELOPE_BYTES: usize = 80;
/// Long enough for some thousand syncs.
const TIME: Duration = Duration::from_secs(2);

/// Measures the file system of `folder`.
///
/// # Errors
/// It can not be written.
pub(super) fn measure(folder: &Path, batch: usize, size: usize) -> std::io::Result<Report> {
    let path = folder.join("floor");
    let mut file = File::create(&path)?;
    let bytes = vec![0xa5; batch * COPIES * (size + ENVELOPE_BYTES)];
    let mut latencies = Latencies::new();
    let mut batches = 0;
    let started = Instant::now();
    while started.elapsed() < TIME {
        let begun = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        latencies.record(begun.elapsed());
        batches += 1;
    }
    let took = started.elapsed();
    drop(file);
    std::fs::remove_file(path)?;
    let mut report = Report::default();
    report.set("floor_msgs_per_s", per_second(batches * batch as u64, took));
    report.set_latencies("floor_ms", &latencies);
    Ok(report)
}
