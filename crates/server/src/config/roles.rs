//! What a process does, and whether its configuration lets it.

use std::str::FromStr;

use super::{Config, Link};

/// The roles of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Holds the clients' connections.
    pub connector: bool,
    /// Sequences, stores and routes what they send.
    pub transfer: bool,
    /// REST.
    pub api: bool,
}

impl Roles {
    /// A whole server in one process.
    pub const ALL: Self = Self { connector: true, transfer: true, api: true };
    const NONE: Self = Self { connector: false, transfer: false, api: false };

    /// Their names.
    pub fn names(self) -> Vec<&'static str> {
        let all = [("connector", self.connector), ("transfer", self.transfer), ("api", self.api)];
        all.into_iter().filter_map(|(name, on)| on.then_some(name)).collect()
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut roles = Self::NONE;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "connector" => roles.connector = true,
                "transfer" => roles.transfer = true,
                "api" => roles.api = true,
                "all" => roles = Self::ALL,
                _ => return Err(format!("\"{name}\" is not one of connector, transfer, api")),
            }
        }
        if roles == Self::NONE {
            return Err("must name at least one of connector, transfer, api".into());
        }
        Ok(roles)
    }
}

/// What is missing for the roles and shared parts of a configuration to work together: the key, and
/// why.
pub(super) fn missing(config: &Config) -> Option<(&'static str, &'static str)> {
    let Roles { connector, transfer, .. } = config.node.roles;
    let (store, queue) = (&config.store.url, &config.queue.url);
    let presence = &config.presence.url;
    let is_part = config.node.roles != Roles::ALL;
    if store.is_none() && (is_part || queue.is_some() || presence.is_some()) {
        let why = "is missing: several processes share a MySQL or MariaDB server, not a folder";
        return Some(("store.url", why));
    }
    if presence.is_none() && (is_part || queue.is_some()) {
        let why = "is missing: by Redis, nodes know of each other and of who is connected where";
        return Some(("presence.url", why));
    }
    if queue.is_none() && connector != transfer {
        let why = "is missing: connectors hand commands over to transfers by RabbitMQ";
        return Some(("queue.url", why));
    }
    missing_of_tls(&config.link)
}

/// The link's files for TLS: all of them or none.
fn missing_of_tls(link: &Link) -> Option<(&'static str, &'static str)> {
    let files = [
        ("link.tls_ca", &link.tls_ca),
        ("link.tls_cert", &link.tls_cert),
        ("link.tls_key", &link.tls_key),
    ];
    let unset = files.iter().filter(|(_, file)| file.is_none());
    let partly = unset.clone().count() < files.len();
    let why = "is missing: TLS of the link needs link.tls_ca, link.tls_cert and link.tls_key";
    unset.map(|(key, _)| (*key, why)).next().filter(|_| partly)
}
