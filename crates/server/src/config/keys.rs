//! Every key of the configuration, once: name, default, meaning, and how its text becomes a value.
//! The file, the environment, the flags and `anser config default` all read this table.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;

use super::{Bucket, Config, Registration, Secret, ServiceUrl, Share};
use crate::proxy::TrustedProxies;

/// One key.
pub struct Key {
    /// The table in the file.
    pub section: &'static str,
    /// The name in that table.
    pub name: &'static str,
    /// The default, as it would be written in the file.
    pub default: &'static str,
    /// What it means, with unit and reason.
    pub doc: &'static str,
    /// Parses a text into the configuration; the error says what a right text looks like.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Key {
    /// Its value is shown to nobody.
    pub(super) fn is_secret(&self) -> bool {
        self.name.contains("secret")
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("ANSER_{}__{}", self.section, self.name).to_uppercase()
    }

    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

macro_rules! keys {
    ($($section:ident . $name:ident = $default:literal, $parse:expr, $doc:literal;)*) => {
        /// All keys, in the order in which they are shown.
        pub const KEYS: &[Key] = &[$(Key {
            section: stringify!($section),
            name: stringify!($name),
            default: $default,
            doc: $doc,
            set: |config, text| {
                config.$section.$name = $parse(text)?;
                Ok(())
            },
        },)*];
    };
}

keys! {
    node.roles = "[\"connector\", \"transfer\", \"api\"]", str::parse,
        "What this process does: \"connector\" (holds the clients' connections), \"transfer\" (sequences,\nstores and routes what they send), \"api\" (REST). All of them: a whole server. Fewer make it a node of\na cluster, which needs store.url, presence.url and queue.url.";
    node.name = "\"\"", optional,
        "What `anser node list` calls this process; empty: its host name and process id.";
    node.data_dir = "\"data\"", path,
        "Folder of the database, the secrets and the admin socket. Relative to the folder that the\nserver is started in.";
    node.insecure_public = "false", boolean,
        "Lets the server listen on addresses that other machines reach, without TLS. Set it only behind\na proxy that speaks TLS, or in a network that you trust.";
    node.trusted_proxies = "[]", proxies,
        "Addresses or networks of your proxies, such as [\"10.0.0.7\", \"192.168.4.0/24\"]. From them the\nclient's address is taken as they tell it: by the PROXY protocol (version 1 or 2) on connector.listen,\nby X-Forwarded-For over HTTP. Without it all clients of a proxy share the limits per address.";
    node.shutdown_timeout = "\"10s\"", duration,
        "Most time from SIGTERM to the end of the process. Nothing acked is lost when it is over.";
    node.core_dumps = "false", boolean,
        "Lets a crash leave a core dump, and the server's own user trace it with strace, gdb or perf. A dump\nholds keys and tokens, so set it only while you look for a fault. Root may trace it anyway.";

    connector.listen = "\"127.0.0.1:7400\"", address,
        "Where clients hold their connections: TCP frames and WebSocket (/v1/connect) on one port.";
    connector.advertise = "\"\"", optional,
        "host:port that clients are told to connect to; empty: the listening address. Set it behind a\nproxy or a port mapping.";
    connector.heartbeat = "\"30s\"", duration,
        "Clients ping so often; 2.5 of them without a frame end a connection. Shorter finds dead clients\nsooner, longer saves batteries; below 60s most routers keep the connection.";
    connector.hello_timeout = "\"5s\"", duration,
        "A client that has not said who it is within this time is disconnected.";
    connector.write_timeout = "\"30s\"", duration,
        "A client that does not take what is written for so long is disconnected; it resumes later.";
    connector.connections_per_user = "16", number,
        "Open connections of one user. A person has a phone, a laptop, a few browser tabs.";
    connector.unauthenticated_per_address = "50", number,
        "Connections of one network address that have not said a valid Hello yet.";
    connector.frame_bytes_max = "\"64 KiB\"", bytes_usize,
        "Largest frame that is read. At least four times body_bytes_max is sensible.";
    connector.body_bytes_max = "\"16 KiB\"", bytes_usize,
        "Largest sealed message body. Longer texts belong into files.";
    connector.commands_per_second = "20", number,
        "Sustained commands per second of one connection; a faster one is read more slowly. Nobody types\nfaster.";
    connector.commands_burst = "60", number,
        "Commands that may come at once before that, such as an outbox after a flight.";

    api.listen = "\"127.0.0.1:7401\"", address,
        "Where REST listens (/v1, and a page about it at /docs).";
    api.registration = "\"open\"", registration,
        "Who may make an account: \"open\" (everybody), \"invite\" (with a code from `anser user invite`),\n\"closed\" (nobody: `anser user add` and the server API).";
    api.cors_origins = "[]", list,
        "Web origins whose pages may call REST from a browser, such as [\"https://chat.example.com\"].";
    api.request_bytes_max = "\"64 KiB\"", bytes_usize,
        "Largest request body.";
    api.logins_per_minute = "10", number,
        "Failed logins per user name and per network address within a minute.";
    api.devices_per_user = "64", number,
        "Sessions of one user, all devices that ever logged in and were not logged out.";
    api.relations_per_user = "5000", number,
        "Friends and open requests of one user.";
    api.page_max = "200", number,
        "Most items of one page; a request for more is refused.";

    ops.listen = "\"127.0.0.1:7402\"", address,
        "Where /livez, /readyz and /metrics listen. For this machine's monitoring, not for clients.";

    store.url = "\"\"", store_url,
        "mysql://user:password@host:port/database of a MySQL 8 or MariaDB 10.6 server (or later ones) that\nholds the data; empty: the embedded database in the data folder. The database must exist, its tables\nare made. Across a network put ?ssl-mode=VERIFY_IDENTITY&ssl-ca=FILE behind it. The password is better\ngiven by the variable than in this file.";
    store.memory_bytes = "\"128 MiB\"", bytes,
        "Memory for caches and write buffers of the embedded database. More makes reading old history faster.";
    store.disk_floor_bytes = "\"512 MiB\"", bytes,
        "Below this free space new commands are refused, so that what is stored stays safe.";

    queue.url = "\"\"", queue_url,
        "amqp://user:password@host:port/vhost of a RabbitMQ server (3.10 or later) that hands commands over\nfrom connectors to transfers; empty: each process commits what its own connections send.";
    queue.name = "\"anser\"", name,
        "What the names of its queues begin with. Two clusters on one RabbitMQ need two.";
    queue.partitions = "8", number,
        "How many queues, and so how many transfers share the work at most: each has one commit at a time.\nAll nodes must say the same; to change it, stop all connectors, let the transfers empty the queues,\nthen start with the new number.";

    presence.url = "\"\"", presence_url,
        "redis://user:password@host:port/database of a Redis server (6.2 or later) that knows the nodes of\nthe cluster and who is connected where; empty: this process finds out by looking at the store. It\nmay lose everything at any time; messages are then up to 5 s late.";
    presence.name = "\"anser\"", name,
        "What its keys begin with. Two clusters on one Redis need two.";

    link.listen = "\"127.0.0.1:7403\"", address,
        "Where a connector of a cluster hears what other nodes committed (gRPC). For nodes, not for clients:\nthey must know the cluster's secret.";
    link.advertise = "\"\"", optional,
        "host:port by which the other nodes reach link.listen; empty: the listening address.";
    link.tls_ca = "\"\"", optional_path,
        "PEM file with the certificates of the authority that signed link.tls_cert of every node: a private\none, for nothing else. Set all three keys on all nodes and the link is over TLS, each end with a\ncertificate; set none and it is in the clear. The cluster's secret is asked for either way.";
    link.tls_cert = "\"\"", optional_path,
        "PEM file with this node's certificate, for the host name or address that it is advertised by, and\nfor the use as server and as client. Read at the start.";
    link.tls_key = "\"\"", optional_path,
        "PEM file with the key of link.tls_cert.";

    files.store = "\"\"", bucket,
        "s3://bucket/prefix in any S3-compatible store for the bytes of files; empty: a folder.";
    files.path = "\"\"", optional_path,
        "The folder of files, when files.store is empty; empty: \"files\" in the data folder.";
    files.shared = "false", boolean,
        "Several servers use files.path: one folder that is mounted on all of them, on a file system whose\nlocks (flock) hold between them. Needed with store.url, unless files are in files.store.";
    files.s3_endpoint = "\"\"", optional,
        "URL of the store, such as http://10.0.0.9:9000; empty: Amazon's for the region.";
    files.s3_region = "\"us-east-1\"", text,
        "Region of the bucket. Stores that have none take any.";
    files.s3_access_key_id = "\"\"", text,
        "Name of the key for the bucket.";
    files.s3_secret_access_key = "\"\"", secret,
        "The key itself. Better given by the variable than in this file.";
    files.bytes_max = "\"4 GiB\"", bytes,
        "Largest file that is taken, sealed (28 bytes more for each 64 KiB).";
    files.user_bytes_max = "\"20 GiB\"", bytes,
        "Room for all files of one user together. A file that a message names stays as long as the message.";
    files.unsent_kept = "\"7d\"", duration,
        "A file that was uploaded and that no message names is removed after this time.";
    files.unfinished_kept = "\"1d\"", duration,
        "An upload that got no bytes for this time is removed.";

    retention.inbox = "\"30d\"", duration,
        "Inbox entries older than this that all devices have got are pruned. The history of conversations\nis not touched. A device that was away for longer starts from a snapshot.";

    trace.endpoint = "\"\"", collector,
        "http://host:port or https://host:port of a collector of traces (OpenTelemetry, OTLP over gRPC,\nmostly port 4317); empty: no traces. A collector that is away costs nothing but its spans.";
    trace.sample = "0.001", share,
        "Share of the commands of this node's connections that are followed, from 0 to 1. Nodes go on with\nwhat another one follows, whatever their own share is. Each followed command costs about four spans.";

    log.json = "false", boolean,
        "Log lines as JSON objects instead of text.";
    log.level = "\"info\"", level,
        "How much is logged: \"error\", \"warn\", \"info\", \"debug\" or \"trace\". Never message texts or tokens.";
}

fn parsed<T: FromStr>(text: &str, like: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not {like}"))
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.into()) }
}

fn boolean(text: &str) -> Result<bool, String> {
    parsed(text, "true or false")
}

fn address(text: &str) -> Result<SocketAddr, String> {
    parsed(text, "an address and port like 127.0.0.1:7400 or [::1]:7400")
}

fn number<T: FromStr + PartialEq + Default>(text: &str) -> Result<T, String> {
    let number = parsed(text, "a whole number")?;
    if number == T::default() { Err("must be at least 1".into()) } else { Ok(number) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text);
    let duration =
        duration.map_err(|_| format!("\"{text}\" is not a duration like 30s, 5m, 2h or 30d"))?;
    if duration.is_zero() { Err("must be longer than 0".into()) } else { Ok(duration) }
}

fn bytes(text: &str) -> Result<u64, String> {
    let size = parse_size::parse_size(text);
    size.map_err(|_| format!("\"{text}\" is not a size like 512 KiB, 64 MiB or 1 GiB"))
}

fn bytes_usize(text: &str) -> Result<usize, String> {
    let size = usize::try_from(bytes(text)?).map_err(|_| "is too large".to_owned())?;
    if size < 1024 { Err("must be at least 1 KiB".into()) } else { Ok(size) }
}

fn optional(text: &str) -> Result<Option<String>, String> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn store_url(text: &str) -> Result<Option<ServiceUrl>, String> {
    service_url(text, "mysql://", "user:password@host:port/database")
}

fn queue_url(text: &str) -> Result<Option<ServiceUrl>, String> {
    service_url(text, "amqp://", "user:password@host:port/vhost")
}

fn presence_url(text: &str) -> Result<Option<ServiceUrl>, String> {
    service_url(text, "redis://", "user:password@host:port/database")
}

fn service_url(text: &str, scheme: &str, rest: &str) -> Result<Option<ServiceUrl>, String> {
    match text {
        "" => Ok(None),
        url if url.starts_with(scheme) => Ok(Some(ServiceUrl::new(url))),
        // Not the text itself: there may be a password in it.
        _ => Err(format!("is not of the form {scheme}{rest}")),
    }
}

/// RabbitMQ takes names of 255 bytes, and a queue's has its number behind this.
const NAME_BYTES_MAX: usize = 100;

fn name(text: &str) -> Result<String, String> {
    let fits = |sign: char| sign.is_ascii_alphanumeric() || "._-".contains(sign);
    if text.is_empty() || !text.chars().all(fits) {
        return Err(format!("\"{text}\" is not a name of letters, digits, dots and hyphens"));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("is longer than {NAME_BYTES_MAX} characters"));
    }
    Ok(text.to_owned())
}

fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

fn optional_path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| text.into()))
}

fn bucket(text: &str) -> Result<Option<Bucket>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let address = address.filter(|(bucket, _)| !bucket.is_empty() && !bucket.contains('@'));
    let (bucket, prefix) = address.ok_or("is not of the form s3://bucket/prefix")?;
    Ok(Some(Bucket { bucket: bucket.into(), prefix: prefix.trim_end_matches('/').into() }))
}

fn list(text: &str) -> Result<Vec<String>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Ok(items.map(str::to_owned).collect())
}

fn proxies(text: &str) -> Result<TrustedProxies, String> {
    let network = |item: &String| {
        let host = item.parse().map(|host: IpAddr| IpNet::from(host));
        host.or_else(|_| item.parse::<IpNet>())
    };
    let networks = list(text)?.iter().map(network).collect::<Result<_, _>>();
    let networks = networks
        .map_err(|_| format!("\"{text}\" is no list of addresses or networks like 10.0.0.0/8"))?;
    Ok(TrustedProxies::new(networks))
}

fn registration(text: &str) -> Result<Registration, String> {
    match text {
        "open" => Ok(Registration::Open),
        "invite" => Ok(Registration::Invite),
        "closed" => Ok(Registration::Closed),
        _ => Err(format!("\"{text}\" is not one of open, invite, closed")),
    }
}

fn collector(text: &str) -> Result<Option<String>, String> {
    let fits = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    if !text.is_empty() && (!fits || text.contains('@')) {
        return Err("is not of the form http://host:port or https://host:port".into());
    }
    optional(text)
}

fn share(text: &str) -> Result<Share, String> {
    let share = text.parse().ok().and_then(Share::new);
    share.ok_or_else(|| format!("\"{text}\" is not a number from 0 to 1"))
}

fn level(text: &str) -> Result<String, String> {
    match text {
        "error" | "warn" | "info" | "debug" | "trace" => Ok(text.to_owned()),
        _ => Err(format!("\"{text}\" is not one of error, warn, info, debug, trace")),
    }
}
