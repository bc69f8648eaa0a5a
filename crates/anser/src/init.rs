//! `anser init`: makes the data folder with configuration and secrets. `serve` does the same on its
//! first start, unless it is a node of a cluster: all nodes have the secrets that
//! `anser init --cluster` made once.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anser_server::{
    config::{self, Config},
    node,
    secrets::{self, Secrets},
};
use anyhow::{Context as _, anyhow};

use crate::{
    failure::{Failure, Result},
    global::{CONFIG_FILE, Global},
};

/// Options of `anser init`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Make the secrets of a new cluster, to be copied to all its nodes
    #[arg(long)]
    cluster: bool,
}

/// Makes what is missing.
///
/// # Errors
/// The configuration is wrong, or the folder can not be written.
pub(crate) fn run(global: &Global, args: &Args) -> Result {
    let config = global.load()?;
    let folder = &config.node.data_dir;
    let data_dir = folder.display();
    if args.cluster {
        make(folder)?;
        Secrets::load_or_create_cluster(folder).map_err(Failure::config)?;
        let secrets = secrets::folder(folder);
        println!(
            "{data_dir} is ready. Copy {} to the data folder of every node, and keep a copy \
             elsewhere.\nThen start each with: anser serve --data-dir DIR --roles ...",
            secrets.display()
        );
    } else {
        prepare(&config)?;
        println!("{data_dir} is ready; start with: anser serve --data-dir {data_dir}");
    }
    Ok(())
}

/// Makes a folder that only its owner can enter.
pub(crate) fn make_folder(path: &Path) -> Result {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    Ok(made.with_context(|| format!("making {}", path.display()))?)
}

/// Copies a key to a new file that only its owner can read, synced.
pub(crate) fn copy_key(from: &Path, to: &Path) -> Result {
    let key = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut copy = options.write(true).create_new(true).mode(0o600).open(to)?;
        io::Write::write_all(&mut copy, &key)?;
        copy.sync_all()
    };
    Ok(write().with_context(|| format!("writing {}", to.display()))?)
}

/// Makes the folder and the configuration file, and reads the secrets. They are made if they are
/// missing, but not by a node of a cluster.
///
/// # Errors
/// The folder can not be written, or secrets are missing that can not be made.
pub(crate) fn prepare(config: &Config) -> Result<Secrets> {
    let data_dir = &config.node.data_dir;
    let key = secrets::master_key_file(data_dir);
    if config.is_clustered() {
        if !key.exists() || !secrets::cluster_secret_file(data_dir).exists() {
            let folder = secrets::folder(data_dir);
            return Err(Failure::config(anyhow!(
                "{} does not hold the secrets of a cluster; make them once by `anser init \
                 --cluster`, and copy them to every node",
                folder.display()
            )));
        }
        make(data_dir)?;
        return Secrets::load(data_dir).map_err(Failure::config);
    }
    if node::database(data_dir).exists() && !key.exists() {
        let path = key.display();
        let text =
            format!("{path} is missing, and a new one opens nothing of this data; put it back");
        return Err(Failure::config(anyhow!(text)));
    }
    make(data_dir)?;
    Secrets::load_or_create(data_dir).map_err(Failure::config)
}

/// Makes the folder and the configuration file, as far as they are missing.
fn make(data_dir: &Path) -> Result {
    let file = || {
        let file = data_dir.join(CONFIG_FILE);
        match fs::OpenOptions::new().write(true).create_new(true).open(&file) {
            Ok(mut opened) => io::Write::write_all(&mut opened, config::default_text().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    };
    make_folder(data_dir)?;
    Ok(file().with_context(|| format!("the data folder {}", data_dir.display()))?)
}
