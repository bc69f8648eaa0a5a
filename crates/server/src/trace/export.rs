//! From the node to the collector: one task, which gathers spans for a moment and sends them
//! together. A collector that is away costs its spans, a count and a line in the log.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, counter};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::transport::{ClientTlsConfig, Endpoint};
use tracing::{debug, info, warn};

use super::{On, Tracer, WAITING_MAX};
use crate::{config, metrics::TRACE_SPANS_TOTAL};

/// Spans of one request.
const BATCH_MAX: usize = 512;
/// The first span of a request waits so long for others.
const GATHER: Duration = Duration::from_secs(1);
/// A collector that does not answer within this time did not take it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that stops gives the collector so long for the rest.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// `trace.endpoint` is no address of a collector.
#[derive(Debug, thiserror::Error)]
#[error("trace.endpoint: {0}")]
pub struct NoCollector(String);

/// What became of spans.
pub(super) struct ExportMetrics {
    pub(super) dropped: Counter,
    sent: Counter,
    failed: Counter,
}

impl ExportMetrics {
    pub(super) fn new() -> Self {
        let spans = |outcome: &'static str| counter!(TRACE_SPANS_TOTAL, "outcome" => outcome);
        Self { dropped: spans("dropped"), sent: spans("sent"), failed: spans("failed") }
    }
}

/// The task that sends. Dropped, it sends nothing more.
pub struct Exporter {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Exporter {
    /// Sends what still waits, for 2 s at most.
    pub async fn finish(self) {
        self.stop.cancel();
        if tokio::time::timeout(FINISH_MAX, self.task).await.is_err() {
            debug!("the collector did not take the last spans in time");
        }
    }
}

/// Where spans go from this node, and who sends them; neither connects before there is a span.
/// `None`: traces are off. `about`: what the collector is told of this node.
///
/// # Errors
/// The endpoint is no address of a collector.
///
/// # Panics
/// Outside of a runtime.
pub fn start(
    config: &config::Trace,
    about: Vec<KeyValue>,
) -> Result<Option<(Tracer, Exporter)>, NoCollector> {
    let Some(endpoint) = &config.endpoint else { return Ok(None) };
    let mut exporter = exporter(endpoint)?;
    let resource = Resource::builder_empty().with_service_name("anser").with_attributes(about);
    exporter.set_resource(&resource.build());
    let (waiting, spans) = mpsc::channel(WAITING_MAX);
    let stop = CancellationToken::new();
    let sender = Sender { exporter, spans, metrics: ExportMetrics::new(), failing: false };
    let task: JoinHandle<()> = tokio::spawn(sender.run(stop.clone()));
    let scope = InstrumentationScope::builder("anser").build();
    let on = On { share: config.sample, scope, waiting, metrics: ExportMetrics::new() };
    let exporter = Exporter { stop, task: AbortOnDropHandle::new(task) };
    Ok(Some((Tracer(Some(Arc::new(on))), exporter)))
}

fn exporter(endpoint: &str) -> Result<SpanExporter, NoCollector> {
    let unfit = |why: &dyn std::error::Error| NoCollector(format!("{endpoint}: {why}"));
    let mut channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|why| unfit(&why))?;
    if endpoint.starts_with("https:") {
        let tls = ClientTlsConfig::new().with_native_roots();
        channel = channel.tls_config(tls).map_err(|why| unfit(&why))?;
    }
    SpanExporter::builder()
        .with_tonic()
        .with_channel(channel.connect_timeout(ANSWER_TIMEOUT).connect_lazy())
        .with_timeout(ANSWER_TIMEOUT)
        // What fails is let go: spans are not worth a memory of what did not get through.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|why| unfit(&why))
}

struct Sender {
    exporter: SpanExporter,
    spans: mpsc::Receiver<SpanData>,
    metrics: ExportMetrics,
    /// The last request did.
    failing: bool,
}

impl Sender {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        let mut open = true;
        while open {
            let gathered = stop.run_until_cancelled(self.gather(&mut batch)).await;
            open = gathered.unwrap_or(false);
            self.send(&mut batch).await;
        }
        self.spans.close();
        while self.spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.send(&mut batch).await;
        }
    }

    /// Waits for a span and then a moment for others. Cut off, it loses none. False: no more come.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) -> bool {
        if self.spans.recv_many(batch, BATCH_MAX).await == 0 {
            return false;
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH_MAX {
            let room = BATCH_MAX - batch.len();
            match timeout_at(until, self.spans.recv_many(batch, room)).await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        true
    }

    async fn send(&mut self, batch: &mut Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        match self.exporter.export(std::mem::take(batch)).await {
            Ok(()) => {
                self.metrics.sent.increment(count);
                if std::mem::take(&mut self.failing) {
                    info!("the collector of traces takes spans again");
                }
            }
            Err(error) => {
                self.metrics.failed.increment(count);
                // Once; while it is away the many tries say nothing new.
                if std::mem::replace(&mut self.failing, true) {
                    debug!(%error, spans = count, "the collector of traces takes no spans");
                } else {
                    warn!(%error, spans = count, "the collector of traces takes no spans");
                }
            }
        }
    }
}
