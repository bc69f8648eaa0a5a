//! What a run is played against: one process, or a cluster.

use std::{path::Path, sync::Arc};

use anser_store::Store;
use anyhow::Result;
use tokio::sync::watch;

use super::{
    Settings,
    client::Doors,
    cluster::{self, Cluster, Network},
    fault::{Kind, Lane, Layout},
    history::Recorder,
    host::Host,
    plan::Schedule,
    trouble::{self, Troubles},
};

/// What is tortured.
pub(super) enum Target {
    Single(Box<Host>),
    Cluster(Box<Cluster>),
}

impl Target {
    /// Starts it in a folder.
    ///
    /// # Errors
    /// A part of it does not start.
    pub(super) async fn start(
        folder: &Path,
        settings: &Settings,
        recorder: Recorder,
    ) -> Result<Self> {
        let machine = &settings.machine;
        Ok(match settings.layout {
            Layout::Single => Self::Single(Box::new(Host::new(folder, machine, recorder).await?)),
            Layout::Cluster => Self::Cluster(Box::new(Cluster::start(folder, machine).await?)),
        })
    }

    /// Where clients can knock.
    ///
    /// # Errors
    /// It has not told.
    pub(super) fn doors(&self) -> Result<Doors> {
        match self {
            Self::Single(host) => {
                let addresses = host.addresses()?;
                let (connectors, apis) = (vec![addresses.connector], vec![addresses.api.clone()]);
                Ok(Doors { connectors, apis })
            }
            Self::Cluster(cluster) => Ok(cluster.doors()),
        }
    }

    /// The network that its processes are in.
    pub(super) fn network(&self) -> Network {
        match self {
            Self::Single(_) => Network::default(),
            Self::Cluster(cluster) => cluster.network(),
        }
    }

    /// Breaks it, with kinds of fault in the order of a seed, until `over`; gives it back, mended.
    ///
    /// # Errors
    /// It could not be broken, or not be mended.
    pub(super) async fn torture(
        self,
        (seed, kinds): (u64, Vec<Kind>),
        troubles: Troubles,
        over: watch::Receiver<bool>,
    ) -> Result<Self> {
        Ok(match self {
            Self::Single(host) => {
                let schedule = Schedule::of(seed, Lane::Server, &kinds);
                let host = trouble::break_server(*host, schedule, troubles, over).await?;
                Self::Single(Box::new(host))
            }
            Self::Cluster(mut cluster) => {
                cluster::torture(&mut cluster, (seed, &kinds), &troubles, &over).await?;
                Self::Cluster(cluster)
            }
        })
    }

    /// Starts what ended by itself, and notes it.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn tend(&mut self) -> Result<()> {
        match self {
            Self::Single(host) => host.tend().await,
            Self::Cluster(cluster) => cluster.tend().await,
        }
    }

    /// Stops all servers as an operator would; what they stand on goes on.
    ///
    /// # Errors
    /// One did not stop in time, or not well.
    pub(super) async fn stop(&mut self) -> Result<()> {
        match self {
            Self::Single(host) => host.stop().await,
            Self::Cluster(cluster) => cluster.stop().await,
        }
    }

    /// The store of the stopped servers.
    ///
    /// # Errors
    /// It does not open.
    pub(super) async fn store(&self) -> Result<Arc<dyn Store>> {
        match self {
            Self::Single(host) => host.store(),
            Self::Cluster(cluster) => cluster.store().await,
        }
    }

    /// Ends what the servers stood on; gives the ends of processes that no fault asked for.
    ///
    /// # Errors
    /// A service does not end.
    pub(super) async fn end(self) -> Result<Vec<String>> {
        match self {
            Self::Single(host) => Ok(host.unexpected().to_vec()),
            Self::Cluster(cluster) => cluster.end().await,
        }
    }
}
