//! The two lanes of faults: one breaks the server, the other the clients' networks and storages.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, mpsc, oneshot, watch},
    time::{Instant, sleep},
};

use super::{
    actor::Order,
    cluster::Network,
    disk::FLOOR_BYTES,
    fault::{Kind, system},
    history::{Recorder, What},
    host::Host,
    link::Link,
    plan::{Due, Schedule},
    random::Random,
    run::given,
    weather::Weather,
};

/// All is well for so long before the next fault of the server, in milliseconds: long enough to
/// measure how fast service comes back.
pub(super) const SERVER_PAUSE_MS: (u64, u64) = (1_500, 2_500);
/// The same for the clients' side.
pub(super) const LINK_PAUSE_MS: (u64, u64) = (300, 1_500);
/// A fault that is alone begins when all others have been over for so long: clients are back.
const BREATH: Duration = Duration::from_secs(3);
/// Longest SIGSTOP.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// All threads of a process have stopped this long after they were told to, but for those that wait
/// for the disk.
pub(super) const STOPS: Duration = Duration::from_millis(20);
/// Hours by which the clock jumps.
pub(super) const CLOCK_HOURS: [i64; 6] = [-72, -25, -1, 1, 25, 72];

/// Counts and numbers faults, and notes when they begin and end.
#[derive(Clone)]
pub(super) struct Troubles {
    recorder: Recorder,
    began: Instant,
    next: Arc<AtomicU64>,
    done: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    /// Held by every fault while it lasts, by one that must be alone for itself.
    peace: Arc<RwLock<()>>,
}

/// A fault that has begun.
pub(super) struct Begun {
    fault: u64,
    kind: Kind,
    at: Instant,
    _peace: Peace,
}

/// What keeps other faults away, or only those that must be alone.
enum Peace {
    Shared { _held: OwnedRwLockReadGuard<()> },
    Alone { _held: OwnedRwLockWriteGuard<()> },
}

impl Troubles {
    pub(super) fn new(recorder: Recorder) -> Self {
        let (next, done, peace) = (Arc::default(), Arc::default(), Arc::default());
        Self { recorder, began: Instant::now(), next, done, peace }
    }

    /// How often each kind happened, from its beginning to its end.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.done.lock().clone()
    }

    /// A fault begins, beside those of other lanes.
    pub(super) async fn begin(&self, kind: Kind) -> Begun {
        let peace = Peace::Shared { _held: self.peace.clone().read_owned().await };
        self.note(kind, peace)
    }

    /// A fault begins when all others are over; they wait for its end.
    pub(super) async fn begin_alone(&self, kind: Kind) -> Begun {
        let peace = Peace::Alone { _held: self.peace.clone().write_owned().await };
        sleep(BREATH).await;
        self.note(kind, peace)
    }

    fn note(&self, kind: Kind, peace: Peace) -> Begun {
        let fault = self.next.fetch_add(1, Relaxed);
        self.recorder.note(What::Fault { fault, kind: kind.name() });
        Begun { fault, kind, at: Instant::now(), _peace: peace }
    }

    /// A fault is over, and has happened.
    pub(super) fn heal(&self, begun: Begun) {
        self.recorder.note(What::Healed { fault: begun.fault });
        let lasted = begun.at.elapsed().as_secs_f64();
        let since = self.began.elapsed().as_secs_f64() - lasted;
        println!("{since:>6.1} s  {}, for {lasted:.1} s", begun.kind.name());
        *self.done.lock().entry(begun.kind.name()).or_default() += 1;
    }
}

/// Breaks the server until `over`; gives it back, mended.
///
/// # Errors
/// It could not be broken, or not be mended.
pub(super) async fn break_server(
    mut host: Host,
    mut schedule: Schedule,
    troubles: Troubles,
    mut over: watch::Receiver<bool>,
) -> Result<Host> {
    loop {
        let due = schedule.next(SERVER_PAUSE_MS);
        tokio::select! {
            biased;
            () = given(&mut over) => break,
            () = pause(due.as_ref()) => {}
        }
        host.tend().await?;
        let Some(due) = due else { continue };
        let kind = due.kind;
        let struck = strike(&mut host, due, &troubles).await;
        struck.with_context(|| format!("the fault {}", kind.name()))?;
    }
    host.tend().await?;
    Ok(host)
}

/// Without faults the server is only looked after.
pub(super) async fn pause(due: Option<&Due>) {
    sleep(due.map_or(Duration::from_millis(SERVER_PAUSE_MS.0), |due| due.pause)).await;
}

async fn strike(host: &mut Host, due: Due, troubles: &Troubles) -> Result<()> {
    let mut random = Random::of(due.seed, "fault");
    if due.kind == Kind::Restore {
        return restore(host, &mut random, troubles).await;
    }
    let begun = troubles.begin(due.kind).await;
    match due.kind {
        Kind::Kill => {
            host.kill().await?;
            sleep(random.millis(0, 1_000)).await;
        }
        Kind::KillAt(_) => {
            let name = due.kind.failpoint().context("a kind with a failpoint")?;
            host.stop().await?;
            host.start(Some(&format!("{name}:{}", 1 + random.below(40)))).await?;
            if !host.dies().await? {
                bail!("nothing happened that leads to {name}");
            }
        }
        Kind::Pause => {
            // Mostly short: the sixth power of an even share has a seventh of it as its mean.
            let share = random.share().powi(6);
            host.signal(Signal::STOP)?;
            sleep(Duration::from_secs(1) + (PAUSE_MAX - Duration::from_secs(1)).mul_f64(share))
                .await;
            host.signal(Signal::CONT)?;
        }
        Kind::DiskFull => fill_disk(host, &mut random).await?,
        Kind::SyncFails => {
            host.fail_a_sync().await?;
            if let Ok(disk) = host.disk() {
                disk.cut_power()?;
                disk.power_back()?;
            }
        }
        Kind::UnsyncedLoss => {
            // A machine without power tells nobody anything. A process that goes on while its file
            // system is shut down can: jbd2 takes the aborted transaction for a complete one, so
            // that a sync which is under way succeeds (about one cut in 40).
            host.signal(Signal::STOP)?;
            sleep(STOPS).await;
            host.disk()?.cut_power()?;
            host.kill().await?;
            host.disk()?.power_back()?;
        }
        Kind::Clock => {
            let hours = CLOCK_HOURS[random.below(CLOCK_HOURS.len())];
            host.set_clock(hours * 3_600)?;
            sleep(random.millis(1_500, 3_000)).await;
            host.set_clock(0)?;
        }
        other => bail!("{} is no fault of the server", other.name()),
    }
    // Some of them ended it, and the others may have: a stopped process that wakes up after its
    // watchdog's patience ends, and so does one whose disk is full.
    if host.is_dead()? {
        host.start(None).await?;
    }
    troubles.heal(begun);
    Ok(())
}

async fn fill_disk(host: &mut Host, random: &mut Random) -> Result<()> {
    // To below the floor, where it refuses, or to the last byte, where it may have to end.
    let left = if random.below(2) == 0 { FLOOR_BYTES / 2 } else { 0 };
    host.disk()?.fill(left)?;
    sleep(random.millis(1_000, 3_000)).await;
    host.disk()?.make_room()
}

/// The clients go on while the backup grows old; then it is restored, one time in three
/// without the bytes of files.
async fn restore(host: &mut Host, random: &mut Random, troubles: &Troubles) -> Result<()> {
    let backup = host.back_up().await?;
    sleep(random.millis(500, 2_000)).await;
    let begun = troubles.begin(Kind::Restore).await;
    host.restore(backup, random.below(3) > 0).await?;
    troubles.heal(begun);
    Ok(())
}

/// A client, as the lane of links sees it.
pub(super) struct Victim {
    pub(super) link: Arc<Link>,
    pub(super) orders: mpsc::Sender<Order>,
}

/// Breaks the clients' networks and storages until `over`.
///
/// # Errors
/// A tool failed.
pub(super) async fn break_links(
    victims: Vec<Victim>,
    network: Network,
    mut schedule: Schedule,
    troubles: Troubles,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    while let Some(due) = schedule.next(LINK_PAUSE_MS) {
        tokio::select! {
            biased;
            () = given(&mut over) => break,
            () = sleep(due.pause) => {}
        }
        let mut random = Random::of(due.seed, "fault");
        let victim = &victims[random.below(victims.len())];
        let begun = troubles.begin(due.kind).await;
        let happened = match due.kind {
            Kind::Storm => storm(&victims, &mut random).await,
            Kind::SocketKill => kill_socket(victim, &network)?,
            Kind::Wipe => victim.obeys(Order::Wipe, &mut over).await,
            Kind::OldCopy => old_copy(victim, &mut random, &mut over).await,
            other => worsen(&victim.link, other, &mut random).await,
        };
        if happened {
            troubles.heal(begun);
        }
    }
    Ok(())
}

async fn storm(victims: &[Victim], random: &mut Random) -> bool {
    for _ in 0..3 + random.below(4) {
        victims.iter().for_each(|victim| victim.link.sky.cut(false));
        sleep(random.millis(50, 300)).await;
    }
    true
}

/// Gives whether there was a socket to destroy.
fn kill_socket(victim: &Victim, network: &Network) -> Result<bool> {
    let Some((server, port)) = victim.link.newest() else { return Ok(false) };
    let filter = format!("sport = :{} and dport = :{port}", server.port());
    let mut kill = network.command_at(server.ip(), "ss");
    let killed = system(kill.args(["-K", "-t", "-n", "-H"]).arg(filter))?;
    Ok(!killed.trim().is_empty())
}

async fn old_copy(victim: &Victim, random: &mut Random, over: &mut watch::Receiver<bool>) -> bool {
    let copied = victim.obeys(Order::Copy, over).await;
    sleep(random.millis(500, 2_500)).await;
    copied && victim.obeys(Order::BecomeCopy, over).await
}

async fn worsen(link: &Link, kind: Kind, random: &mut Random) -> bool {
    let lasts = random.millis(1_000, 3_000);
    let weather = match kind {
        Kind::HalfOpen => Weather::Silent,
        Kind::Trickle => Weather::Trickle,
        Kind::Delay => Weather::Late(random.millis(100, 700)),
        Kind::Duplicate => Weather::Twice,
        Kind::Reorder => Weather::Swapped,
        Kind::SlowReader => Weather::Unread,
        _ => {
            link.sky.cut(false);
            return true;
        }
    };
    link.sky.set(weather);
    sleep(lasts).await;
    if kind == Kind::HalfOpen {
        link.sky.cut(true);
    }
    link.sky.set(Weather::Fair);
    true
}

impl Victim {
    /// Asks for something and waits until it is done; gives whether it was, before the run is over.
    async fn obeys(
        &self,
        order: impl FnOnce(oneshot::Sender<()>) -> Order,
        over: &mut watch::Receiver<bool>,
    ) -> bool {
        let (done, told) = oneshot::channel();
        if self.orders.send(order(done)).await.is_err() {
            return false;
        }
        tokio::select! {
            told = told => told.is_ok(),
            () = given(over) => false,
        }
    }
}
