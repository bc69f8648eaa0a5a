//! What an operator should know of a Redis server before a cluster relies on it.

use std::time::{Duration, Instant};

use redis::{AsyncConnectionConfig, Client, InfoDict, RedisError};

use crate::clock;

/// An operator waits longer than a Hello.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The server's version.
    pub version: String,
    /// Of one round trip.
    pub latency: Duration,
    /// How far the clock of Redis is ahead of this machine's, in milliseconds. Nothing depends on
    /// it, but it tells of a clock that is wrong.
    pub clock_ahead_ms: i64,
    /// The policy by which it evicts keys when its memory is full, if it has a bound and does:
    /// sessions then are not found, and messages come later.
    pub evicts: Option<String>,
}

/// Asks the server.
///
/// # Errors
/// It does not answer within 3 s, or refuses.
pub async fn check(url: &str) -> Result<Check, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    let client = Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let info: InfoDict = redis::cmd("INFO").query_async(&mut connection).await?;
    let (asked, asked_ms) = (Instant::now(), clock::now_ms());
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
    let latency = asked.elapsed();
    let theirs = i64::try_from(seconds * 1000 + micros / 1000).unwrap_or(i64::MAX);
    let ours = asked_ms + super::ms(latency / 2);
    let memory_max: u64 = info.get("maxmemory").unwrap_or(0);
    let policy: Option<String> = info.get("maxmemory_policy");
    Ok(Check {
        version: info.get("redis_version").unwrap_or_default(),
        latency,
        clock_ahead_ms: theirs - i64::try_from(ours).unwrap_or(i64::MAX),
        evicts: policy.filter(|policy| memory_max > 0 && policy != "noeviction"),
    })
}
