//! Who does not know the secret rings nothing, and is told nothing.

use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{
    Code as Rpc, Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

use super::*;
use crate::link::grpc::{
    secret::{End, Talk, nonce},
    wire::{
        Ack, Challenge, FromCaller, FromConnector, Opening, Proof, Ready, Rings,
        from_caller::Kind,
        from_connector,
        link_client::LinkClient,
        link_server::{Link, LinkServer},
    },
};

/// Says these things to a connector, one by one, and gives what comes back.
async fn say(connector: &Connector, said: Vec<Kind>) -> Streaming<FromConnector> {
    let channel = format!("http://{}", connector.address);
    let mut client = LinkClient::connect(channel).await.unwrap();
    let said = said.into_iter().map(|kind| FromCaller { kind: Some(kind) });
    // The end of the stream would be a way out.
    let said = stream::iter(said).chain(stream::pending());
    client.ring(said).await.unwrap().into_inner()
}

async fn challenge(from: &mut Streaming<FromConnector>) -> Result<Challenge, Status> {
    match from.message().await?.and_then(|said| said.kind) {
        Some(from_connector::Kind::Challenge(challenge)) => Ok(challenge),
        other => panic!("no challenge: {other:?}"),
    }
}

fn opening() -> Kind {
    Kind::Opening(Opening { node: 1, nonce: nonce().into() })
}

fn rings() -> Kind {
    let acks = vec![Ack { device: 1, position: 1 }];
    Kind::Rings(Rings { acks, ..Rings::default() })
}

#[tokio::test]
async fn without_the_secret_nothing_rings() {
    let connector = Connector::new().await;
    let proof = || Kind::Proof(Proof { proof: vec![0; 32].into() });
    for (said, why) in [
        (vec![rings()], Rpc::InvalidArgument),
        (vec![proof(), rings()], Rpc::InvalidArgument),
        (vec![Kind::Opening(Opening::default())], Rpc::InvalidArgument),
        (vec![opening(), rings()], Rpc::InvalidArgument),
        (vec![opening(), opening()], Rpc::InvalidArgument),
        (vec![opening(), proof(), rings()], Rpc::Unauthenticated),
        (vec![opening(), Kind::Proof(Proof::default()), rings()], Rpc::Unauthenticated),
    ] {
        let mut from = say(&connector, said).await;
        let refused = loop {
            match from.message().await {
                Ok(Some(said)) if matches!(said.kind, Some(from_connector::Kind::Ready(_))) => {
                    panic!("it was let in")
                }
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a word"),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.code(), why);
    }
    assert_eq!(connector.bell.told(), []);
}

/// Neither the connector's own proof nor one that was overheard opens another stream.
#[tokio::test]
async fn a_proof_is_good_for_one_stream_and_one_end() {
    let connector = Connector::new().await;
    let caller_nonce = nonce();
    let opening = Opening { node: 1, nonce: caller_nonce.clone().into() };
    let mut overheard = say(&connector, vec![Kind::Opening(opening.clone())]).await;
    let first = challenge(&mut overheard).await.unwrap();
    let talk = Talk {
        connector: connector.id,
        caller: NodeId(1),
        connector_nonce: first.nonce.to_vec(),
        caller_nonce,
    };
    assert!(secret().is_proof(End::Connector, &talk, &first.proof));
    let of_caller = secret().proof(End::Caller, &talk);
    for proof in [first.proof.clone(), of_caller.into()] {
        let said = vec![Kind::Opening(opening.clone()), Kind::Proof(Proof { proof }), rings()];
        let mut from = say(&connector, said).await;
        challenge(&mut from).await.unwrap();
        assert_eq!(from.message().await.unwrap_err().code(), Rpc::Unauthenticated);
    }
    assert_eq!(connector.bell.told(), []);
}

/// A stream of which each thing is said after the last answer.
struct Line {
    to: mpsc::Sender<FromCaller>,
    from: Streaming<FromConnector>,
    talk: Talk,
    proof: Vec<u8>,
}

impl Line {
    /// Up to the connector's proof.
    async fn to(connector: &Connector) -> Self {
        let address = format!("http://{}", connector.address);
        let mut client = LinkClient::connect(address).await.unwrap();
        let (to, mut said) = mpsc::channel(3);
        let (caller, caller_nonce) = (NodeId(1), nonce());
        let opening = Opening { node: caller.0, nonce: caller_nonce.clone().into() };
        to.send(FromCaller { kind: Some(Kind::Opening(opening)) }).await.unwrap();
        let said = stream::poll_fn(move |context| said.poll_recv(context));
        let mut from = client.ring(said).await.unwrap().into_inner();
        let challenge = challenge(&mut from).await.unwrap();
        let connector_nonce = challenge.nonce.to_vec();
        let talk = Talk { connector: connector.id, caller, connector_nonce, caller_nonce };
        Self { to, from, talk, proof: challenge.proof.to_vec() }
    }

    async fn say(&self, kind: Kind) {
        self.to.send(FromCaller { kind: Some(kind) }).await.unwrap();
    }
}

/// Who says the connector's own proof of this very stream back has shown nothing.
#[tokio::test]
async fn a_proof_that_is_said_back_is_none() {
    let connector = Connector::new().await;
    let mut line = Line::to(&connector).await;
    line.say(Kind::Proof(Proof { proof: line.proof.clone().into() })).await;
    line.say(rings()).await;
    assert_eq!(line.from.message().await.unwrap_err().code(), Rpc::Unauthenticated);
    assert_eq!(connector.bell.told(), []);
}

#[tokio::test]
async fn a_connector_that_is_told_of_a_loss_looks_at_the_store() {
    let connector = Connector::new().await;
    let line = Line::to(&connector).await;
    let proof = secret().proof(End::Caller, &line.talk).into();
    line.say(Kind::Proof(Proof { proof })).await;
    connector.looks().await;
    line.say(Kind::Rings(Rings { lost: true, ..Rings::default() })).await;
    connector.looks().await;
}

#[tokio::test]
async fn a_connector_of_another_cluster_is_told_nothing() {
    let other = Connector::knowing(Secret::new(b"another secret")).await;
    let own = Connector::new().await;
    // Its id is another node's: the address was given to somebody else.
    let moved = Connector::new().await;
    let networks =
        [Network::to(other.address.clone()).await, Network::to(moved.address.clone()).await];
    let at = |network: &Network| network.address().to_string();
    let other_node = other.node_behind(&at(&networks[0]));
    let elsewhere = Node { id: NodeId::random(), ..moved.node_behind(&at(&networks[1])) };
    let caller = Caller::new(vec![other_node, own.node(), elsewhere]);
    caller.link.close(&[DeviceId(1)], Code::Unauthenticated);
    until("its own is told", async || own.bell.told().len() == 1).await;
    for (stranger, network) in [&other, &moved].into_iter().zip(&networks) {
        until("it is tried again", async || network.opened() >= 2).await;
        assert!(stranger.missed.notified().now_or_never().is_none(), "it was linked");
        assert_eq!(stranger.bell.told(), []);
    }
}

/// Knows no secret, lets everybody in, and listens.
#[derive(Clone)]
struct Impostor {
    id: NodeId,
    heard: Arc<Mutex<Vec<Kind>>>,
}

#[async_trait]
impl Link for Impostor {
    type RingStream = BoxStream<'static, Result<FromConnector, Status>>;

    async fn ring(
        &self,
        request: Request<Streaming<FromCaller>>,
    ) -> Result<Response<Self::RingStream>, Status> {
        let (mut from, heard) = (request.into_inner(), self.heard.clone());
        tokio::spawn(async move {
            while let Ok(Some(said)) = from.message().await {
                heard.lock().extend(said.kind);
            }
        });
        let (nonce, proof) = (nonce().into(), vec![0; 32].into());
        let challenge = Challenge { node: self.id.0, nonce, proof };
        let said =
            [from_connector::Kind::Challenge(challenge), from_connector::Kind::Ready(Ready {})];
        let said = said.map(|kind| Ok(FromConnector { kind: Some(kind) }));
        Ok(Response::new(stream::iter(said).chain(stream::pending()).boxed()))
    }
}

/// Who can write to Redis can say that a connector is with them.
#[tokio::test]
async fn an_impostor_is_told_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let impostor = Impostor { id: NodeId::random(), heard: Arc::default() };
    let service = LinkServer::new(impostor.clone());
    let serving =
        Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
    let _serving = AbortOnDropHandle::new(tokio::spawn(serving));
    let own = Connector::new().await;
    let node = Node { id: impostor.id, ..own.node_behind(&address) };
    let caller = Caller::new(vec![node, own.node()]);
    caller.link.deliver(vec![entry(1, 1)], None);
    until("its own is told", async || own.bell.entries().len() == 1).await;
    until("it is tried again", async || impostor.heard.lock().len() >= 2).await;
    let heard = impostor.heard.lock().clone();
    assert!(heard.iter().all(|said| matches!(said, Kind::Opening(_))), "{heard:?}");
}
