//! A collector that is not there, or hears nothing, holds nobody up.

use std::time::Duration;

use anser_proto::{DeviceId, UserId};
use bytes::Bytes;
use tokio::net::TcpListener;

use super::*;
use crate::config;

fn to(endpoint: String, sample: f64) -> config::Trace {
    config::Trace { endpoint: Some(endpoint), sample: Share::new(sample).unwrap() }
}

fn command(trace: Option<Box<TraceParent>>) -> Record {
    Record::Command {
        user: UserId(1),
        device: DeviceId(2),
        session: anser_proto::SessionId(3),
        client_seq: 4,
        command: Bytes::new(),
        once: None,
        trace,
    }
}

fn started(config: &config::Trace) -> (Tracer, Exporter) {
    start(config, Vec::new()).unwrap().expect("it is on")
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_takes_nothing_holds_nobody_up() {
    // It accepts connections, as every listener's backlog does, and never reads.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (tracer, exporter) = started(&to(format!("http://{}", deaf.local_addr().unwrap()), 1.0));
    let place = *tracer.sample(DeviceId(1), 1).expect("all are followed");
    for _ in 0..3 * WAITING_MAX {
        tracer.end(Span::first(place, "command", Instant::now()));
    }
    let On { waiting, .. } = &**tracer.0.as_ref().unwrap();
    assert_eq!(waiting.capacity(), 0, "no more wait than there is room for");
    let before = tokio::time::Instant::now();
    exporter.finish().await;
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    tracer.end(Span::first(place, "command", Instant::now()));
}

#[tokio::test]
async fn what_is_not_followed_is_not_told() {
    let off = Tracer::default();
    assert_eq!(off.sample(DeviceId(1), 1), None);
    let place = TraceParent { trace: [1; 16], span: [2; 8] };
    let batch = [command(None), command(Some(Box::new(place)))];
    assert!(off.followed(&batch).is_empty());
    // A node that follows none of its own commands goes on with those of others.
    let (tracer, _exporter) = started(&to("http://127.0.0.1:1".into(), 0.0));
    assert!((1..1000).all(|seq| tracer.sample(DeviceId(1), seq).is_none()));
    let followed = tracer.followed(&batch);
    let followed: Vec<_> = followed.iter().map(|one| (one.index, one.parent)).collect();
    assert_eq!(followed, [(1, place)]);
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_told() {
    assert!(start(&config::Trace::default(), Vec::new()).unwrap().is_none());
    let refused = start(&to("http://a b".into(), 1.0), Vec::new()).err().expect("it is refused");
    assert!(refused.to_string().contains("trace.endpoint: http://a b"), "{refused}");
}
