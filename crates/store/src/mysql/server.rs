//! The server at the other end: how a connection is set up, and whether it keeps what it promises.

use std::io::ErrorKind;

use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};

use super::failure::Failure;
use super::tx::{Tx, run};

/// The server closes a connection that is silent for so long. It also bounds how long the locks of
/// a process that died or was cut off behind a broken network stay held: nothing else tells the
/// server, and until then the users of its last batch wait.
pub(super) const IDLE_SECONDS: u64 = 10;

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) version: String,
    /// `innodb_flush_log_at_trx_commit`.
    pub(super) flush: u64,
    /// `log_bin`, `sync_binlog`, `binlog_format`.
    pub(super) binlog: bool,
    pub(super) sync_binlog: u64,
    pub(super) binlog_format: String,
    /// `max_allowed_packet`.
    pub(super) packet_bytes_max: u64,
}

/// Connects and sets the session up.
pub(super) async fn connect(
    options: &MySqlConnectOptions,
    weak_durability: bool,
) -> Result<(MySqlConnection, Server), Failure> {
    let mut connection = options.connect().await.map_err(refused)?;
    let server = set_up(&mut connection).await?;
    match server.unfit(weak_durability) {
        None => Ok((connection, server)),
        Some(why) => Err(Failure::unavailable(why)),
    }
}

fn refused(error: sqlx::Error) -> Failure {
    match error {
        // Accounts of MySQL 8 and later. Without TLS the password would have to be encrypted with
        // RSA, for which sqlx uses a crate that leaks the key by its timing (RUSTSEC-2023-0071).
        sqlx::Error::Configuration(why) if why.to_string().contains("RSA") => Failure::unavailable(
            "the server takes the password of this account over TLS only, and this connection \
                 has none: see ssl-mode in store.url, and whether the server has TLS on",
        ),
        // A certificate that does not fit: another try would not mend it.
        sqlx::Error::Io(io) if io.kind() == ErrorKind::InvalidData => {
            Failure::unavailable(format!("no TLS with the server: {io}"))
        }
        other => other.into(),
    }
}

/// What a connection is encrypted with, if it is.
pub(super) async fn tls(tx: &mut Tx) -> Result<Option<String>, Failure> {
    let version = sqlx::query("SHOW SESSION STATUS LIKE 'Ssl_version'");
    let version: Option<(String, String)> = tx.one(version).await?;
    Ok(version.map(|(_, version)| version).filter(|version| !version.is_empty()))
}

async fn set_up(connection: &mut MySqlConnection) -> Result<Server, Failure> {
    // Long lists of numbers stay lists: MariaDB would make tables of them, and lock in their order.
    let settings = format!(
        "SET NAMES utf8mb4; \
         SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, \
             innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}, wait_timeout = {IDLE_SECONDS} \
             /*M! , in_predicate_conversion_threshold = 0 */; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SELECT CAST(@@version AS CHAR), CAST(@@innodb_flush_log_at_trx_commit AS UNSIGNED), \
             CAST(@@log_bin AS UNSIGNED), CAST(@@sync_binlog AS UNSIGNED), \
             CAST(@@binlog_format AS CHAR), CAST(@@max_allowed_packet AS UNSIGNED)"
    );
    let results = run(connection, settings).await?;
    let row = results.last().and_then(|rows| rows.first());
    let row = row.ok_or_else(|| Failure::unavailable("the server tells no settings"))?;
    let row: (String, u64, u64, u64, String, u64) = sqlx::FromRow::from_row(row)?;
    Ok(Server {
        version: row.0,
        flush: row.1,
        binlog: row.2 != 0,
        sync_binlog: row.3,
        binlog_format: row.4,
        packet_bytes_max: row.5,
    })
}

impl Server {
    /// Why it can not be served from, in a sentence.
    pub(super) fn unfit(&self, weak_durability: bool) -> Option<String> {
        let version = &self.version;
        if !known_version(version) {
            let needs = "Anser needs MySQL 8.0 or MariaDB 10.6, or a later one";
            return Some(format!("the server is of version {version}; {needs}"));
        }
        if self.binlog && self.binlog_format == "STATEMENT" {
            return Some("the server has binlog_format = STATEMENT; set it to ROW".into());
        }
        if self.packet_bytes_max < PACKET_BYTES_LEAST {
            let found = self.packet_bytes_max;
            return Some(format!(
                "the server has max_allowed_packet = {found}; set it to 16 MiB (16777216) or more"
            ));
        }
        if weak_durability {
            return None;
        }
        if self.flush != 1 {
            return Some(format!(
                "the server has innodb_flush_log_at_trx_commit = {}, so it answers before data is \
                 on its disk; set it to 1",
                self.flush
            ));
        }
        if self.binlog && self.sync_binlog != 1 {
            return Some(format!(
                "the server has sync_binlog = {}, so its binary log can lose what was answered; \
                 set it to 1",
                self.sync_binlog
            ));
        }
        None
    }
}

impl Server {
    /// What an operator should know of it, in a sentence.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        // Without it InnoDB shows what it is about to sync.
        (!self.binlog).then_some(
            "the server has no binary log, so its other clients see what is written a moment before \
             it is on the disk; set log_bin, with sync_binlog = 1",
        )
    }
}

/// `8.0.36`, `8.4.11-log`, `10.11.19-MariaDB-0+deb12u1`.
fn known_version(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version_number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version.contains("MariaDB") {
        true => version_number >= (10, 6),
        false => version_number >= (8, 0),
    }
}

/// A batch that waits longer for a row is undone and run again.
const LOCK_WAIT_SECONDS: u64 = 5;
/// Twice what one packet of ours holds at most.
const PACKET_BYTES_LEAST: u64 = 2 * super::script::PACKET_BYTES_MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn durable() -> Server {
        Server {
            version: "10.11.19-MariaDB-0+deb12u1".into(),
            flush: 1,
            binlog: true,
            sync_binlog: 1,
            binlog_format: "MIXED".into(),
            packet_bytes_max: 16 << 20,
        }
    }

    #[test]
    fn a_server_that_answers_before_its_disk_is_unfit() {
        assert_eq!(durable().unfit(false), None);
        let weak = [
            (Server { flush: 2, ..durable() }, "innodb_flush_log_at_trx_commit = 2"),
            (Server { flush: 0, ..durable() }, "innodb_flush_log_at_trx_commit = 0"),
            (Server { sync_binlog: 0, ..durable() }, "sync_binlog = 0"),
            (Server { sync_binlog: 100, ..durable() }, "sync_binlog = 100"),
        ];
        for (server, why) in weak {
            assert!(server.unfit(false).is_some_and(|said| said.contains(why)), "{server:?}");
            assert_eq!(server.unfit(true), None, "when it is asked for");
        }
        let no_binlog = Server { binlog: false, sync_binlog: 0, ..durable() };
        assert_eq!(no_binlog.unfit(false), None);
        assert!(no_binlog.doubt().is_some() && durable().doubt().is_none());
    }

    #[test]
    fn a_certificate_that_does_not_fit_is_not_tried_again() {
        let of = |kind| refused(sqlx::Error::Io(std::io::Error::new(kind, "UnknownIssuer")));
        let unfit = of(ErrorKind::InvalidData);
        assert!(matches!(unfit, Failure::Store(_)), "{unfit:?}");
        let lost = of(ErrorKind::ConnectionReset);
        assert!(matches!(lost, Failure::Again(_)), "{lost:?}");
    }

    #[test]
    fn a_server_that_can_not_do_it_is_unfit() {
        let wrong = [
            Server { version: "5.7.44".into(), ..durable() },
            Server { version: "10.5.9-MariaDB".into(), ..durable() },
            Server { binlog_format: "STATEMENT".into(), ..durable() },
            Server { packet_bytes_max: 1 << 20, ..durable() },
        ];
        for server in wrong {
            assert!(server.unfit(true).is_some(), "{server:?}");
        }
        for version in ["8.0.36", "8.4.11-log", "9.1.0", "10.6.0-MariaDB", "12.0.2-MariaDB-log"] {
            assert_eq!(Server { version: version.into(), ..durable() }.unfit(false), None);
        }
    }
}
