//! Traces: a small share of the commands is followed through the cluster and told to a collector
//! (OpenTelemetry, OTLP over gRPC), by `trace.endpoint` and `trace.sample`.
//!
//! Whether a command is followed is decided once, where it is read from its socket. From then on it
//! carries its place in its trace (`Record`'s `trace`, also through RabbitMQ), and each part that
//! finds one there adds a span for its own work. Spans name users, devices, conversations and
//! numbers: never a text, a token, a name or an address.
//!
//! Nothing here waits for the collector. What it does not take in time is dropped and counted.

mod export;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{DeviceId, Seq, UserId};
use anser_store::{Record, TraceParent};
use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::sync::mpsc;

pub use export::{Exporter, NoCollector, start};

use crate::{clock, config::Share};
use export::ExportMetrics;

/// Spans that wait for the collector: some seconds of a busy node that samples a hundredth.
const WAITING_MAX: usize = 4096;

/// Adds spans to traces; a cheap clone. The default one is off.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<On>>);

struct On {
    share: Share,
    scope: InstrumentationScope,
    waiting: mpsc::Sender<SpanData>,
    metrics: ExportMetrics,
}

impl Tracer {
    /// One that follows all commands, and what it tells, without a collector.
    #[cfg(test)]
    pub(crate) fn of_all() -> (Self, mpsc::Receiver<SpanData>) {
        let (waiting, told) = mpsc::channel(WAITING_MAX);
        let (share, metrics) = (Share::new(1.0).expect("a share"), ExportMetrics::new());
        let scope = InstrumentationScope::default();
        (Self(Some(Arc::new(On { share, scope, waiting, metrics }))), told)
    }

    /// Whether this node tells of its traces.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A new trace for this command, if it is to be followed: then it is followed whenever it is
    /// sent again, too, each time in a trace of its own.
    pub(crate) fn sample(&self, device: DeviceId, client_seq: Seq) -> Option<Box<TraceParent>> {
        let on = self.0.as_ref()?;
        if !on.share.takes(device.0 ^ client_seq.rotate_left(32)) {
            return None;
        }
        Some(Box::new(TraceParent { trace: random(), span: random() }))
    }

    /// The commands of a batch that are followed; without an allocation where there are none.
    pub(crate) fn followed(&self, records: &[Record]) -> Vec<Followed> {
        if !self.is_on() {
            return Vec::new();
        }
        let all = records.iter().enumerate();
        all.filter_map(|(index, record)| Followed::of(index, record)).collect()
    }

    /// A span is over. Never waits: where too many do, it is dropped and counted.
    pub(crate) fn end(&self, span: Span) {
        let Some(on) = &self.0 else { return };
        if on.waiting.try_send(span.data(on.scope.clone())).is_err() {
            on.metrics.dropped.increment(1);
        }
    }
}

/// A command of a batch that is followed.
pub(crate) struct Followed {
    /// Which one of the batch it is.
    pub(crate) index: usize,
    pub(crate) parent: TraceParent,
    user: UserId,
    device: DeviceId,
    client_seq: Seq,
}

impl Followed {
    fn of(index: usize, record: &Record) -> Option<Self> {
        match record {
            Record::Command { user, device, client_seq, trace: Some(trace), .. } => {
                let (user, device, client_seq) = (*user, *device, *client_seq);
                Some(Self { index, parent: **trace, user, device, client_seq })
            }
            _ => None,
        }
    }

    /// A part of its trace that names it.
    pub(crate) fn span(&self, name: &'static str, kind: SpanKind, started: Instant) -> Span {
        Span::within(&self.parent, name, kind, started)
            .with("anser.user", self.user.to_string())
            .with("anser.device", self.device.to_string())
            .with("anser.client_seq", number(self.client_seq))
    }
}

/// Something that was done for a command.
#[derive(Debug)]
pub(crate) struct Span {
    name: &'static str,
    kind: SpanKind,
    /// Its own place.
    own: TraceParent,
    /// The span that it is a part of; nothing but zeros for the first.
    parent: [u8; 8],
    started: Instant,
    ended: Instant,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Span {
    /// The first of a trace, which others name as their parent. It ends now.
    pub(crate) fn first(own: TraceParent, name: &'static str, started: Instant) -> Self {
        Self::new(name, own, [0; 8], started)
    }

    /// A part of the span that `parent` names. It ends now.
    pub(crate) fn within(
        parent: &TraceParent,
        name: &'static str,
        kind: SpanKind,
        started: Instant,
    ) -> Self {
        let own = TraceParent { trace: parent.trace, span: random() };
        Self { kind, ..Self::new(name, own, parent.span, started) }
    }

    fn new(name: &'static str, own: TraceParent, parent: [u8; 8], started: Instant) -> Self {
        let (ended, kind) = (Instant::now(), SpanKind::Server);
        let (attributes, status) = (Vec::new(), Status::Unset);
        Self { name, kind, own, parent, started, ended, attributes, status }
    }

    /// With something to know of it: ids and numbers only.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// It ended so long after its start, and not now.
    pub(crate) fn took(mut self, took: Duration) -> Self {
        self.ended = self.started + took;
        self
    }

    /// It failed.
    pub(crate) fn failed(mut self, why: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.status = Status::error(why);
        self
    }

    /// What others name as their parent to be a part of it.
    pub(crate) fn place(&self) -> TraceParent {
        self.own
    }

    fn data(self, instrumentation_scope: InstrumentationScope) -> SpanData {
        // By the wall clock now, and from there back by the clock that nobody sets.
        let now = clock::now();
        let ago = |at: Instant| now.checked_sub(at.elapsed()).unwrap_or(now);
        let span_id = SpanId::from_bytes(self.own.span);
        let trace_id = TraceId::from_bytes(self.own.trace);
        let span_context =
            SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE);
        SpanData {
            span_context,
            parent_span_id: SpanId::from_bytes(self.parent),
            parent_span_is_remote: false,
            span_kind: self.kind,
            name: self.name.into(),
            start_time: ago(self.started),
            end_time: ago(self.ended),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.status,
            instrumentation_scope,
        }
    }
}

/// OTLP has signed numbers only.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
