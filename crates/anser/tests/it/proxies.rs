//! The proxies of `deploy/` in front of a server: people chat through them, and limits per address
//! count the people's addresses, not the proxy's.

use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use anser_client::Transport;
use anser_proto::Frame;
use anser_server::proxy::TrustedProxies;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    time::timeout,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::{
    left_out,
    people::{PATIENCE, Person, session, storage},
    port,
    raw::{Raw, hello},
    repository,
    server::Server,
};

/// Two people's machines, as far as addresses tell.
const ONE: [u8; 4] = [127, 0, 0, 2];
const OTHER: [u8; 4] = [127, 0, 0, 3];
/// Connections that one address may have before a Hello, and its failed logins a minute.
const FEW: usize = 2;

/// A proxy in front of a server; ends with it.
struct Proxied {
    server: Server,
    /// TCP and WebSocket connections; REST.
    connections: SocketAddr,
    rest: SocketAddr,
    _proxy: Child,
}

impl Proxied {
    /// Starts `program` with its file of `deploy/`, in which only the ports are others, and
    /// HAProxy takes no more connections than a test may have files.
    async fn start(program: &str) -> Self {
        let (connections, rest) = (port::free(), port::free());
        let server = Server::start_with(|config| {
            let proxy = "127.0.0.1/32".parse().expect("a network");
            config.node.trusted_proxies = TrustedProxies::new(vec![proxy]);
            config.connector.advertise = Some(connections.to_string());
            config.connector.unauthenticated_per_address = FEW;
            // Longer than the test: nobody is refused for being silent.
            config.connector.hello_timeout = 10 * PATIENCE;
            config.api.logins_per_minute = FEW as u32;
        })
        .await;
        let folder = server.folder().to_owned();
        let (file, mut command) = (folder.join("proxy.conf"), Command::new(program));
        let (name, arguments) = match program {
            "haproxy" => ("deploy/haproxy.cfg", vec!["-db".to_owned(), "-f".to_owned()]),
            _ => {
                let global =
                    format!("daemon off; master_process off; pid {}/nginx.pid;", folder.display());
                let words = ["-e", "stderr", "-g", &global, "-c"].map(str::to_owned);
                ("deploy/nginx.conf", words.to_vec())
            }
        };
        let ports = [
            (":5400", format!(":{}", connections.port())),
            (":5401", format!(":{}", rest.port())),
            ("listen 5400", format!("listen {}", connections.port())),
            ("listen 5401", format!("listen {}", rest.port())),
            ("7400", server.connector.port().to_string()),
            ("7401", server.api.port().to_string()),
            ("7402", server.ops.port().to_string()),
            ("maxconn 100000", "maxconn 1000".to_owned()),
        ];
        let text = repository::text(name);
        let text = ports.iter().fold(text, |text, (from, to)| text.replace(from, to));
        std::fs::write(&file, text).expect("a configuration");
        command.args(arguments).arg(&file).stdin(Stdio::null()).kill_on_drop(true);
        let proxy = command.spawn().expect("the proxy starts");
        let proxied = Self { server, connections, rest, _proxy: proxy };
        timeout(PATIENCE, proxied.ready()).await.expect("the proxy starts");
        proxied
    }

    /// Waits until both of its sides answer.
    async fn ready(&self) {
        let mut every = tokio::time::interval(Duration::from_millis(20));
        let url = format!("http://{}/v1/server-info-that-is-not-there", self.rest);
        loop {
            every.tick().await;
            let answer = reqwest::get(&url).await;
            // The server's own 404, not the proxy's 503.
            if answer.is_ok_and(|answer| answer.status() == 404)
                && TcpStream::connect(self.connections).await.is_ok()
            {
                return;
            }
        }
    }

    async fn person(&self, account: &crate::support::server::Account, by: Transport) -> Person {
        let builder = anser_client::Client::builder(format!("http://{}", self.rest))
            .backoff(Duration::from_millis(5), Duration::from_millis(100))
            .transport(by)
            .storage(storage(&self.server, &format!("{}.storage", account.name)));
        Person::of(builder, session(account)).await
    }

    /// A connection from the machine with this address, on which nothing is said.
    async fn connect_from(&self, address: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((address, 0))).expect("a machine of 127/8");
        socket.connect(self.connections).await.expect("a connection")
    }

    /// The status that a login with a wrong password gets.
    async fn login_from(&self, address: [u8; 4], name: &str) -> u16 {
        let client = reqwest::Client::builder().local_address(IpAddr::from(address)).build();
        let login = anser_proto::rest::Login {
            name: name.into(),
            password: "wrong, wrong, wrong".into(),
            device_name: "test".into(),
        };
        let url = format!("http://{}/v1/sessions", self.rest);
        let answer = client.expect("a client").post(url).json(&login).send().await;
        answer.expect("an answer").status().as_u16()
    }
}

#[tokio::test]
async fn people_chat_through_haproxy() {
    if left_out::has_with("haproxy", "-v", "people_chat_through_haproxy") {
        all_through(Proxied::start("haproxy").await).await;
    }
}

#[tokio::test]
async fn people_chat_through_nginx() {
    if !left_out::has_with("nginx", "-v", "people_chat_through_nginx") {
        return;
    }
    let proxied = Proxied::start("nginx").await;
    // nginx can read the WebSocket handshake, and tells the address in it.
    let url = format!("ws://{}/v1/connect", proxied.rest);
    let request = url.into_client_request().expect("a request");
    tokio_tungstenite::connect_async(request).await.expect("a WebSocket");
    all_through(proxied).await;
}

async fn all_through(mut proxied: Proxied) {
    let (alice, bob, chat) = proxied.server.friends().await;
    let sender = proxied.person(&alice, Transport::Tcp).await;
    let mut receiver = proxied.person(&bob, Transport::WebSocket).await;
    sender.send_all(chat, &["through the proxy".to_owned()]);
    assert_eq!(receiver.text().await, "through the proxy");

    // Those who say nothing are counted where they are.
    let mut silent = Vec::new();
    for _ in 0..FEW {
        silent.push(proxied.connect_from(ONE).await);
    }
    let refused = async {
        // The proxy may hand over the connections in another order than they came.
        let mut more = proxied.connect_from(ONE).await;
        let mut byte = [0];
        let ended =
            silent.iter_mut().map(|stream| Box::pin(async { stream.read_u8().await.err() }));
        tokio::select! {
            end = more.read(&mut byte) => assert!(matches!(end, Ok(0) | Err(_)), "{end:?}"),
            _ = futures_util::future::select_all(ended) => {}
        }
    };
    timeout(PATIENCE, refused).await.expect("one of too many is refused");
    let stream = proxied.connect_from(OTHER).await;
    let mut raw = Raw::over(stream);
    raw.send(hello(&proxied.server, &alice, 0, 99).await).await;
    assert!(matches!(raw.next().await, Frame::Welcome(_) | Frame::Reset(_)), "not this one");

    for name in ["nobody", "nobody2"] {
        assert_eq!(proxied.login_from(ONE, name).await, 401);
    }
    assert_eq!(proxied.login_from(ONE, "nobody3").await, 429, "too many of this address");
    assert_eq!(proxied.login_from(OTHER, "nobody4").await, 401, "another address");

    let url = format!("http://{}/v1/server/users", proxied.rest);
    let answer = reqwest::Client::new().post(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 403, "the server API is not for everybody");
    proxied.server.stop().await;
}
