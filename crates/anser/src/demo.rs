//! `anser demo`: a scripted day in the life of two people, played against a server of its own
//! through the SDK. After each act it compares what every device really got with what was sent.

mod checks;
mod day;
mod device;
mod judges;
mod received;
mod stage;
mod trouble;
mod tunnel;

use std::time::Duration;

use tokio::time::timeout_at;

use crate::failure::{Failure, Result};
use checks::Checks;
use stage::Stage;

/// The story ends within this time, one way or the other; stopping the server may take 10 s more.
const LIMIT: Duration = Duration::from_secs(28);

/// Options of `anser demo`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// One JSON object per check on standard output; the count goes to standard error
    #[arg(long)]
    json: bool,
}

/// Plays, checks and counts.
///
/// # Errors
/// Exit status 1: a check failed, or the story could not be played.
pub(crate) async fn run(args: &Args) -> Result {
    let mut checks = Checks::start(args.json, LIMIT);
    checks.say("A server starts, with its data in a temporary folder.");
    let mut stage = Stage::build().await?;
    let ended = tokio::select! {
        played = timeout_at(checks.deadline(), day::play(&mut stage, &mut checks)) => match played {
            Ok(played) => played.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("time is up after {} s", LIMIT.as_secs())),
        },
        _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
    };
    if let Err(why) = ended {
        checks.stopped(&why);
    }
    let stopped = stage.strike().await.map_err(|error| format!("{error:#}"));
    checks.holds("the server stops when asked, and its folder is gone", stopped);
    let summary = checks.summary();
    if args.json {
        eprintln!("{summary}");
    } else {
        println!("\n{summary}");
    }
    match checks.failed() {
        0 => Ok(()),
        failed => Err(Failure::check(format!("{failed} checks failed"))),
    }
}
