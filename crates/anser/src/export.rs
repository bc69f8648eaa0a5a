//! `anser export`, `anser import` and `anser new-epoch`: a store that nobody serves from, moved to
//! another engine, and what becomes of the old one.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Seek as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anser_server::{
    config::Config,
    node,
    secrets::{self, MasterKey},
};
use anser_store::{
    dump::{Place, Reader, Summary},
    mysql,
};
use anyhow::{Context as _, anyhow};
use rustix::{fs::Mode, process::umask};

use crate::{
    backup::where_files_belong,
    failure::{Failure, Result},
    files,
    global::Global,
    init, output,
};

/// Which store: as the configuration says, or another one.
#[derive(clap::Args, Debug)]
pub(crate) struct StoreArg {
    /// The store: mysql://user:password@host:port/database, or "" for the data folder [default:
    /// store.url]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

/// Options of `anser export`.
#[derive(clap::Args, Debug)]
pub(crate) struct ExportArgs {
    /// A file that does not exist yet
    file: PathBuf,
    #[command(flatten)]
    store: StoreArg,
}

/// Options of `anser import`.
#[derive(clap::Args, Debug)]
pub(crate) struct ImportArgs {
    /// The file that `anser export` wrote
    file: PathBuf,
    #[command(flatten)]
    store: StoreArg,
    /// The master key's copy, from `anser config export-key`, for a data folder that has none
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
}

/// Options of `anser new-epoch`.
#[derive(clap::Args, Debug)]
pub(crate) struct NewEpochArgs {
    #[command(flatten)]
    store: StoreArg,
}

/// Writes everything to a file, and fences the store.
///
/// # Errors
/// A server uses the store, the file exists, or one of both can not be read or written.
pub(crate) async fn export(global: &Global, args: ExportArgs) -> Result {
    let ExportArgs { file: path, store } = args;
    let place = place(&store.config(global)?);
    let mut options = File::options();
    // Password hashes and wrapped keys are in there.
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("making {}", path.display()))?;
    let written = write(&place, &file, &path).await;
    let summary = match written {
        Ok(summary) => summary,
        Err(error) => {
            // Without its end it is of no use, and in the way of the next try.
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            return Err(error);
        }
    };
    let mut text = told(&summary, &format!("exported to {}", path.display()));
    text += "the store that this is from serves no more; import the file where it is to serve\n\
             it does not hold the master key: that has to be at hand where it is imported \
             (anser config export-key FILE)\n\
             it does not hold the bytes of files: they stay in the folder \"files\" of the data \
             folder\n";
    output::print(&text)
}

async fn write(place: &Place, file: &File, path: &Path) -> Result<Summary> {
    let bar = files::count();
    let mut to = bar.wrap_write(BufWriter::with_capacity(BUFFER_BYTES, file));
    let summary = place.export(&mut to).await.map_err(anyhow::Error::from)?;
    bar.finish_and_clear();
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(summary)
}

/// Loads a file into a place that holds nothing.
///
/// # Errors
/// The file is damaged, or the master key is another one; the place is not empty; what was read
/// back from it is not what the file holds.
pub(crate) async fn import(global: &Global, args: ImportArgs) -> Result {
    let config = args.store.config(global)?;
    let mut file = File::open(&args.file).with_context(|| args.file.display().to_string())?;
    let len = file.metadata()?.len();
    // All of it is looked at before anything is made of it.
    let bar = files::bar(len);
    let mut from = bar.wrap_read(BufReader::with_capacity(BUFFER_BYTES, &file));
    Reader::check(&mut from).map_err(anyhow::Error::from)?;
    bar.finish_and_clear();
    file.rewind()?;

    let key_check = {
        let mut from = BufReader::new(&file);
        let reader = Reader::begin(&mut from).map_err(anyhow::Error::from)?;
        reader.key_check().map(<[u8]>::to_vec)
    };
    file.rewind()?;
    // What it writes is its own user's only, as what the server writes.
    umask(Mode::from_raw_mode(0o077));
    let key = args.master_key.as_deref();
    fitting_key(&config, key, key_check.as_deref())?;
    let bar = files::bar(len);
    let mut from = bar.wrap_read(BufReader::with_capacity(BUFFER_BYTES, &file));
    let summary = place(&config).import(&mut from).await.map_err(anyhow::Error::from)?;
    bar.finish_and_clear();
    let data_dir = config.node.data_dir.display();
    let mut text = told(&summary, &format!("imported from {}", args.file.display()));
    text += &format!(
        "what was read back is the same; clients go on where they were\n\
         files are not in it: {}\n\
         start with: anser serve --data-dir {data_dir}\n",
        where_files_belong(&config),
    );
    output::print(&text)
}

/// Sees that the data folder has the key that opens what is imported; takes a copy when it has
/// none.
fn fitting_key(config: &Config, copy: Option<&Path>, check: Option<&[u8]>) -> Result {
    let place = secrets::master_key_file(&config.node.data_dir);
    let from = copy.unwrap_or(&place);
    if copy.is_none() && !place.exists() {
        return Err(Failure::config(anyhow!(
            "{} is missing, and without it nothing of the dump opens: put the key of the store \
             that was exported there, or name its copy with --master-key",
            place.display()
        )));
    }
    let key = MasterKey::read(from).map_err(Failure::config)?;
    if check.is_some_and(|check| check != key.check()) {
        return Err(Failure::config(anyhow!(
            "the dump was written under another master key than {}; give the one of the store that \
             was exported",
            from.display()
        )));
    }
    match copy {
        Some(_) if place.exists() => {
            let there = MasterKey::read(&place).map_err(Failure::config)?;
            let same = there.check() == key.check();
            let other = || anyhow!("{} is another master key already", place.display());
            if same { Ok(()) } else { Err(Failure::config(other())) }
        }
        Some(copy) => {
            init::make_folder(&secrets::folder(&config.node.data_dir))?;
            init::copy_key(copy, &place)
        }
        None => Ok(()),
    }
}

/// Makes the store a history of its own, with which it serves.
///
/// # Errors
/// A server uses the store, or it can not be read.
pub(crate) async fn new_epoch(global: &Global, args: NewEpochArgs) -> Result {
    let epoch =
        place(&args.store.config(global)?).new_epoch().await.map_err(anyhow::Error::from)?;
    let text = format!("the store has the epoch {epoch} and serves; every device gets a reset\n");
    output::print(&text)
}

impl StoreArg {
    fn config(&self, global: &Global) -> Result<Config> {
        let mut loader = global.loader()?;
        let url = self.store.as_deref();
        loader.flag("--store", "store.url", url).map_err(Failure::config)?;
        Ok(loader.finish_unserved())
    }
}

fn place(config: &Config) -> Place {
    match &config.store.url {
        Some(url) => Place::Server(mysql::Options::new(url.reveal())),
        None => Place::Folder(node::database(&config.node.data_dir)),
    }
}

/// Counts and hash, for people to compare.
fn told(summary: &Summary, what: &str) -> String {
    let mut text = format!("{} rows {what}\n", summary.rows());
    for table in &summary.tables {
        text += &format!("{:>12} {}\n", table.rows, table.name);
    }
    text + &format!("{:>12} {}\n", "sha256", summary.sha256_hex())
}

/// A dump is written and read in one go.
const BUFFER_BYTES: usize = 1 << 20;
