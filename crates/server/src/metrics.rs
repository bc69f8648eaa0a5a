//! Metrics by Prometheus conventions. The names are constants here, each with its unit in its name
//! and its help text in `describe`; the parts record through the `metrics` macros.
//!
//! Labels have few values: codes, outcomes, route templates. Never a user, a device or an address.

use std::{sync::OnceLock, time::Duration};

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Gauge: authenticated connections now.
pub const CONNECTIONS: &str = "anser_connections";
/// Counter: connections accepted.
pub const CONNECTIONS_ACCEPTED_TOTAL: &str = "anser_connections_accepted_total";
/// Counter: connections refused because their address had too many unauthenticated ones.
pub const CONNECTIONS_REFUSED_TOTAL: &str = "anser_connections_refused_total";
/// Counter: connections closed. Label `code`: a name of the table of codes, or `none`.
pub const CONNECTIONS_CLOSED_TOTAL: &str = "anser_connections_closed_total";
/// Counter: commands and acks decided. Label `outcome`: `applied`, `repeated` or `refused`.
pub const COMMANDS_TOTAL: &str = "anser_commands_total";
/// Counter: entries written to sockets, resends included.
pub const ENTRIES_PUSHED_TOTAL: &str = "anser_entries_pushed_total";
/// Histogram: from a batch's hand-over to the store to its answer.
pub const COMMIT_DURATION_SECONDS: &str = "anser_commit_duration_seconds";
/// Histogram: the sync within a commit.
pub const SYNC_DURATION_SECONDS: &str = "anser_sync_duration_seconds";
/// Histogram: records in one commit.
pub const COMMIT_BATCH_RECORDS: &str = "anser_commit_batch_records";
/// Histogram: from the moment a command was read from its sender's socket to the moment its entry
/// was written to a recipient's socket.
pub const ACCEPT_TO_SOCKET_SECONDS: &str = "anser_accept_to_socket_seconds";
/// Counter: REST requests. Labels `method`, `route` (a template), `status`.
pub const API_REQUESTS_TOTAL: &str = "anser_api_requests_total";
/// Histogram: REST requests. Labels `method`, `route`.
pub const API_REQUEST_SECONDS: &str = "anser_api_request_duration_seconds";
/// Counter: passwords hashed or checked against a hash, each the work of one argon2id.
pub const PASSWORD_HASHES_TOTAL: &str = "anser_password_hashes_total";
/// Counter: transactions of the store's hot path.
pub const STORE_COMMITS_TOTAL: &str = "anser_store_commits_total";
/// Counter: syncs of the store's journal.
pub const STORE_SYNCS_TOTAL: &str = "anser_store_syncs_total";
/// Counter: messages stored.
pub const STORE_MESSAGES_TOTAL: &str = "anser_store_messages_total";
/// Gauge: free bytes on the data folder's file system.
pub const STORE_DISK_FREE_BYTES: &str = "anser_store_disk_free_bytes";
/// Gauge: bytes of the database on disk.
pub const STORE_DISK_USED_BYTES: &str = "anser_store_disk_used_bytes";
/// Gauge: 1 when RabbitMQ can be reached and takes messages. Label `end`: `publisher`, `consumer`.
pub const QUEUE_UP: &str = "anser_queue_up";
/// Counter: messages that RabbitMQ confirmed. One carries what a connector collected.
pub const QUEUE_PUBLISHED_TOTAL: &str = "anser_queue_published_total";
/// Histogram: from the first try to publish a message to its confirm.
pub const QUEUE_PUBLISH_SECONDS: &str = "anser_queue_publish_duration_seconds";
/// Counter: messages that were published again.
pub const QUEUE_REPUBLISHED_TOTAL: &str = "anser_queue_republished_total";
/// Counter: messages that RabbitMQ refused: the partition was full.
pub const QUEUE_REFUSED_TOTAL: &str = "anser_queue_refused_total";
/// Counter: messages that RabbitMQ returned: the partition's queue was gone.
pub const QUEUE_RETURNED_TOTAL: &str = "anser_queue_returned_total";
/// Counter: messages that came to this transfer and were given to one before.
pub const QUEUE_REDELIVERED_TOTAL: &str = "anser_queue_redelivered_total";
/// Counter: messages that a transfer threw away. Label `reason`: `epoch` or `unreadable`.
pub const QUEUE_DROPPED_TOTAL: &str = "anser_queue_dropped_total";
/// Gauge: partitions that RabbitMQ has given messages of to this transfer.
pub const QUEUE_PARTITIONS_ACTIVE: &str = "anser_queue_partitions_active";
/// Gauge, always 1. Label `version`.
pub const BUILD_INFO: &str = "anser_build_info";
/// Gauge: 1 after the clock jumped.
pub const RETENTION_STOPPED: &str = "anser_retention_stopped";
/// Counter.
pub const PRUNED_ENTRIES_TOTAL: &str = "anser_pruned_entries_total";
/// Counter: spans of traces. Label `outcome`: `sent`, `failed` (the collector did not take them) or
/// `dropped` (too many waited).
pub const TRACE_SPANS_TOTAL: &str = "anser_trace_spans_total";
/// Counter: what the link told connectors of. Label `outcome`: `sent`; `shortened`, an entry of
/// which only the number was kept; or `dropped`.
pub const LINK_RINGS_TOTAL: &str = "anser_link_rings_total";
/// Gauge: connectors that this node has a stream to.
pub const LINK_STREAMS: &str = "anser_link_streams";
/// Gauge: nodes that have a stream to this connector.
pub const LINK_CALLERS: &str = "anser_link_callers";
/// Gauge: 1 while Redis answers.
pub const REDIS_UP: &str = "anser_redis_up";
/// Counter: requests to Redis that failed, were late, or were not tried because it is away.
pub const REDIS_FAILURES_TOTAL: &str = "anser_redis_failures_total";

/// What was recorded in this process; a cheap clone.
#[derive(Clone)]
pub struct Handle(PrometheusHandle);

/// The recorder can not be installed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("metrics can not be recorded: {0}")]
pub struct InstallError(String);

/// Records all metrics of this process from now on. Calling it again gives the same handle.
///
/// # Errors
/// [`InstallError`] when something else records metrics already: a fault in the composition.
pub fn install() -> Result<Handle, InstallError> {
    static INSTALLED: OnceLock<Result<Handle, InstallError>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let recorder = builder().map_err(|error| InstallError(error.to_string()))?;
            let recorder = recorder.build_recorder();
            let handle = Handle(recorder.handle());
            metrics::set_global_recorder(recorder)
                .map_err(|error| InstallError(error.to_string()))?;
            describe();
            metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            Ok(handle)
        })
        .clone()
}

impl Handle {
    /// The text exposition format of Prometheus.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Moves recorded samples into their buckets. Without it they pile up between two renderings;
    /// [`UPKEEP_INTERVAL`] says how often.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// How often [`Handle::upkeep`] is due.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full(COMMIT_BATCH_RECORDS.into()), RECORDS)
}

fn describe() {
    describe_gauge!(CONNECTIONS, "Authenticated connections now");
    describe_counter!(CONNECTIONS_ACCEPTED_TOTAL, "Connections accepted");
    describe_counter!(CONNECTIONS_REFUSED_TOTAL, "Connections refused: too many of an address");
    describe_gauge!(RETENTION_STOPPED, "1 when the clock jumped and nothing is pruned any more");
    describe_counter!(TRACE_SPANS_TOTAL, "Spans of traces, by outcome");
    describe_counter!(PRUNED_ENTRIES_TOTAL, "Inbox entries pruned by retention");
    describe_counter!(CONNECTIONS_CLOSED_TOTAL, "Connections closed, by code");
    describe_counter!(COMMANDS_TOTAL, "Commands decided, by outcome");
    describe_counter!(ENTRIES_PUSHED_TOTAL, "Entries written to sockets, resends included");
    describe_histogram!(
        COMMIT_DURATION_SECONDS,
        "Hand-over of a batch to the store until its answer"
    );
    describe_histogram!(SYNC_DURATION_SECONDS, "The sync within a commit");
    describe_histogram!(COMMIT_BATCH_RECORDS, "Records in one commit");
    describe_histogram!(
        ACCEPT_TO_SOCKET_SECONDS,
        "Command read from its socket until its entry was written to a recipient's socket"
    );
    describe_counter!(API_REQUESTS_TOTAL, "REST requests");
    describe_histogram!(API_REQUEST_SECONDS, "REST requests, from header to answer");
    describe_counter!(PASSWORD_HASHES_TOTAL, "Passwords hashed or checked");
    describe_counter!(STORE_COMMITS_TOTAL, "Transactions of the hot path");
    describe_counter!(STORE_SYNCS_TOTAL, "Syncs of the journal");
    describe_counter!(STORE_MESSAGES_TOTAL, "Messages stored");
    describe_gauge!(STORE_DISK_FREE_BYTES, "Free bytes on the data folder's file system");
    describe_gauge!(STORE_DISK_USED_BYTES, "Bytes of the database on disk");
    describe_counter!(LINK_RINGS_TOTAL, "What connectors were told, by outcome");
    describe_gauge!(LINK_STREAMS, "Connectors that this node has a stream to");
    describe_gauge!(LINK_CALLERS, "Nodes that have a stream to this connector");
    describe_gauge!(REDIS_UP, "1 while Redis answers");
    describe_counter!(REDIS_FAILURES_TOTAL, "Requests to Redis that were not answered");
    describe_queue();
    describe_gauge!(BUILD_INFO, "Always 1; the label tells the version");
}

fn describe_queue() {
    describe_gauge!(QUEUE_UP, "1 when RabbitMQ can be reached and takes messages");
    describe_counter!(QUEUE_PUBLISHED_TOTAL, "Queue messages that RabbitMQ confirmed");
    describe_histogram!(QUEUE_PUBLISH_SECONDS, "First try to publish until the confirm");
    describe_counter!(QUEUE_REPUBLISHED_TOTAL, "Queue messages published again");
    describe_counter!(QUEUE_REFUSED_TOTAL, "Queue messages refused: the partition was full");
    describe_counter!(QUEUE_RETURNED_TOTAL, "Queue messages returned: the queue was gone");
    describe_counter!(QUEUE_REDELIVERED_TOTAL, "Queue messages that came once more");
    describe_counter!(QUEUE_DROPPED_TOTAL, "Queue messages thrown away, by reason");
    describe_gauge!(QUEUE_PARTITIONS_ACTIVE, "Partitions worked off here");
}

/// From a local answer (100 us) to the patience of a person (10 s).
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// A commit takes at most 256 commands, and acks beside them.
const RECORDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
