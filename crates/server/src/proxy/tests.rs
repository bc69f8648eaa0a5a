//! Who is believed, and what a header may look like.

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::*;

fn proxies() -> TrustedProxies {
    let networks = ["10.0.0.7/32", "192.168.4.0/24", "fd00::/8"];
    TrustedProxies::new(networks.map(|network| network.parse().unwrap()).to_vec())
}

fn client(peer: &str, lines: &[&'static str]) -> String {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(FORWARDED_FOR, axum::http::HeaderValue::from_static(line));
    }
    proxies().client(peer.parse().unwrap(), &headers).to_string()
}

#[test]
fn only_trusted_proxies_are_believed() {
    assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "a stranger");
    assert_eq!(client("10.0.0.7", &["198.51.100.1"]), "198.51.100.1");
    assert_eq!(client("::ffff:10.0.0.7", &["198.51.100.1"]), "198.51.100.1", "as IPv6 sees it");
    assert_eq!(client("10.0.0.7", &[]), "10.0.0.7", "a health check");
    assert_eq!(client("10.0.0.8", &["198.51.100.1"]), "10.0.0.8", "beside the network");
    assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
}

#[test]
fn what_a_client_wrote_itself_does_not_count() {
    let spoofed = "192.0.2.1, 198.51.100.1";
    assert_eq!(client("10.0.0.7", &[spoofed]), "198.51.100.1", "the last one");
    assert_eq!(client("10.0.0.7", &["192.0.2.1", "198.51.100.1"]), "198.51.100.1", "the last line");
    let chain = "192.0.2.1, 198.51.100.1, 192.168.4.200";
    assert_eq!(client("10.0.0.7", &[chain]), "198.51.100.1", "behind two proxies");
    assert_eq!(client("10.0.0.7", &["198.51.100.1, unknown"]), "10.0.0.7", "no address");
    assert_eq!(client("10.0.0.7", &["[2001:db8::1]:4711"]), "2001:db8::1");
    assert_eq!(client("10.0.0.7", &["[2001:db8::1]"]), "2001:db8::1");
    assert_eq!(client("fd00::1", &["198.51.100.1:4711"]), "198.51.100.1");
}

/// What is read of a connection that begins so, and what is left of it.
async fn read(bytes: &[u8]) -> (io::Result<Option<IpAddr>>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut receiver, _) = listener.accept().await.unwrap();
    sender.write_all(bytes).await.unwrap();
    drop(sender);
    let header = read_header(&mut receiver).await;
    let mut rest = Vec::new();
    receiver.read_to_end(&mut rest).await.unwrap();
    (header, rest)
}

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let bytes = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    let prefix = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &bytes].concat();
    [&prefix, addresses, b"GET /"].concat()
}

const IPV4: [u8; 12] = [198, 51, 100, 1, 127, 0, 0, 1, 0x12, 0x67, 0x1c, 0xe8];

#[tokio::test]
async fn a_header_is_read_and_nothing_behind_it() {
    let told = |(header, rest): (io::Result<Option<IpAddr>>, Vec<u8>)| {
        assert_eq!(rest, b"GET /");
        header.unwrap().map(|address| address.to_string())
    };
    let v4 = Some("198.51.100.1".to_owned());
    assert_eq!(told(read(&v2(0x21, 0x11, &IPV4)).await), v4);
    let extended = [&IPV4[..], &[0x04, 0, 2, 7, 7]].concat();
    assert_eq!(told(read(&v2(0x21, 0x11, &extended)).await), v4, "with an extension");
    let v6: Vec<u8> = [[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
    let v6 = [&v6[..], &[0x12, 0x67, 0x1c, 0xe8]].concat();
    assert_eq!(told(read(&v2(0x21, 0x21, &v6)).await), Some("2001:db8::1".to_owned()));
    assert_eq!(told(read(&v2(0x20, 0x00, &[])).await), None, "LOCAL: the proxy's own");
    let line = b"PROXY TCP4 198.51.100.1 127.0.0.1 4711 7400\r\nGET /";
    assert_eq!(told(read(line).await), v4);
    assert_eq!(told(read(b"PROXY UNKNOWN\r\nGET /").await), None);
    assert_eq!(told(read(b"GET /").await), None, "no header");
}

#[tokio::test]
async fn a_broken_header_is_an_error() {
    let mut long = v2(0x21, 0x11, &IPV4);
    long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    assert!(read(&long).await.0.is_err(), "longer than any");
    assert!(read(&v2(0x21, 0x11, &IPV4)[..20]).await.0.is_err(), "cut off");
    assert!(read(&v2(0x31, 0x11, &IPV4)).await.0.is_err(), "version 3");
    assert!(read(b"\r\nno signature at all").await.0.is_err());
    assert!(read(b"PROXY TCP4 198.51.100.1\r\n").await.0.is_err());
    assert!(read(&[&b"PROXY "[..], &[b' '; 200]].concat()).await.0.is_err(), "no end");
    assert!(read(b"POST / HTTP/1.1\r\n\r\n").await.0.is_err());
}
