//! They need a server: `ANSER_TEST_REDIS_URL` says where. A plain `cargo test` without it leaves
//! these tests out and says so. Each has keys of its own, and leaves those of others alone.

use std::{io::Write as _, time::Instant};

use redis::aio::MultiplexedConnection;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::link::network::{Network, Weather, until};

/// A place of its own on the server.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Place {
    /// `None`, with a word about it, when no server is known.
    pub(crate) fn new() -> Option<Self> {
        let Some(url) = server() else {
            left_out();
            return None;
        };
        Some(Self { url, name: format!("anser_test_{}", NodeId::random()) })
    }

    /// A node that is connected.
    pub(crate) async fn node(&self) -> Arc<Redis> {
        self.node_at(&self.url, AS_ALWAYS).await
    }

    async fn node_at(&self, url: &str, times: Times) -> Arc<Redis> {
        let node = Redis::start_with(url, &self.name, NodeId::random(), times).unwrap();
        until("Redis answers", async || node.is_up()).await;
        node
    }

    /// A network in front of the server, and the server's URL behind it.
    pub(crate) async fn network(&self) -> (Network, String) {
        let server = self.url.trim_start_matches("redis://").trim_end_matches('/');
        let network = Network::to(server.to_owned()).await;
        let url = format!("redis://{}", network.address());
        (network, url)
    }

    /// Past Anser.
    pub(crate) async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(&*self.url).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Redis forgets everything.
    pub(crate) async fn forget(&self) {
        let mut connection = self.connect().await;
        let pattern = format!("{}:*", self.name);
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
        let delete = &mut redis::cmd("DEL");
        delete.arg("nothing").arg(keys).query_async::<()>(&mut connection).await.unwrap();
    }
}

/// Long enough for a slow machine, short enough to wait for.
const IN_A_HURRY: Times =
    Times { ttl: Duration::from_secs(3), renew_every: Duration::from_millis(200) };
const AS_ALWAYS: Times = Times { ttl: TTL, renew_every: RENEW_EVERY };
/// No turn comes within the test: what is there was put there because something was noticed.
const SELDOM: Times =
    Times { ttl: Duration::from_secs(3600), renew_every: Duration::from_secs(3600) };

fn session(user: UserId, device: DeviceId) -> LiveSession {
    LiveSession { user, device, session: SessionId::random() }
}

fn new_session() -> LiveSession {
    session(UserId::random(), DeviceId::random())
}

async fn at(redis: &Redis, user: UserId) -> Vec<NodeId> {
    let at = redis.locate(vec![user]).await.expect("Redis answers");
    at.into_iter().map(|(node, _)| node).collect()
}

#[tokio::test]
async fn the_late_end_of_an_older_session_leaves_the_newer_one() {
    let Some(place) = Place::new() else { return };
    let (one, two) = (place.node().await, place.node().await);
    let older = new_session();
    assert!(one.online(older).await.is_empty());
    let newer = session(older.user, older.device);
    assert_eq!(two.online(newer).await, [(one.here, older.session)], "it can be told");
    one.offline(older).await;
    assert_eq!(at(&one, older.user).await, [two.here]);
    // On one node, too.
    let newest = session(older.user, older.device);
    assert!(two.online(newest).await.is_empty(), "the registry tells its own");
    two.offline(newer).await;
    assert_eq!(at(&one, older.user).await, [two.here]);
    two.offline(newest).await;
    assert!(at(&one, older.user).await.is_empty());
}

#[tokio::test]
async fn another_device_is_not_replaced() {
    let Some(place) = Place::new() else { return };
    let (one, two) = (place.node().await, place.node().await);
    let phone = new_session();
    one.online(phone).await;
    assert!(two.online(session(phone.user, DeviceId::random())).await.is_empty());
    let mut both = vec![one.here, two.here];
    both.sort();
    assert_eq!(at(&one, phone.user).await, both);
}

#[tokio::test]
async fn a_session_that_is_not_renewed_ends_by_itself() {
    let Some(place) = Place::new() else { return };
    let one = place.node_at(&place.url, IN_A_HURRY).await;
    let two = place.node_at(&place.url, IN_A_HURRY).await;
    let (dead, alive) = (new_session(), new_session());
    two.online(dead).await;
    one.online(alive).await;
    let registry = Arc::new(Registry::default());
    registry.hold(alive);
    // A device of the same user on a node that lives does not keep it.
    let beside = session(dead.user, DeviceId::random());
    registry.hold(beside);
    one.online(beside).await;
    let renewal = tokio::spawn(one.clone().renew(registry));
    until("the dead node's session ends", async || at(&one, dead.user).await == [one.here]).await;
    assert_eq!(at(&two, alive.user).await, [one.here]);
    renewal.abort();
    until("its key ends", async || {
        let key = one.key(alive.user);
        let mut connection = place.connect().await;
        let exists = redis::cmd("EXISTS").arg(key).query_async::<bool>(&mut connection).await;
        !exists.unwrap()
    })
    .await;
}

/// Not only when the whole key ends, and not only because somebody writes there.
#[tokio::test]
async fn a_session_that_ended_is_not_located_and_then_removed() {
    let Some(place) = Place::new() else { return };
    let long = place.node_at(&place.url, SELDOM).await;
    let short = place.node_at(&place.url, IN_A_HURRY).await;
    let dead = new_session();
    short.online(dead).await;
    long.online(session(dead.user, DeviceId::random())).await;
    until("it ends", async || at(&long, dead.user).await == [long.here]).await;
    long.online(session(dead.user, DeviceId::random())).await;
    let mut connection = place.connect().await;
    let count = redis::cmd("ZCARD").arg(long.key(dead.user)).query_async(&mut connection).await;
    assert_eq!(count, Ok(2), "those of the node that lives");
}

#[tokio::test]
async fn what_redis_forgot_is_put_back() {
    let Some(place) = Place::new() else { return };
    let one = place.node_at(&place.url, SELDOM).await;
    let registry = Arc::new(Registry::default());
    let sessions: Vec<_> = (0..40).map(|_| new_session()).collect();
    sessions.iter().for_each(|session| registry.hold(*session));
    let _renewal = AbortOnDropHandle::new(tokio::spawn(one.clone().renew(registry)));
    let users: Vec<_> = sessions.iter().map(|session| session.user).collect();
    let all_there = async || {
        let at = one.locate(users.clone()).await.expect("Redis answers");
        at.iter().map(|(_, users)| users.len()).sum::<usize>() == users.len()
    };
    until("all are there", all_there).await;
    place.forget().await;
    until("all are there again", all_there).await;
}

#[tokio::test]
async fn what_began_while_redis_was_away_is_put_there() {
    let Some(place) = Place::new() else { return };
    let (network, url) = place.network().await;
    let (one, other) = (place.node_at(&url, SELDOM).await, place.node().await);
    let registry = Arc::new(Registry::default());
    let _renewal = AbortOnDropHandle::new(tokio::spawn(one.clone().renew(registry.clone())));
    network.becomes(Weather::Cut);
    until("it is noticed", async || !one.is_up()).await;
    let session = new_session();
    registry.hold(session);
    one.online(session).await;
    assert!(at(&other, session.user).await.is_empty());
    network.becomes(Weather::Fine);
    until("it is there", async || at(&other, session.user).await == [one.here]).await;
}

#[tokio::test]
async fn many_users_are_located_at_once() {
    let Some(place) = Place::new() else { return };
    let (one, two) = (place.node().await, place.node().await);
    let mut users = Vec::new();
    for turn in 0..2 * REQUEST_MAX / 5 {
        let session = new_session();
        let node = if turn % 2 == 0 { &one } else { &two };
        node.online(session).await;
        // Several devices of a user on one node, and users who are nowhere.
        node.online(LiveSession { device: DeviceId::random(), ..session }).await;
        users.push((node.here, session.user));
    }
    // So that each request asks for some of both.
    let strangers = || std::iter::repeat_with(UserId::random).take(9);
    let asked: Vec<_> = users.iter().flat_map(|(_, user)| strangers().chain([*user])).collect();
    assert!(asked.len() > 3 * REQUEST_MAX);
    let mut found: Vec<_> = Vec::new();
    for (node, there) in one.locate(asked).await.expect("Redis answers") {
        found.extend(there.into_iter().map(|user| (node, user)));
    }
    found.sort();
    users.sort();
    assert_eq!(found, users);
}

#[tokio::test]
async fn a_silent_redis_is_waited_for_once_and_not_long() {
    let Some(place) = Place::new() else { return };
    let (network, url) = place.network().await;
    let one = place.node_at(&url, AS_ALWAYS).await;
    network.becomes(Weather::Silent);
    // More waits than any machine is slow.
    let asked = Instant::now();
    for _ in 0..100 {
        one.online(new_session()).await;
        assert_eq!(one.locate(vec![UserId::random()]).await, None);
    }
    assert!(asked.elapsed() < connection::REQUEST_TIMEOUT * 20, "{:?}", asked.elapsed());
    assert!(!one.is_up());
    network.becomes(Weather::Fine);
    until("it comes back", async || one.is_up()).await;
}

#[tokio::test]
async fn a_refusal_is_no_absence() {
    let Some(place) = Place::new() else { return };
    let one = place.node().await;
    let session = new_session();
    let mut connection = place.connect().await;
    let mut wrong = redis::cmd("SET");
    wrong.arg(one.key(session.user)).arg("no set").arg("EX").arg(60);
    wrong.query_async::<()>(&mut connection).await.unwrap();
    assert!(one.online(session).await.is_empty());
    assert_eq!(one.locate(vec![session.user]).await, None, "it is not known");
    assert!(one.is_up());
}

#[tokio::test]
async fn starting_needs_no_redis() {
    let nowhere = Redis::start("redis://127.0.0.1:1/", "anser", NodeId::random()).unwrap();
    assert!(nowhere.online(new_session()).await.is_empty());
    assert_eq!(nowhere.locate(vec![UserId::random()]).await, None);
    assert!(!nowhere.is_up());
    assert!(Redis::start("no url", "anser", NodeId::random()).is_err());
}

#[tokio::test]
async fn a_check_tells_what_an_operator_should_know() {
    let Some(place) = Place::new() else { return };
    let check = check(&place.url).await.unwrap();
    assert!(check.version.contains('.'), "{check:?}");
    assert!(check.clock_ahead_ms.abs() < 60_000, "{check:?}");
    assert!(check.latency < Duration::from_secs(3));
}

#[expect(clippy::disallowed_methods, reason = "where the test run finds its server")]
fn server() -> Option<String> {
    std::env::var("ANSER_TEST_REDIS_URL").ok()
}

/// Says that this test is left out, past the harness, which shows the output of failed tests only.
#[expect(clippy::disallowed_methods, reason = "a switch of the test run, not of Anser")]
fn left_out() {
    let thread = std::thread::current();
    let why = format!("{} needs ANSER_TEST_REDIS_URL", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os("ANSER_TEST_ALL").is_none(), "{why}");
    let _ = std::io::stderr().write_all(format!("left out: {why}\n").as_bytes());
}
