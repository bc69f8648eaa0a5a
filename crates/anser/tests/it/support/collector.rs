//! A collector of traces, as an operator has one: OTLP over gRPC. It only keeps what it is told.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::people::PATIENCE;

/// A span, and what it says of its node.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) span: Span,
    pub(crate) node: Vec<KeyValue>,
}

/// What was told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) spans: Vec<Told>,
    /// All of it as it came.
    pub(crate) bytes: Vec<u8>,
}

/// A running collector.
pub(crate) struct Collector {
    address: SocketAddr,
    heard: watch::Receiver<Heard>,
    serving: JoinHandle<()>,
}

struct Ear(watch::Sender<Heard>);

#[tonic::async_trait]
impl TraceService for Ear {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        self.0.send_modify(|heard| {
            heard.bytes.extend(request.encode_to_vec());
            for of_node in request.resource_spans {
                let node = of_node.resource.map(|node| node.attributes).unwrap_or_default();
                let spans = of_node.scope_spans.into_iter().flat_map(|scope| scope.spans);
                heard.spans.extend(spans.map(|span| Told { span, node: node.clone() }));
            }
        });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (ear, heard) = watch::channel(Heard::default());
        let service = TraceServiceServer::new(Ear(ear));
        let serving = tokio::spawn(async move {
            let served = Server::builder().add_service(service);
            served.serve_with_incoming(TcpIncoming::from(listener)).await.expect("it serves");
        });
        Self { address, heard, serving }
    }

    /// As `trace.endpoint` wants it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until this is there in what was told.
    pub(crate) async fn heard<T>(&self, pick: impl Fn(&Heard) -> Option<T>) -> T {
        let mut heard = self.heard.clone();
        let found = async {
            loop {
                if let Some(found) = pick(&heard.borrow_and_update()) {
                    return found;
                }
                heard.changed().await.expect("the collector runs");
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("it was told: {:#?}", self.heard.borrow().spans))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Told {
    /// What it says of its command.
    pub(crate) fn says(&self, key: &str) -> Option<String> {
        text(&self.span.attributes, key)
    }

    /// What it says of its node.
    pub(crate) fn node(&self, key: &str) -> Option<String> {
        text(&self.node, key)
    }
}

fn text(all: &[KeyValue], key: &str) -> Option<String> {
    let found = all.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}
