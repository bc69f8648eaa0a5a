//! What a cluster stands on beside its store: RabbitMQ and Redis.

use anser_client::proto::NodeId;
use anser_server::{
    config::{Config, ServiceUrl},
    presence::redis,
    queue::rabbitmq::{self, Fits, Options, QueueReport},
    secrets,
};

use super::{Finding, fail, ok, warn};

/// Clocks that differ by more make the times of messages strange.
const CLOCK_SKEW_MAX_MS: u64 = 2_000;
/// Messages in one queue that show that its transfers do not keep up: each is a batch.
const BACKLOG: u32 = 1_000;

/// Checks what the configuration names.
pub(super) async fn check(config: &Config, findings: &mut Vec<Finding>) {
    if let Some(url) = &config.presence.url {
        presence(url, findings).await;
        findings.push(secret(config));
    }
    if let Some(url) = &config.queue.url {
        queue(config, url, findings).await;
    }
}

fn secret(config: &Config) -> Finding {
    let what = "cluster secret";
    let file = secrets::cluster_secret_file(&config.node.data_dir);
    if file.exists() {
        return ok(what, "it is there");
    }
    let hint = "copy the folder `secrets` of another node; the first one made it by `anser init \
                --cluster`";
    fail(what, format!("{} is missing", file.display()), hint)
}

async fn presence(url: &ServiceUrl, findings: &mut Vec<Finding>) {
    let what = "presence";
    let found = match redis::check(url.reveal()).await {
        Ok(found) => found,
        Err(error) => {
            let hint = "see presence.url; until then messages can be 5 s late";
            return findings.push(fail(what, format!("Redis: {error}"), hint));
        }
    };
    let text = format!("Redis {}, {} us away", found.version, found.latency.as_micros());
    findings.push(match &found.evicts {
        None => ok(what, text),
        Some(policy) => {
            let hint = "set maxmemory-policy noeviction; sessions that are evicted hear 5 s late";
            warn(what, format!("{text}, evicts keys ({policy})"), hint)
        }
    });
    let (what, ahead) = ("clock", found.clock_ahead_ms);
    findings.push(match ahead.unsigned_abs() {
        ..=CLOCK_SKEW_MAX_MS => ok(what, format!("{ahead} ms from that of Redis")),
        _ => warn(
            what,
            format!("{ahead} ms from that of Redis"),
            "run an NTP service on all machines",
        ),
    });
}

async fn queue(config: &Config, url: &ServiceUrl, findings: &mut Vec<Finding>) {
    let what = "queue";
    let options = Options {
        name: config.queue.name.clone(),
        partitions: config.queue.partitions,
        ..Options::new(url.reveal().to_owned(), String::new(), NodeId::random())
    };
    let found = match rabbitmq::check(&options).await {
        Ok(found) => found,
        Err(error) => {
            let hint = "see queue.url; until then no message is sent";
            return findings.push(fail(what, format!("RabbitMQ: {error}"), hint));
        }
    };
    let version = found.version.as_deref().unwrap_or("of an unknown version");
    findings.push(match &found.blocked {
        None => ok(what, format!("RabbitMQ {version}")),
        Some(why) => {
            let text = format!("RabbitMQ {version} takes no messages: {why}");
            fail(what, text, "give it memory or disk, or raise its watermarks")
        }
    });
    if let Fits::No(why) = &found.agrees {
        let hint = "set queue.partitions as on the other nodes";
        findings.push(fail(what, why.clone(), hint));
    }
    findings.extend(found.partitions.iter().filter_map(partition));
    let made = found.partitions.iter().filter(|one| one.fits != Fits::Missing).count();
    findings.push(match made {
        0 => warn(what, "its queues are not there yet", "the first node that starts makes them"),
        _ => ok(what, format!("{made} of {} partitions", found.partitions.len())),
    });
}

/// What is wrong with a partition.
fn partition(one: &QueueReport) -> Option<Finding> {
    let (what, name) = ("partition", &one.name);
    if let Fits::No(why) = &one.fits {
        let hint = "stop the nodes, let it run empty, delete it, and start them";
        return Some(fail(what, format!("{name} has other arguments: {why}"), hint));
    }
    if one.fits == Fits::Broken {
        let text = format!("RabbitMQ does not serve {name}: its users can not send");
        let hint = "if it stays so the queue is damaged: see \"A queue that RabbitMQ can not serve\" \
                    in docs/cluster.md";
        return Some(fail(what, text, hint));
    }
    if one.fits == Fits::Yes && one.consumers == 0 {
        let hint = "start a node with the role transfer";
        return Some(fail(what, format!("{name} has no consumer: its messages wait"), hint));
    }
    (one.messages > BACKLOG).then(|| {
        let text = format!("{} batches wait in {name}", one.messages);
        warn(what, text, "start more transfers, or look at what the store takes so long for")
    })
}
