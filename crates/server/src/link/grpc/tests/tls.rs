//! The link over TLS: who has no certificate of the authority hears nothing and rings nothing, even
//! if it knows the secret.

use futures_util::FutureExt as _;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tonic::transport::Endpoint;

use super::*;
use crate::{config, link::grpc::wire::link_client::LinkClient};

/// Signs the certificates of a cluster.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a host, and its key.
    fn sign(&self, host: &str) -> (String, String) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn node(&self, host: &str) -> Credentials {
        let (certificate, key) = self.sign(host);
        self.shows(&certificate, &key)
    }

    /// Believes this authority, whoever signed what it shows.
    fn shows(&self, certificate: &str, key: &str) -> Credentials {
        let ca = self.certificate.as_bytes();
        let tls = Tls::new(ca, certificate.as_bytes(), key.as_bytes()).unwrap();
        Credentials { secret: secret(), tls: Some(tls) }
    }
}

#[tokio::test]
async fn two_nodes_of_one_authority_talk_and_nothing_is_in_the_clear() {
    let authority = Authority::new();
    let connector = Connector::with(authority.node("127.0.0.1")).await;
    let caller = Caller::with(authority.node("127.0.0.1"), vec![connector.node()]);
    connector.looks().await;
    caller.link.ack(connector.id, DeviceId(7), 12);
    until("it is told", async || connector.bell.told() == [Told::Ack(DeviceId(7), 12)]).await;
    let clear = Endpoint::from_shared(format!("http://{}", connector.address)).unwrap();
    let Ok(clear) = clear.connect().await else { return };
    let refused = LinkClient::new(clear).ring(futures_util::stream::pending()).await;
    assert!(refused.is_err(), "it speaks to who speaks no TLS");
}

/// All of them know the secret.
#[tokio::test]
async fn who_shows_another_certificate_or_none_is_not_linked() {
    let (authority, other) = (Authority::new(), Authority::new());
    let connector = Connector::with(authority.node("127.0.0.1")).await;
    let network = Network::to(connector.address.clone()).await;
    let node = || connector.node_behind(&network.address().to_string());
    let (foreign, key) = other.sign("127.0.0.1");
    // It believes the connector, which does not believe it.
    let _stranger = Caller::with(authority.shows(&foreign, &key), vec![node()]);
    until("it is tried again", async || network.opened() >= 2).await;
    // It says of itself that it is in the clear, and would be believed.
    let pretends = Node { link_tls: false, ..node() };
    let before = network.opened();
    let _plain = Caller::new(vec![pretends]);
    until("it is tried", async || network.opened() >= before + 2).await;
    assert!(connector.missed.notified().now_or_never().is_none(), "somebody was linked");
}

#[tokio::test]
async fn a_connector_with_a_foreign_certificate_is_told_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (foreign, key) = other.sign("127.0.0.1");
    let strangers = [
        // Signed by another authority; it would take everybody's ring.
        Connector::with(other.shows(&foreign, &key)).await,
        // For another host.
        Connector::with(authority.node("connector.example.com")).await,
    ];
    for stranger in strangers {
        let network = Network::to(stranger.address.clone()).await;
        let node = stranger.node_behind(&network.address().to_string());
        let caller = Caller::with(authority.node("127.0.0.1"), vec![node]);
        caller.link.ack(stranger.id, DeviceId(1), 1);
        until("it is tried again", async || network.opened() >= 2).await;
        assert!(stranger.missed.notified().now_or_never().is_none(), "it was linked");
        assert_eq!(stranger.bell.told(), []);
    }
}

/// Neither end goes down to what the other one speaks.
#[tokio::test]
async fn with_and_without_tls_do_not_meet() {
    let authority = Authority::new();
    let plain = Connector::new().await;
    let network = Network::to(plain.address.clone()).await;
    let node = plain.node_behind(&network.address().to_string());
    let own = Connector::with(authority.node("127.0.0.1")).await;
    let caller = Caller::with(authority.node("127.0.0.1"), vec![node, own.node()]);
    caller.link.close(&[DeviceId(1)], Code::Unauthenticated);
    until("its own is told", async || own.bell.told().len() == 1).await;
    assert_eq!(network.opened(), 0, "it is not even dialled");
    assert_eq!(plain.bell.told(), []);
}

#[test]
fn files_that_are_no_certificates_are_told() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let (_, other_key) = authority.sign("127.0.0.1");
    let ca = authority.certificate;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| Some(folder.path().join(name));
    let link = config::Link {
        tls_ca: at("ca.pem"),
        tls_cert: at("node.pem"),
        tls_key: at("node.key"),
        ..config::Link::default()
    };
    let read = |ca: &str, certificate: &str, key: &str| {
        for (name, text) in [("ca.pem", ca), ("node.pem", certificate), ("node.key", key)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Tls::of(&link).map(|tls| tls.is_some())
    };
    assert!(read(&ca, &certificate, &key).unwrap());
    for (ca, certificate, key) in [
        ("", &*certificate, &*key),
        ("no PEM", &certificate, &key),
        (&ca, "", &key),
        (&ca, &certificate, ""),
        (&ca, &certificate, &other_key),
    ] {
        let refused = read(ca, certificate, key).unwrap_err().to_string();
        assert!(refused.contains("must be PEM files"), "{refused}");
    }
    std::fs::remove_file(folder.path().join("node.key")).unwrap();
    let refused = Tls::of(&link).unwrap_err().to_string();
    assert!(refused.contains("link.tls_key = ") && refused.contains("node.key"), "{refused}");
}
