//! The one writer: a thread that applies jobs in order, group by group, one batch and one sync
//! each.
//!
//! There is no timer. While a group syncs the next one fills up in the channel. A write or sync
//! that fails ends the process: after a failed fsync nobody knows what is on disk, and trying
//! again would lie.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anser_proto::failpoint::Failpoint;
use anser_proto::fault::Fault;
use anser_proto::{DeviceId, SessionId};
use fjall::{OwnedWriteBatch, PersistMode};
use tokio::sync::{mpsc, oneshot};

use super::cache::Cache;
use super::engine::Engine;
use super::shared::Shared;
use super::tx::Tx;
use crate::apply::{IdMap, Limits, Session};
use crate::{Batch, Committed, Result, StoreError};

/// Jobs that may wait for the writer; callers wait beyond that.
pub(super) const JOBS_MAX: usize = 1024;
/// Records of one group, unless a single batch brings more.
const GROUP_RECORDS_MAX: usize = 256;
/// Verbs of one group.
const GROUP_VERBS_MAX: usize = 256;
/// Devices whose `seen_at` waits for a ride.
const SEEN_MAX: usize = 4096;

/// What the writer is asked to do.
pub(super) enum Job {
    Commit(CommitJob),
    Verb(VerbJob),
    /// Commands of a device count for this session only; answered once nothing else is under way.
    Arrive(DeviceId, SessionId, oneshot::Sender<()>),
    /// The session ended.
    Leave(DeviceId, SessionId),
    /// Moves `seen_at` of a device with the next group that writes anyway.
    Seen(DeviceId, u64),
    /// Ends the writer; answered when it let go of the database.
    Close(oneshot::Sender<()>),
}

/// A batch of records.
pub(super) struct CommitJob {
    pub(super) batch: Batch,
    pub(super) answer: oneshot::Sender<Result<Committed>>,
}

/// Any other write.
pub(super) struct VerbJob {
    pub(super) run: Verb,
    /// Whether it is done below the floor of free space, too.
    pub(super) below_floor: bool,
}

/// Runs in a transaction; says whether the transaction may be committed, and how to answer.
pub(super) type Verb = Box<dyn FnOnce(&mut Tx<'_>) -> (bool, Answer) + Send>;
/// Answers the caller: with an error, or with what the verb itself found or failed with.
pub(super) type Answer = Box<dyn FnOnce(Option<StoreError>) + Send>;

/// State of the writer's thread.
pub(super) struct Writer {
    pub(super) engine: Arc<Engine>,
    pub(super) shared: Arc<Shared>,
    pub(super) cache: Cache,
    pub(super) limits: Limits,
    pub(super) seen: IdMap<DeviceId, u64>,
    /// Of each connected device. In memory only: no session outlives the process.
    pub(super) sessions: IdMap<DeviceId, Session>,
    /// Rows were shown that are not synced: the fault `ShowBeforeSync`.
    unsynced: bool,
}

impl Writer {
    pub(super) fn new(
        engine: Arc<Engine>,
        shared: Arc<Shared>,
        cache: Cache,
        limits: Limits,
    ) -> Self {
        let (seen, sessions) = (IdMap::default(), IdMap::default());
        Self { engine, shared, cache, limits, seen, sessions, unsynced: false }
    }

    /// Works until it is closed or all handles are gone; gives whom to tell of the end.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> Option<oneshot::Sender<()>> {
        let mut waiting = VecDeque::new();
        while let Some(job) = waiting.pop_front().or_else(|| jobs.blocking_recv()) {
            waiting.push_front(job);
            while waiting.len() < JOBS_MAX
                && let Ok(job) = jobs.try_recv()
            {
                waiting.push_back(job);
            }
            if let Some(closed) = self.group(&mut waiting) {
                jobs.close();
                self.finish();
                return Some(closed);
            }
        }
        self.finish();
        None
    }

    /// Does the first of the waiting jobs, with those of its kind right behind it.
    fn group(&mut self, waiting: &mut VecDeque<Job>) -> Option<oneshot::Sender<()>> {
        let (mut commits, mut verbs, mut records) = (Vec::new(), Vec::new(), 0);
        while let Some(job) = waiting.pop_front() {
            match job {
                Job::Commit(job) if verbs.is_empty() && records < GROUP_RECORDS_MAX => {
                    records += job.batch.records.len().max(1);
                    commits.push(job);
                }
                Job::Verb(job) if commits.is_empty() && verbs.len() < GROUP_VERBS_MAX => {
                    verbs.push(job);
                }
                // What the group took so far runs after this, as what comes behind it.
                Job::Arrive(device, session, arrived) => {
                    self.sessions.insert(device, Session::new(session));
                    let _ = arrived.send(());
                }
                Job::Leave(device, session) => {
                    if self.sessions.get(&device).is_some_and(|live| live.id == session) {
                        self.sessions.remove(&device);
                    }
                }
                Job::Seen(device, now_ms) => {
                    if self.seen.len() < SEEN_MAX {
                        self.seen.insert(device, now_ms);
                    }
                }
                Job::Close(closed) if commits.is_empty() && verbs.is_empty() => {
                    return Some(closed);
                }
                other => {
                    waiting.push_front(other);
                    break;
                }
            }
        }
        self.shared.watch.begin();
        if !commits.is_empty() {
            self.commits(commits);
        }
        if !verbs.is_empty() {
            self.verbs(verbs);
        }
        self.shared.watch.end();
        None
    }

    fn verbs(&mut self, jobs: Vec<VerbJob>) {
        let engine = Arc::clone(&self.engine);
        let full = self.shared.disk_is_full();
        let mut tx = Tx::new(&engine);
        let mut answers = Vec::with_capacity(jobs.len());
        // Where the first one that failed is. What failed behind it may have failed because of it.
        let mut failed = None;
        for job in jobs {
            if full && !job.below_floor {
                // Run against nothing, only to get at its answer.
                let (_, answer) = (job.run)(&mut Tx::new(&engine));
                answer(Some(StoreError::DiskFull));
                continue;
            }
            let (good, answer) = (job.run)(&mut tx);
            if !good && failed.is_none() {
                failed = Some(answers.len());
            }
            answers.push(answer);
        }
        if let Some(failed) = failed {
            tracing::error!("a transaction failed; its group was not written");
            for (index, answer) in answers.into_iter().enumerate() {
                let beside = "a transaction beside this one failed";
                answer((index != failed).then(|| StoreError::Unavailable(beside.into())));
            }
            return;
        }
        if !tx.is_empty() {
            let mut batch = self.new_batch(64);
            let learned = tx.into_batch(&mut batch);
            self.write(batch);
            if let Err(error) = learned.teach(&mut self.cache, &engine.view()) {
                fatal("what was just written can not be read", &error);
            }
        }
        answers.into_iter().for_each(|answer| answer(None));
    }

    pub(super) fn new_batch(&self, capacity: usize) -> OwnedWriteBatch {
        let skip = Fault::SkipSync.is_on() || Fault::ShowBeforeSync.is_on();
        // The durability of the batch itself: a sync after the commit would show rows before it.
        let mode = (!skip).then_some(PersistMode::SyncData);
        OwnedWriteBatch::with_capacity(self.engine.db.clone(), capacity).durability(mode)
    }

    /// Makes a batch durable, then visible; ends the process when that fails.
    pub(super) fn write(&mut self, batch: OwnedWriteBatch) -> Duration {
        if self.unsynced {
            self.sync(PersistMode::SyncData);
        }
        Failpoint::BeforeCommit.reached();
        if Failpoint::BeforeSync.is_due() {
            let _ = batch.durability(Some(PersistMode::Buffer)).commit();
            Failpoint::BeforeSync.die();
        }
        let started = Instant::now();
        if let Err(error) = batch.commit() {
            fatal("a write or sync failed", &error);
        }
        Failpoint::BeforeAck.reached();
        self.unsynced = Fault::ShowBeforeSync.is_on();
        self.shared.counters.syncs.fetch_add(1, Relaxed);
        started.elapsed()
    }

    fn sync(&mut self, mode: PersistMode) {
        if let Err(error) = self.engine.db.persist(mode) {
            fatal("a sync failed", &error);
        }
        self.unsynced = false;
    }

    /// Writes what waited for a ride, and syncs.
    fn finish(mut self) {
        if !self.seen.is_empty() && !self.shared.disk_is_full() {
            self.commits(Vec::new());
        }
        if !Fault::SkipSync.is_on() {
            self.sync(PersistMode::SyncAll);
        }
    }
}

/// Ends the process: what is on disk is not known any more.
fn fatal(what: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(%error, "{what}; the process ends so that a restart reads what is really there");
    std::process::exit(EXIT_BROKEN)
}

/// `EX_SOFTWARE` of sysexits.h.
const EXIT_BROKEN: i32 = 70;
