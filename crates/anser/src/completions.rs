//! `anser completions`: a script for the shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{Cli, failure::Result, output};

/// Options of `anser completions`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

/// Prints it.
///
/// # Errors
/// Standard output can not be written.
pub(crate) fn run(args: &Args) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "anser", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
