//! One run, from an empty folder to the records.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anser_client::RelationState;
use anyhow::{Context as _, Result, ensure};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Settings,
    actor::{self, Troupe},
    client::{Slot, World},
    fault::Lane,
    finale,
    history::{Record, Recorder, What},
    plan::{Acts, Schedule},
    random::Random,
    target::Target,
    trouble::{self, Troubles, Victim},
};

/// What a run left behind.
pub(super) struct Played {
    pub(super) records: Vec<Record>,
    /// How often each kind of fault happened.
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Ends of the server that no fault asked for.
    pub(super) unexpected: Vec<String>,
    pub(super) took: Duration,
}

/// After the last fault clients go on for so long, so that what it did to service is measured.
const AFTERMATH: Duration = Duration::from_secs(3);
/// Every client gets in within this time.
const SET_UP_MAX: Duration = Duration::from_secs(60);
/// The friendships are known to all devices within this time.
const LEARN_MAX: Duration = Duration::from_secs(5);
/// One relation in so many comes and goes; at least one does.
const FICKLE: usize = 3;

/// Plays a run.
///
/// # Errors
/// It could not be played: a tool failed, or the server does not start.
pub(super) async fn play(settings: &Settings) -> Result<Played> {
    let began = Instant::now();
    let folder = tempfile::Builder::new().prefix("anser-torture-").tempdir_in(&settings.dir)?;
    let recorder = Recorder::new();
    let target = Target::start(folder.path(), settings, recorder.clone()).await?;
    println!("what is tortured serves after {:.1} s", began.elapsed().as_secs_f64());
    let world = World {
        recorder: recorder.clone(),
        doors: target.doors()?,
        seed: settings.seed,
        folder: folder.path().to_owned(),
        connections: Arc::new(AtomicU64::new(0)),
    };
    let slots = install(&world, settings).await?;
    let troupe = Arc::new(befriend(&slots, settings, recorder.clone()).await?);
    let troubles = Troubles::new(recorder.clone());
    let (mut target, slots) = perform(target, slots, troupe, &troubles, settings).await?;

    println!("settling: every client drains");
    target.tend().await?;
    let mut slots = finale::drain(slots, &recorder).await;
    finale::views(&slots, &recorder).await?;
    for slot in &mut slots {
        slot.close().await;
    }
    target.stop().await.context("stopping the server at the end")?;
    let store = target.store().await?;
    finale::audit(&*store, &recorder).await?;
    store.close().await?;
    let unexpected = target.end().await?;
    Ok(Played {
        records: recorder.take(),
        faults: troubles.counts(),
        unexpected,
        took: began.elapsed(),
    })
}

/// All clients, those that are there at first switched on; the last one of each user comes later.
async fn install(world: &World, settings: &Settings) -> Result<Vec<Slot>> {
    let per_user = settings.devices + 1;
    let mut slots = Vec::with_capacity(settings.users * per_user);
    for id in 0..settings.users * per_user {
        slots.push(Slot::new(world, id, id / per_user).await?);
    }
    // The first of each user makes the account.
    for number in 0..settings.devices {
        for slot in slots.iter_mut().filter(|slot| slot.id % per_user == number) {
            timeout(SET_UP_MAX, slot.open()).await.context("a client does not get in")??;
        }
    }
    Ok(slots)
}

/// Makes everybody friends, and chooses whose friendship does not last.
async fn befriend(slots: &[Slot], settings: &Settings, recorder: Recorder) -> Result<Troupe> {
    let first = |user: usize| &slots[user * (settings.devices + 1)];
    let users: Result<Vec<_>> =
        (0..settings.users).map(|user| Ok(first(user).online()?.user())).collect();
    let mut pairs = Vec::new();
    for one in 0..settings.users {
        pairs.extend((one + 1..settings.users).map(|other| [one, other]));
    }
    let mut fickle = pairs.clone();
    Random::of(settings.seed, "fickle").shuffle(&mut fickle);
    fickle.truncate((pairs.len() / FICKLE).max(1));
    let troupe = Troupe::new(recorder, users?, fickle);
    for [one, other] in &pairs {
        troupe.befriend(first(*one), *other).await?;
        let relation = troupe.befriend(first(*other), *one).await?;
        ensure!(relation.state == RelationState::Friends, "two users did not become friends");
    }
    let friends = settings.users - 1;
    let know = async {
        for slot in slots {
            while slot.sdk().is_some_and(|client| {
                let relations = client.relations();
                relations.iter().filter(|one| one.state == RelationState::Friends).count() < friends
            }) {
                sleep(Duration::from_millis(10)).await;
            }
        }
    };
    if timeout(LEARN_MAX, know).await.is_err() {
        println!("some devices have not learned of their friendships; the checker will say why");
    }
    Ok(troupe)
}

/// Clients act, and everything breaks.
async fn perform(
    target: Target,
    slots: Vec<Slot>,
    troupe: Arc<Troupe>,
    troubles: &Troubles,
    settings: &Settings,
) -> Result<(Target, Vec<Slot>)> {
    let (over, no_more_faults) = watch::channel(false);
    let (curtain, fallen) = watch::channel(false);
    let recorder = troupe.recorder.clone();
    let network = target.network();
    let mut random = Random::of(settings.seed, "arrivals");
    let (mut actors, mut victims) = (JoinSet::new(), Vec::new());
    for slot in slots {
        let (orders, asked) = mpsc::channel(1);
        let is_late = slot.sdk().is_none();
        if !is_late {
            victims.push(Victim { link: slot.link.clone(), orders });
        }
        let share = if is_late { random.share() * 0.8 } else { 0.0 };
        let arrives = Duration::from_secs(settings.seconds).mul_f64(share);
        let acts = Acts::of(settings.seed, slot.id);
        let played = actor::play(slot, acts, troupe.clone(), asked, fallen.clone());
        actors.spawn(async move {
            sleep(arrives).await;
            played.await
        });
    }
    let links = Schedule::of(settings.seed, Lane::Link, &settings.kinds);
    let mut broken = tokio::spawn(target.torture(
        (settings.seed, settings.kinds.clone()),
        troubles.clone(),
        no_more_faults.clone(),
    ));
    let links = trouble::break_links(victims, network, links, troubles.clone(), no_more_faults);
    let links = tokio::spawn(links);

    let all = Instant::now() + Duration::from_secs(settings.seconds);
    tokio::select! {
        () = tokio::time::sleep_until(all) => {}
        broken = &mut broken => { broken??; }
        Some(broken) = actors.join_next() => { broken??; }
    }
    over.send_replace(true);
    let target = broken.await??;
    links.await.context("the faults of the links")??;
    sleep(AFTERMATH).await;
    recorder.note(What::Settling);
    curtain.send_replace(true);
    let mut slots = Vec::new();
    while let Some(slot) = actors.join_next().await {
        slots.push(slot??);
    }
    slots.sort_by_key(|slot| slot.id);
    // One that was to arrive later than the run lasted was never installed.
    slots.retain(|slot| slot.mirror.identity().is_some());
    Ok((target, slots))
}

/// Waits until a signal is given; ends too when nobody can give it any more.
pub(super) async fn given(signal: &mut watch::Receiver<bool>) {
    let _ = signal.wait_for(|given| *given).await;
}
