//! `anser config`: what the configuration is, where it comes from, and a copy of the master key.

use std::path::{Path, PathBuf};

use anser_server::{config, secrets};
use clap::Subcommand;
use serde_json::json;

use crate::{
    failure::{Failure, Result},
    global::Global,
    init, output,
};

/// Tells `doctor` that a copy of the master key exists elsewhere.
pub(crate) const EXPORTED_MARK: &str = "secrets/master.key.exported";

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print a file with every key, its meaning and its default
    Default,
    /// Check file, environment and flags
    Check,
    /// Print the values in force and where they come from
    Show {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Copy the master key to a file: keep it apart from backups, which are useless without it
    ExportKey {
        /// A file that does not exist yet
        file: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// Exit status 78: the configuration is wrong.
pub(crate) fn run(global: &Global, command: Command) -> Result {
    match command {
        Command::Default => output::print(&config::default_text())?,
        Command::Check => {
            global.load()?;
            println!("the configuration is right");
        }
        Command::Show { json } => show(global, json)?,
        Command::ExportKey { file } => export_key(global, &file)?,
    }
    Ok(())
}

fn show(global: &Global, as_json: bool) -> Result {
    let loader = global.loader()?;
    let mut text = String::new();
    for setting in loader.settings() {
        let (key, value, source) = (&setting.key, &setting.value, setting.source.to_string());
        text += &if as_json {
            format!("{}\n", json!({ "key": key, "value": value, "source": source }))
        } else {
            format!("{key:<40} {value:<24} {source}\n")
        };
    }
    output::print(&text)?;
    loader.finish().map_err(Failure::config)?;
    Ok(())
}

fn export_key(global: &Global, file: &Path) -> Result {
    let data_dir = global.load()?.node.data_dir;
    if file.exists() {
        let text = format!("{} exists; name a new file for the copy", file.display());
        return Err(Failure::check(text));
    }
    init::copy_key(&secrets::master_key_file(&data_dir), file)?;
    std::fs::write(data_dir.join(EXPORTED_MARK), "")?;
    println!("the master key is in {}; keep it safe and apart from backups", file.display());
    Ok(())
}
