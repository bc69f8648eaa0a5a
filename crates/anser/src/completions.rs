//! `anser completions`: a script for the shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{Cli, failure::Result};

/// Options of `anser completions`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

/// Prints it.
///
/// # Errors
/// Never.
#[expect(clippy::unnecessary_wraps, reason = "all commands have the same form")]
pub(crate) fn run(args: Args) -> Result {
    clap_complete::generate(args.shell, &mut Cli::command(), "anser", &mut std::io::stdout());
    Ok(())
}
