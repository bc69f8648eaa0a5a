//! `anser backup` and `anser restore`: a consistent copy while the server runs, and a new data
//! folder from it. A backup leaves out the master key, so it is of no use to a thief, nor without
//! the key. It leaves out the bytes of files, too: they never change, so any copying program does
//! that better, and only what is new.

use std::path::PathBuf;

use anser_client::proto::rest::admin::{BackedUp, Backup};
use anser_server::{
    config::Config,
    files, node,
    secrets::{self, MasterKey},
};
use anser_store::embedded;
use anyhow::Context as _;

use crate::{
    admin::Admin,
    failure::{Failure, Result},
    global::Global,
    init,
};

/// Options of `anser backup`.
#[derive(clap::Args, Debug)]
pub(crate) struct BackupArgs {
    /// A new or empty folder
    folder: PathBuf,
}

/// Options of `anser restore`.
#[derive(clap::Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The folder that `anser backup` wrote
    backup: PathBuf,
    /// The master key's copy, from `anser config export-key`
    #[arg(long, value_name = "FILE")]
    master_key: PathBuf,
}

/// Has the running server write a backup.
///
/// # Errors
/// Exit status 69: no server runs on the data folder; 1: the folder is not empty or can not be
/// written.
pub(crate) async fn backup(global: &Global, args: BackupArgs) -> Result {
    let folder = std::path::absolute(&args.folder)?;
    let path = folder.to_string_lossy().into_owned();
    let done: BackedUp = Admin::of(global)?.post("/backup", &Backup { path }).await?;
    println!("{} rows, {} bytes in {}", done.rows, done.bytes, folder.display());
    println!("it does not hold the master key; export that once: anser config export-key FILE");
    println!("it does not hold the bytes of files: {}", where_files_are(&global.load()?));
    Ok(())
}

/// Makes a new data folder from a backup.
///
/// # Errors
/// The data folder exists, the backup is damaged, or the key is another one.
pub(crate) fn restore(global: &Global, args: &RestoreArgs) -> Result {
    let config = global.load()?;
    let data_dir = config.node.data_dir.clone();
    let key = MasterKey::read(&args.master_key).map_err(Failure::config)?;
    if data_dir.exists() {
        return Err(Failure::check(format!(
            "{} exists; restore into a new folder: name it with --data-dir",
            data_dir.display()
        )));
    }
    // The key goes first: a folder with rows and another key would not start.
    let master_key = secrets::master_key_file(&data_dir);
    init::make_folder(&data_dir)?;
    let place = || -> anyhow::Result<()> {
        init::make_folder(master_key.parent().unwrap_or(&data_dir))?;
        init::copy_key(&args.master_key, &master_key)?;
        embedded::restore(&args.backup, &node::database(&data_dir), &key.check())?;
        Ok(())
    };
    if let Err(error) = place() {
        // This run made the folder, and nothing in it is of use.
        std::fs::remove_dir_all(&data_dir).context("removing the half-made data folder")?;
        return Err(error.into());
    }
    init::prepare(&config)?;
    println!("restored to {}, as a new epoch: every device gets a reset", data_dir.display());
    println!("a backup does not hold the bytes of files: {}", where_files_belong(&config));
    println!("start with: anser serve --data-dir {}", data_dir.display());
    Ok(())
}

fn where_files_are(config: &Config) -> String {
    match &config.files.store {
        Some(bucket) => format!("they stay in {bucket}; keep it, or copy it after this"),
        None => format!("copy the folder {} after this", files::folder(config).display()),
    }
}

/// What to do so that the files of restored messages are found.
pub(crate) fn where_files_belong(config: &Config) -> String {
    match &config.files.store {
        Some(bucket) => format!("they are looked for in {bucket}"),
        None => format!(
            "copy their folder to {} before the start, or they are gone",
            files::folder(config).display()
        ),
    }
}
