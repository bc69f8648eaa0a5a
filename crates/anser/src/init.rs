//! `anser init`: makes the data folder with configuration and secrets. `serve` does the same on its
//! first start.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anser_server::{
    config, node,
    secrets::{self, Secrets},
};
use anyhow::{Context as _, anyhow};

use crate::{
    failure::{Failure, Result},
    global::{CONFIG_FILE, Global},
};

/// Makes what is missing.
///
/// # Errors
/// The configuration is wrong, or the folder can not be written.
pub(crate) fn run(global: &Global) -> Result {
    let config = global.load()?;
    prepare(&config.node.data_dir)?;
    let data_dir = config.node.data_dir.display();
    println!("{data_dir} is ready; start with: anser serve --data-dir {data_dir}");
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

/// Makes the folder, the configuration file and the secrets, as far as they are missing.
pub(crate) fn prepare(data_dir: &Path) -> Result<Secrets> {
    let prepare = || {
        let file = data_dir.join(CONFIG_FILE);
        match fs::OpenOptions::new().write(true).create_new(true).open(&file) {
            Ok(mut opened) => io::Write::write_all(&mut opened, config::default_text().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    };
    let key = secrets::master_key_file(data_dir);
    if node::database(data_dir).exists() && !key.exists() {
        let path = key.display();
        let text =
            format!("{path} is missing, and a new one opens nothing of this data; put it back");
        return Err(Failure::config(anyhow!(text)));
    }
    make_folder(data_dir)?;
    prepare().with_context(|| format!("the data folder {}", data_dir.display()))?;
    Secrets::load_or_create(data_dir).map_err(Failure::config)
}
