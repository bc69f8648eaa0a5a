//! What is done to MariaDB by other clients of it.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::service::Service;

/// Clients that lock rows in an order of their own.
const RIVALS: usize = 4;
/// Their transactions, one after another.
const ROUNDS: usize = 12;
/// All of it lasts at most so long, whatever they wait for.
const RIVALRY_MAX: Duration = Duration::from_secs(8);
/// The fewest connections that MariaDB can be told to take.
const CONNECTIONS_MIN: usize = 10;

/// Locks what commits lock, in the opposite order, again and again. Gives whether MariaDB had to
/// undo a transaction.
///
/// # Errors
/// MariaDB refuses.
pub(super) async fn deadlock(service: &Service) -> Result<bool> {
    let before = deadlocks(service).await?;
    // Commits lock devices, conversations, members and inboxes, in this order.
    let round = "START TRANSACTION;
        SELECT COUNT(*) FROM (SELECT user FROM im_inbox_head ORDER BY user DESC FOR UPDATE) a;
        SELECT SLEEP(0.03);
        SELECT COUNT(*) FROM (SELECT conversation FROM im_conversation
            ORDER BY conversation DESC FOR UPDATE) b;
        SELECT SLEEP(0.02);
        SELECT COUNT(*) FROM (SELECT device FROM im_device ORDER BY device DESC FOR UPDATE) c;
        ROLLBACK; SELECT SLEEP(0.1);";
    let script = format!("USE anser; SET innodb_lock_wait_timeout = 3; {}", round.repeat(ROUNDS));
    let mut rivals = Vec::new();
    for _ in 0..RIVALS {
        let mut client = service.sql_client("warden", &script);
        // One whose transaction was undone goes on with the next.
        client.arg("--force").stdout(Stdio::null()).stderr(Stdio::null());
        rivals.push(Command::from(client).kill_on_drop(true).spawn()?);
    }
    let all = async {
        for rival in &mut rivals {
            rival.wait().await?;
        }
        anyhow::Ok(())
    };
    if let Ok(ended) = timeout(RIVALRY_MAX, all).await {
        ended?;
    }
    drop(rivals);
    Ok(deadlocks(service).await? > before)
}

async fn deadlocks(service: &Service) -> Result<u64> {
    let told = service.sql("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").await?;
    let count = told.split_whitespace().last().context("MariaDB counts deadlocks")?;
    Ok(count.parse()?)
}

/// Takes all connections that MariaDB gives out, and those that nodes have, for some time.
///
/// # Errors
/// MariaDB refuses.
pub(super) async fn crowd(service: &Service, lasts: Duration) -> Result<()> {
    let nodes = "SELECT id FROM information_schema.processlist WHERE user = 'anser'";
    let ids = service.sql(nodes).await?;
    let killed: String = ids.lines().map(|id| format!("KILL {id};")).collect();
    let few = format!("SET GLOBAL max_connections = {CONNECTIONS_MIN}; {killed}");
    // Some of them may have ended by themselves.
    let mut client = service.sql_client("warden", &few);
    client.arg("--force").stdout(Stdio::null()).stderr(Stdio::null());
    Command::from(client).kill_on_drop(true).status().await?;

    let until = Instant::now() + lasts;
    let mut held: Vec<Child> = Vec::new();
    while Instant::now() < until {
        // Nodes were faster at some; whoever was refused tries again.
        held.retain_mut(|one| matches!(one.try_wait(), Ok(None)));
        while held.len() < CONNECTIONS_MIN {
            let mut client = service.sql_client("anser", "SELECT SLEEP(60)");
            client.stdout(Stdio::null()).stderr(Stdio::null());
            held.push(Command::from(client).kill_on_drop(true).spawn()?);
        }
        sleep(Duration::from_millis(200)).await;
    }
    drop(held);
    loop {
        // Until one of those who hold connections has let go.
        match service.sql("SET GLOBAL max_connections = 500").await {
            Ok(_) => return Ok(()),
            Err(error) if !error.to_string().contains("Too many") => return Err(error),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
