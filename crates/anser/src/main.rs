//! The one binary: the server and its tools. Each command is a module that reads as a recipe.

mod account;
mod admin;
mod backup;
mod bench;
mod chat;
mod completions;
mod config;
mod demo;
mod disk;
mod doctor;
mod failure;
mod files;
mod global;
mod init;
mod node;
mod output;
mod process;
mod send;
mod serve;
mod tail;
mod torture;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use global::Global;

/// Anser: a self-hosted instant-messaging server that loses nothing
#[derive(Parser)]
#[command(name = "anser", version, about, propagate_version = true)]
#[command(after_help = failure::EXIT_CODES_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server; the first start makes its configuration and secrets
    Serve(serve::Args),
    /// Make the data folder, configuration and secrets, and do not start
    Init(init::Args),
    /// Talk to friends; the account is made on first use
    Chat(chat::Args),
    /// Manage accounts of the running server
    #[command(subcommand)]
    User(user::Command),
    /// Show the nodes of a cluster, and take one out of it
    #[command(subcommand)]
    Node(node::Command),
    /// Check the installation and say what to do
    Doctor(doctor::Args),
    /// Show and check the configuration; export the master key
    #[command(subcommand)]
    Config(config::Command),
    /// Write a consistent copy of the running server's data
    Backup(backup::BackupArgs),
    /// Make a new data folder from a backup
    Restore(backup::RestoreArgs),
    /// Send a message, or each line of standard input
    Send(send::Args),
    /// Print messages as they come
    Tail(tail::Args),
    /// Play a scripted day on a server of its own, and check that nothing is lost
    Demo(demo::Args),
    /// Measure Anser on this machine
    Bench(bench::Options),
    /// Break a server of its own in every way, and prove that nothing is lost or doubled
    Torture(torture::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let done = match command {
        Command::Serve(args) => serve::run(&global, args).await,
        Command::Init(args) => init::run(&global, &args),
        Command::Chat(args) => chat::run(args).await,
        Command::User(command) => user::run(&global, command).await,
        Command::Node(command) => node::run(&global, command).await,
        Command::Doctor(args) => doctor::run(&global, args).await,
        Command::Config(command) => config::run(&global, command),
        Command::Backup(args) => backup::backup(&global, args).await,
        Command::Restore(args) => backup::restore(&global, &args),
        Command::Send(args) => send::run(&args).await,
        Command::Tail(args) => tail::run(&args).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Bench(options) => bench::run(&options).await,
        Command::Torture(args) => torture::run(args).await,
        Command::Completions(args) => completions::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
