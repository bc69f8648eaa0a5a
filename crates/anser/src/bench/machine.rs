//! What a measurement ran on, and what a process used: read from `/proc`.

use std::fs;

use serde_json::{Value, json};

/// The machine, for the report.
pub(super) fn describe() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "cpu": model.map_or("unknown", |(_, model)| model),
        "cores": cores,
        "kernel": kernel.trim(),
        "memory_bytes": kilobytes("/proc/meminfo", "MemTotal:"),
    })
}

/// CPU time that a process has used so far, in microseconds, all its threads.
pub(super) fn cpu_us(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; fields are counted behind it (proc(5)).
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = |index| fields.split(' ').nth(index).and_then(|field| field.parse::<u64>().ok());
    let used = ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0);
    used * 1_000_000 / rustix::param::clock_ticks_per_second()
}

/// Resident memory of a process, in bytes.
pub(super) fn rss_bytes(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// The most memory that a process ever held at a time.
pub(super) fn peak_rss_bytes(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmHWM:")
}

fn kilobytes(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
