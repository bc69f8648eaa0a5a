//! What a transfer tells of the commands of a batch that are followed.

use std::time::{Duration, Instant};

use anser_store::Outcome;
use opentelemetry::trace::SpanKind;

use crate::trace::{Followed, Span, Tracer, number};

/// When a batch was given to the store, and how long that took.
#[derive(Clone, Copy)]
pub(super) struct Commit {
    pub(super) started: Instant,
    pub(super) took: Duration,
    pub(super) records: usize,
}

/// The batch is decided and the connectors are told. `outcome` is of the record with this number.
pub(super) fn end(
    tracer: &Tracer,
    followed: &[Followed],
    commit: Commit,
    outcome: impl Fn(usize) -> Outcome,
) {
    for one in followed {
        let transfer = one.span("transfer", SpanKind::Consumer, commit.started);
        let stored = Span::within(&transfer.place(), "commit", SpanKind::Client, commit.started)
            .took(commit.took)
            .with("anser.records", number(commit.records as u64));
        tracer.end(stored);
        tracer.end(match outcome(one.index) {
            Outcome::Applied => transfer.with("anser.outcome", "applied"),
            Outcome::Repeat => transfer.with("anser.outcome", "repeated"),
            Outcome::Refused(code) => transfer.with("anser.outcome", "refused").failed(code.name()),
        });
    }
}
