//! TLS of the link: each end shows a certificate of the cluster's own authority, and asks for one.
//!
//! It is beside the proof of the cluster's secret and not instead of it: the certificates keep
//! others from listening, the secret tells who belongs to the cluster.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use tonic::transport::{
    self, Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};

use super::HANDSHAKE_TIMEOUT;
use crate::config;

/// What a node shows to others, and whom it believes. `Debug` hides the key.
#[derive(Clone)]
pub struct Tls {
    ca: Certificate,
    identity: Identity,
}

/// The files that `link.tls_ca`, `link.tls_cert` and `link.tls_key` name are not fit for use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of them can not be read.
    #[error("{key} = {}: {source}", path.display())]
    Read {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// They are no certificates and no key of theirs.
    #[error(
        "link.tls_ca, link.tls_cert and link.tls_key must be PEM files of certificates and of the \
         key of link.tls_cert: {0}"
    )]
    Unfit(String),
}

impl Tls {
    /// Reads the files that the configuration names; `None`: it names none.
    ///
    /// # Errors
    /// They can not be read, or are not what they must be: the start is to be refused.
    pub fn of(link: &config::Link) -> Result<Option<Self>, TlsError> {
        let (Some(ca), Some(cert), Some(key)) = (&link.tls_ca, &link.tls_cert, &link.tls_key)
        else {
            return Ok(None);
        };
        let (ca, cert) = (read("link.tls_ca", ca)?, read("link.tls_cert", cert)?);
        let key = read("link.tls_key", key)?;
        Self::new(&ca, &cert, &key).map(Some)
    }

    /// From PEM texts: the authority's certificates, this node's own with those between, its key.
    ///
    /// # Errors
    /// They are not what they must be.
    pub fn new(ca: &[u8], cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let identity = Identity::from_pem(cert, key);
        let tls = Self { ca: Certificate::from_pem(ca), identity };
        let unfit = |error: transport::Error| TlsError::Unfit(Causes(&error).to_string());
        tls.demand(Server::builder()).map_err(unfit)?;
        tls.secure(Endpoint::from_static("https://localhost"), "localhost:1").map_err(unfit)?;
        Ok(tls)
    }

    /// A server that lets nobody in without a certificate of the authority.
    pub(super) fn demand(&self, server: Server) -> Result<Server, transport::Error> {
        let tls = ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.ca.clone())
            .timeout(HANDSHAKE_TIMEOUT);
        server.tls_config(tls)
    }

    /// A client that believes only a certificate of the authority for the host of `address`, which
    /// is `host:port`.
    pub(super) fn secure(
        &self,
        endpoint: Endpoint,
        address: &str,
    ) -> Result<Endpoint, transport::Error> {
        let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
        let tls = ClientTlsConfig::new()
            .identity(self.identity.clone())
            .ca_certificate(self.ca.clone())
            .domain_name(host.trim_start_matches('[').trim_end_matches(']'));
        endpoint.tls_config(tls)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { key, path: path.to_owned(), source })
}

/// An error with what is behind it: tonic's own text is "transport error", whatever it was.
pub(super) struct Causes<'a>(pub(super) &'a dyn Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some repeat what is behind them.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            (last, next) = (text, cause.source());
        }
        Ok(())
    }
}
