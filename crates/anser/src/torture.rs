//! `anser torture`: breaks a server of its own in every way it knows while clients use it, and then
//! proves from what the clients saw that nothing was lost, doubled, reordered or leaked.
//!
//! A seed decides the acts of every client and the order of the faults. Clients are the real SDK,
//! each with its own storage and its own network; the server is this same binary. Everything that a
//! client does, stores or is told is recorded, and the checker decides from the records alone.

mod actor;
mod check;
mod client;
mod cluster;
mod disk;
mod fault;
mod files;
mod finale;
mod history;
mod host;
mod link;
mod plan;
mod random;
mod report;
mod rest;
mod run;
mod storage;
mod target;
mod trouble;
mod weather;
mod words;

use std::path::PathBuf;

use fault::{Kind, Layout, Machine};
use report::Report;

use crate::failure::{Failure, Result};

/// Options of `anser torture`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Decides the plan; the same seed plays the same plan [default: a random one, which is told]
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults happen; draining and checking come after it
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Users, all of them friends at first
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..=50))]
    users: u64,
    /// Devices that each user has at first; one more comes later
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10))]
    devices: u64,
    /// The faults, by name and separated by commas; `none` for none [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    faults: Option<Vec<String>>,
    /// Play against a cluster of 2 connectors, 2 transfers and 2 apis, on a MariaDB, a RabbitMQ and
    /// a Redis that the run starts itself
    #[arg(long)]
    cluster: bool,
    /// Set by the run itself when it has namespaces of its own
    #[arg(long, hide = true)]
    isolated: bool,
    /// Write the report there, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write everything that was recorded there, a line each, for whoever wants to know more than
    /// the shortest history
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Make the run's folder in this one [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What a run is made of.
pub(super) struct Settings {
    seed: u64,
    seconds: u64,
    users: usize,
    devices: usize,
    layout: Layout,
    kinds: Vec<Kind>,
    machine: Machine,
    dir: PathBuf,
}

/// Plays, checks and reports.
///
/// # Errors
/// Exit status 1: a check failed, a fault could not run here, or the run could not be played; 2: an
/// unknown fault.
pub(crate) async fn run(args: Args) -> Result {
    let layout = if args.cluster { Layout::Cluster } else { Layout::Single };
    let asked = asked(layout, args.faults.as_deref())?;
    let own_hosts = match layout {
        Layout::Cluster if args.isolated => Ok(()),
        Layout::Cluster => match cluster::possible() {
            Ok(()) => return Err(cluster::isolated("--isolated")),
            why => why,
        },
        Layout::Single => Err("there is one host".to_owned()),
    };
    let machine = Machine::look(own_hosts);
    let (kinds, skipped) = fault::choose(&asked, &machine);
    let random = || rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec as u64;
    let settings = Settings {
        seed: args.seed.unwrap_or_else(random),
        seconds: args.seconds,
        users: usize::try_from(args.users).map_err(anyhow::Error::from)?,
        devices: usize::try_from(args.devices).map_err(anyhow::Error::from)?,
        layout,
        kinds,
        machine,
        dir: args.dir.unwrap_or_else(std::env::temp_dir),
    };
    for (kind, why) in &skipped {
        println!("skipped    {kind}: {why}");
    }
    println!(
        "seed {}, {} s, {} kinds of fault",
        settings.seed,
        settings.seconds,
        settings.kinds.len()
    );
    let played = tokio::select! {
        played = run::play(&settings) => played?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::check("interrupted")),
    };
    if let Some(file) = &args.history {
        report::write_history(file, &played.records)?;
    }
    let judgement = check::judge(&played.records);
    let report = Report::new(&settings, skipped, &played, &judgement);
    report.tell(&played.records, &judgement);
    if let Some(file) = &args.report {
        report.write(file)?;
    }
    report.verdict()
}

fn asked(layout: Layout, names: Option<&[String]>) -> Result<Vec<Kind>> {
    let all = || layout.kinds().map(|(kind, _)| kind);
    let Some(names) = names else { return Ok(all().collect()) };
    let mut kinds = Vec::new();
    for name in names {
        match (name.as_str(), layout.kinds().find(|(_, known)| known == name)) {
            ("all", _) => kinds.extend(all()),
            ("none" | "", _) => {}
            (_, Some((kind, _))) => kinds.push(kind),
            (_, None) => {
                let known: Vec<_> = layout.kinds().map(|(_, name)| name).collect();
                let known = known.join(", ");
                return Err(Failure::usage(format!(
                    "no fault is called {name}; there are {known}"
                )));
            }
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}
