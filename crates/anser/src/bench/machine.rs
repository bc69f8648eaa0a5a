//! What a measurement ran on, and what a process used: read from `/proc`.

use std::{collections::BTreeMap, fs};

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

/// CPU time that the parts of clusters on this machine have used so far, in microseconds: nodes by
/// their role, and the services by their names. It does not tell two clusters apart.
pub(super) fn cpu_us_by_role() -> BTreeMap<String, u64> {
    let mut used = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if let Some(role) = role(&String::from_utf8_lossy(&command)) {
            *used.entry(role).or_default() += cpu_us(pid);
        }
    }
    used
}

/// What the process with this command line, its words ended by NUL, is in a cluster.
fn role(command: &str) -> Option<String> {
    let mut words = command.split('\0');
    let program = words.next()?.rsplit('/').next()?;
    match program {
        "mariadbd" | "mysqld" => Some("mysql".into()),
        "beam.smp" => Some("rabbitmq".into()),
        // It writes its address into its name.
        redis if redis.starts_with("redis-server") => Some("redis".into()),
        _ => words.skip_while(|word| *word != "--roles").nth(1).map(str::to_owned),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_cluster_are_known_by_their_command_lines() {
        let of = |command: &str| role(&command.replace(' ', "\0"));
        assert_eq!(of("./anser serve --data-dir d --roles api --x"), Some("api".into()));
        assert_eq!(of("/usr/sbin/mariadbd --no-defaults"), Some("mysql".into()));
        assert_eq!(of("/usr/lib/erlang/bin/beam.smp -W w"), Some("rabbitmq".into()));
        assert_eq!(role("redis-server 127.0.0.1:6379\0"), Some("redis".into()));
        assert_eq!(of("./anser serve"), None);
        assert_eq!(of(""), None);
    }
}
