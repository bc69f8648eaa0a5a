//! What is done to the services.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{Services, service::Service, sql};
use crate::torture::{
    fault::{Harm, Service as Kind, system},
    host,
    random::Random,
    trouble::{CLOCK_HOURS, STOPS},
};

/// Longest SIGSTOP; most are much shorter. Nothing is acked while MariaDB is stopped.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A service that a failed sync should have ended is killed after this time.
const DEATH_MAX: Duration = Duration::from_secs(3);
/// MariaDB looks again for room on its disk after a minute, unless somebody restarts it.
const ROOM_MAX: Duration = Duration::from_secs(3);

/// Erlang's helpers notice within this time that it is gone.
const HELPERS_MAX: Duration = Duration::from_secs(10);

/// Does it, and undoes it. Gives whether it happened.
///
/// # Errors
/// It could not be done or undone.
pub(super) async fn strike(
    services: &mut Services,
    (kind, harm): (Kind, Harm),
    random: &mut Random,
) -> Result<bool> {
    let service = services.of(kind);
    match harm {
        Harm::Killed => {
            service.kill().await?;
            sleep(random.millis(0, 1_000)).await;
            service.start().await?;
        }
        Harm::Paused => {
            service.signal(Signal::STOP)?;
            sleep(pause(random)).await;
            service.signal(Signal::CONT)?;
        }
        Harm::Restarted => {
            service.stop().await?;
            service.start().await?;
        }
        Harm::PowerCut => {
            // As for the single server: a machine without power tells nobody anything.
            service.signal(Signal::STOP)?;
            sleep(STOPS).await;
            service.disk()?.cut_power()?;
            service.kill().await?;
            power_back(service).await?;
            service.start().await?;
        }
        Harm::Full => fill(kind, service, random).await?,
        Harm::Unsynced => {
            let mut strace = host::sync_breaker(service.pid()?)?;
            let died = service.dies_within(DEATH_MAX).await?;
            strace.kill().await?;
            service.kill().await?;
            service.start().await?;
            return Ok(died);
        }
        Harm::Misdated => {
            let hours = CLOCK_HOURS[random.below(CLOCK_HOURS.len())];
            host::set_clock(service.folder(), hours * 3_600)?;
            sleep(random.millis(1_500, 3_000)).await;
            host::set_clock(service.folder(), 0)?;
        }
        Harm::Flushed => _ = service.redis_command("FLUSHALL").await?,
        Harm::Redelivers => return redeliver(service, random).await,
        Harm::Blocked => {
            service.control(&["set_vm_memory_high_watermark", "0.000001"]).await?;
            sleep(random.millis(2_000, 4_000)).await;
            service.control(&["set_vm_memory_high_watermark", "0.4"]).await?;
        }
        Harm::Deadlocked => return sql::deadlock(service).await,
        Harm::Crowded => sql::crowd(service, random.millis(2_000, 4_000)).await?,
    }
    Ok(true)
}

/// Helpers of a process that was killed hold files for a moment longer.
async fn power_back(service: &Service) -> Result<()> {
    let until = Instant::now() + HELPERS_MAX;
    while let Err(error) = service.disk()?.power_back() {
        if Instant::now() > until {
            return Err(error);
        }
        sleep(STOPS).await;
    }
    Ok(())
}

/// Mostly short: the sixth power of an even share has a seventh of it as its mean.
pub(super) fn pause(random: &mut Random) -> Duration {
    let share = random.share().powi(6);
    Duration::from_secs(1) + (PAUSE_MAX - Duration::from_secs(1)).mul_f64(share)
}

/// The disk is filled to the last byte, and there is room again. Then a service that does not go on
/// by itself is restarted, as its operator would: RabbitMQ without its data, of which a full disk
/// leaves damaged queues.
async fn fill(kind: Kind, service: &mut Service, random: &mut Random) -> Result<()> {
    service.disk()?.fill(0)?;
    sleep(random.millis(1_000, 3_000)).await;
    service.disk()?.make_room()?;
    match kind {
        Kind::MariaDb => {
            let probe = service.sql("CREATE OR REPLACE TABLE anser.torture_probe (id INT)");
            let goes_on = tokio::time::timeout(ROOM_MAX, probe).await;
            if goes_on.is_ok_and(|probed| probed.is_ok()) {
                return Ok(());
            }
            service.kill().await?;
        }
        Kind::RabbitMq => {
            service.kill().await?;
            service.empty()?;
        }
        Kind::Redis => bail!("Redis has no disk"),
    }
    service.start().await
}

/// Ends all connections of RabbitMQ: by its own means, or by the kernel's.
async fn redeliver(service: &Service, random: &mut Random) -> Result<bool> {
    if random.below(2) == 0 {
        service.control(&["close_all_connections", "torture"]).await?;
        return Ok(true);
    }
    let filter = format!("sport = :{}", service.port());
    let mut kill = service.host.command("ss");
    match system(kill.args(["-K", "-t", "-n", "-H"]).arg(filter)) {
        Ok(killed) => Ok(!killed.trim().is_empty()),
        // It needs root.
        Err(_) => {
            let closed = service.control(&["close_all_connections", "torture"]).await;
            closed.context("closing the connections of RabbitMQ").map(|_| true)
        }
    }
}
