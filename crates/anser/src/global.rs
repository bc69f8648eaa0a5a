//! What all commands share: which data folder and which configuration.

use std::path::{Path, PathBuf};

use anser_server::config::{Config, Loader, process_environment};
use clap::Args;

use crate::failure::{Failure, Result};

/// The configuration's name in the data folder.
pub(crate) const CONFIG_FILE: &str = "anser.toml";
/// Where a server keeps its data, unless told otherwise.
const DATA_DIR: &str = "data";

/// Options of all commands.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Folder of the server's data, secrets and admin socket [default: ./data]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Options of all commands")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file [default: anser.toml in the data folder]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Options of all commands")]
    pub(crate) config: Option<PathBuf>,
}

impl Global {
    /// The configuration as file, environment and these flags say.
    ///
    /// # Errors
    /// Exit status 78: something in it is not understood.
    pub(crate) fn load(&self) -> Result<Config> {
        self.loader()?.finish().map_err(Failure::config)
    }

    /// Like [`Global::load`], before the last check, for further flags.
    pub(crate) fn loader(&self) -> Result<Loader> {
        let variables = process_environment();
        let mut loader = Loader::default();
        let file = match &self.config {
            Some(file) => Some(file.clone()),
            // The data folder may itself be named by a variable; the file in it comes before that.
            None => Some(self.folder(&variables).join(CONFIG_FILE)).filter(|file| file.exists()),
        };
        if let Some(file) = file {
            loader.file(&file).map_err(Failure::config)?;
        }
        loader.environment(variables).map_err(Failure::config)?;
        let data_dir = self.data_dir.as_deref().map(Path::to_string_lossy);
        loader.flag("--data-dir", "node.data_dir", data_dir.as_deref()).map_err(Failure::config)?;
        Ok(loader)
    }

    fn folder(&self, variables: &[(String, String)]) -> PathBuf {
        let named = variables.iter().find(|(name, _)| name == "ANSER_NODE__DATA_DIR");
        let named = named.map(|(_, value)| PathBuf::from(value));
        self.data_dir.clone().or(named).unwrap_or_else(|| DATA_DIR.into())
    }
}
