//! The side of a connector: takes the streams of the nodes that commit, and rings.

use std::{io, net::SocketAddr, sync::Arc};

use anser_proto::NodeId;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};
use tracing::{info, warn};

use super::{
    Credentials, HANDSHAKE_TIMEOUT, MESSAGE_BYTES_MAX, PING_EVERY, PING_TIMEOUT, Secret, Tls,
    WINDOW_BYTES,
    message::Rings,
    metrics::Counted,
    secret::{End, Talk, is_nonce, nonce},
    wire::{
        Challenge, FromCaller, FromConnector, Ready, from_caller, from_connector,
        link_server::{Link, LinkServer},
    },
};
use crate::link::Doorbell;

/// Streams of one connection; a caller needs one.
const STREAMS_MAX: u32 = 4;

/// Where other nodes ring, bound to its port.
pub struct Listener {
    listener: TcpListener,
    tls: Option<Tls>,
    connector: Connector,
}

#[derive(Clone)]
struct Connector {
    here: NodeId,
    secret: Secret,
    doorbell: Arc<dyn Doorbell>,
    /// Something may have been missed: look at the store.
    missed: Arc<Notify>,
    stopping: CancellationToken,
}

impl Listener {
    /// Binds the port. `missed` is notified whenever something may not have been told: at each new
    /// stream, and when a caller had more to tell than could wait.
    ///
    /// # Errors
    /// The address can not be bound.
    pub async fn bind(
        address: SocketAddr,
        credentials: Credentials,
        here: NodeId,
        doorbell: Arc<dyn Doorbell>,
        missed: Arc<Notify>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let Credentials { secret, tls } = credentials;
        let stopping = CancellationToken::new();
        let connector = Connector { here, secret, doorbell, missed, stopping };
        Ok(Self { listener, tls, connector })
    }

    /// The bound address.
    ///
    /// # Errors
    /// The operating system does not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Rings until `stop`, then ends all streams.
    ///
    /// # Errors
    /// The port failed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), tonic::transport::Error> {
        let Self { listener, tls, connector } = self;
        let stopping = connector.stopping.clone();
        let service = LinkServer::new(connector).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let stop = async move {
            stop.await;
            stopping.cancel();
        };
        let server = match tls {
            Some(tls) => tls.demand(Server::builder())?,
            None => Server::builder(),
        };
        server
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .add_service(service)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop)
            .await
    }
}

#[tonic::async_trait]
impl Link for Connector {
    type RingStream = BoxStream<'static, Result<FromConnector, Status>>;

    async fn ring(
        &self,
        request: Request<Streaming<FromCaller>>,
    ) -> Result<Response<Self::RingStream>, Status> {
        let peer = request.remote_addr();
        let from = request.into_inner();
        let call =
            Call { connector: self.clone(), peer, from, stage: Stage::Opening, counted: None };
        Ok(Response::new(stream::try_unfold(call, Call::next).boxed()))
    }
}

/// One stream. It has no task of its own: the transport asks for its next answer.
struct Call {
    connector: Connector,
    peer: Option<SocketAddr>,
    from: Streaming<FromCaller>,
    stage: Stage,
    counted: Option<Counted>,
}

enum Stage {
    Opening,
    Challenged(Talk),
    Ready,
}

impl Call {
    async fn next(mut self) -> Result<Option<(FromConnector, Self)>, Status> {
        let stopping = self.connector.stopping.clone();
        let next = stopping.run_until_cancelled(self.answer()).await;
        let kind = next.unwrap_or_else(|| Err(Status::unavailable("the connector stops")))?;
        Ok(kind.map(|kind| (FromConnector { kind: Some(kind) }, self)))
    }

    /// The next answer; `None`: the caller ended the stream.
    async fn answer(&mut self) -> Result<Option<from_connector::Kind>, Status> {
        if let Stage::Ready = &self.stage {
            self.ring().await?;
            return Ok(None);
        }
        let late = |_| Status::deadline_exceeded("the handshake takes too long");
        let heard = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.from.message());
        let Some(said) = heard.await.map_err(late)?? else { return Ok(None) };
        let answer = match (&self.stage, said.kind) {
            (Stage::Opening, Some(from_caller::Kind::Opening(opening))) => {
                self.challenge(NodeId(opening.node), opening.nonce.to_vec())?
            }
            (Stage::Challenged(talk), Some(from_caller::Kind::Proof(proof))) => {
                self.check(talk, &proof.proof)?;
                info!(caller = %talk.caller, "a node is linked to this connector");
                self.stage = Stage::Ready;
                self.counted = Some(Counted::caller());
                // Whatever it rang before, nobody heard.
                self.connector.missed.notify_one();
                from_connector::Kind::Ready(Ready {})
            }
            _ => return Err(Status::invalid_argument("not what the handshake asks for")),
        };
        Ok(Some(answer))
    }

    fn challenge(
        &mut self,
        caller: NodeId,
        caller_nonce: Vec<u8>,
    ) -> Result<from_connector::Kind, Status> {
        if !is_nonce(&caller_nonce) {
            return Err(Status::invalid_argument("a nonce of another length"));
        }
        let Connector { here: connector, secret, .. } = &self.connector;
        let talk = Talk { connector: *connector, caller, connector_nonce: nonce(), caller_nonce };
        let proof = secret.proof(End::Connector, &talk).into();
        let nonce = talk.connector_nonce.clone().into();
        self.stage = Stage::Challenged(talk);
        let challenge = Challenge { node: self.connector.here.0, nonce, proof };
        Ok(from_connector::Kind::Challenge(challenge))
    }

    fn check(&self, talk: &Talk, proof: &[u8]) -> Result<(), Status> {
        if self.connector.secret.is_proof(End::Caller, talk, proof) {
            return Ok(());
        }
        let peer = self.peer.map(|peer| peer.ip());
        warn!(?peer, "somebody without the cluster's secret tried to ring");
        Err(Status::unauthenticated("not the cluster's secret"))
    }

    async fn ring(&mut self) -> Result<(), Status> {
        while let Some(said) = self.from.message().await? {
            // Another kind is of a later version.
            let Some(from_caller::Kind::Rings(rings)) = said.kind else { continue };
            let rings = Rings::from(rings);
            if rings.lost {
                self.connector.missed.notify_one();
            }
            rings.ring(&*self.connector.doorbell);
        }
        Ok(())
    }
}
