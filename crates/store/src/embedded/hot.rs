//! The hot path: batches of records, applied by the shared rule to rows from the cache or the disk.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anser_proto::failpoint::Failpoint;
use anser_proto::fault::Fault;
use anser_proto::{ConversationId, DeviceId, FileId, UserId, wire};
use fjall::{OwnedWriteBatch, Slice};
use prost::Message as _;

use super::cache::{Cache, Heap, Recent};
use super::engine::{Rows as _, View};
use super::writer::{CommitJob, Writer};
use super::{files, keys, rows};
use crate::apply::{self, Applied, IdMap, WorkingSet};
use crate::{Committed, Record, Result, StoreError};

/// Devices whose `seen_at` rides along with one group.
const SEEN_PER_GROUP: usize = 64;

impl Writer {
    /// Applies all jobs' batches in order and writes them as one.
    pub(super) fn commits(&mut self, jobs: Vec<CommitJob>) {
        if self.shared.disk_is_full() {
            jobs.into_iter().for_each(|job| drop(job.answer.send(Err(StoreError::DiskFull))));
            return;
        }
        let commands: Vec<_> = jobs.iter().map(|job| apply::decode(&job.batch)).collect();
        let mut set = match self.load(&jobs, &commands) {
            Ok(set) => set,
            Err(error) => {
                tracing::error!(%error, "rows of a batch can not be read");
                let corrupt = || Err(StoreError::Corrupt(error.to_string()));
                jobs.into_iter().for_each(|job| drop(job.answer.send(corrupt())));
                return;
            }
        };
        set.sessions = std::mem::take(&mut self.sessions);
        let applied: Vec<Applied> = jobs
            .iter()
            .zip(commands)
            .map(|(job, commands)| apply::apply(&mut set, &job.batch, commands, self.limits))
            .collect();

        Failpoint::AfterNumber.reached();

        let mut batch = self.new_batch(jobs.len() * 8);
        let now_ms = jobs.last().map_or(0, |job| job.batch.now_ms);
        for applied in &applied {
            self.rows(applied, now_ms, &mut batch);
        }
        self.changed_rows(&mut set, &mut batch);
        let sync = (!batch.is_empty()).then(|| self.write(batch));
        self.give_back(set);

        let messages: usize = applied.iter().map(|applied| applied.messages.len()).sum();
        self.shared.counters.messages.fetch_add(messages as u64, Relaxed);
        self.shared.counters.commits.fetch_add(u64::from(sync.is_some()), Relaxed);
        for (job, applied) in jobs.into_iter().zip(applied) {
            let Applied { outcomes, entries, .. } = applied;
            let _ = job.answer.send(Ok(Committed { outcomes, entries, sync }));
        }
    }

    /// Takes every row that the batches need from the cache, or reads it.
    fn load(
        &mut self,
        jobs: &[CommitJob],
        commands: &[Vec<Option<wire::Command>>],
    ) -> Result<WorkingSet> {
        let engine = Arc::clone(&self.engine);
        let view = engine.view();
        let mut loader = Loader { view, cache: &mut self.cache, set: WorkingSet::default() };
        for (job, commands) in jobs.iter().zip(commands) {
            for (record, command) in job.batch.records.iter().zip(commands) {
                loader.record(record, command.as_ref())?;
            }
        }
        let ride: Vec<DeviceId> = self.seen.keys().take(SEEN_PER_GROUP).copied().collect();
        for device in ride {
            loader.device(device)?;
            let seen_at_ms = self.seen.remove(&device).unwrap_or(0);
            if let Some(device) = loader.set.devices.get_mut(&device) {
                device.dirty |= device.seen_at_ms < seen_at_ms;
                device.seen_at_ms = device.seen_at_ms.max(seen_at_ms);
            }
        }
        if Fault::DeliverAcross.is_on() {
            loader.stranger()?;
        }
        Ok(loader.set)
    }

    /// The new rows of one batch: messages, entries, once keys.
    fn rows(&self, applied: &Applied, now_ms: u64, batch: &mut OwnedWriteBatch) {
        let mut values = Values::default();
        for (conversation, conv_seq, entry) in &applied.messages {
            let key = keys::row(conversation.0, *conv_seq);
            batch.insert(&self.engine.message, key, values.of(entry));
        }
        for row in &applied.entries {
            let key = keys::row(row.user.0, row.seq);
            batch.insert(&self.engine.inbox, key, values.of(&row.entry));
        }
        for once in &applied.once {
            let row = rows::OnceRow { used_at_ms: now_ms };
            batch.insert(&self.engine.small, keys::bytes(keys::ONCE, once), row.encode_to_vec());
        }
        for file in &applied.files {
            let row = files::row_of(file).encode_to_vec();
            batch.insert(&self.engine.small, keys::file(file.id), row);
            batch.remove(&self.engine.small, keys::loose_file(file.id));
        }
    }

    /// The rows of the working set that changed.
    fn changed_rows(&self, set: &mut WorkingSet, batch: &mut OwnedWriteBatch) {
        let small = &self.engine.small;
        for (id, device) in &mut set.devices {
            if std::mem::take(&mut device.dirty) {
                let row = rows::DeviceRow::from(&*device).encode_to_vec();
                batch.insert(small, keys::device(*id), row);
            }
        }
        for (id, conversation) in &mut set.conversations {
            for member in &mut conversation.members {
                if std::mem::take(&mut member.dirty) {
                    let row = rows::MemberRow {
                        delivered: member.delivered,
                        read: member.read,
                        joined_at_seq: member.joined_at_seq,
                    };
                    batch.insert(small, keys::member(*id, member.user), row.encode_to_vec());
                }
            }
        }
    }

    fn give_back(&mut self, set: WorkingSet) {
        self.sessions = set.sessions;
        fn all<K: Eq + std::hash::Hash + Copy, V: Heap>(rows: IdMap<K, V>, to: &mut Recent<K, V>) {
            rows.into_iter().for_each(|(key, value)| to.put(key, value));
        }
        all(set.devices, &mut self.cache.devices);
        all(set.conversations, &mut self.cache.conversations);
        all(set.heads, &mut self.cache.heads);
    }
}

/// One copy of an entry's bytes for all the rows that hold it.
#[derive(Default)]
struct Values {
    last: Option<(*const u8, Slice)>,
}

struct Loader<'a, 'e> {
    view: View<'e>,
    cache: &'a mut Cache,
    set: WorkingSet,
}

impl Loader<'_, '_> {
    fn record(&mut self, record: &Record, command: Option<&wire::Command>) -> Result<()> {
        let (Record::Command { user, device, .. } | Record::Ack { user, device, .. }) = record;
        self.device(*device)?;
        self.head(*user)?;
        let mut named = Vec::new();
        apply::conversations(record, command, |id| named.push(id));
        for id in named {
            self.conversation(id)?;
        }
        for id in apply::listed_files(command) {
            self.file(FileId(*id))?;
        }
        if let Record::Command { once: Some(once), .. } = record
            && self.view.get(&keys::bytes(keys::ONCE, &**once))?.is_some()
        {
            self.set.once.insert(**once);
        }
        Ok(())
    }

    fn device(&mut self, id: DeviceId) -> Result<()> {
        if let Entry::Vacant(slot) = self.set.devices.entry(id) {
            let known = self.cache.devices.take(id);
            if let Some(device) = known.map_or_else(|| self.view.device(id), |one| Ok(Some(one)))? {
                slot.insert(device);
            }
        }
        Ok(())
    }

    fn file(&mut self, id: FileId) -> Result<()> {
        if let Entry::Vacant(slot) = self.set.files.entry(id)
            && let Some(file) = files::find(&self.view, id)?
        {
            slot.insert(file);
        }
        Ok(())
    }

    fn head(&mut self, user: UserId) -> Result<()> {
        if let Entry::Vacant(slot) = self.set.heads.entry(user) {
            let known = self.cache.heads.take(user);
            slot.insert(known.map_or_else(|| self.view.inbox_head(user), Ok)?);
        }
        Ok(())
    }

    fn conversation(&mut self, id: ConversationId) -> Result<()> {
        if self.set.conversations.contains_key(&id) {
            return Ok(());
        }
        let known = self.cache.conversations.take(id);
        let known = known.map_or_else(|| self.view.conversation(id), |one| Ok(Some(one)))?;
        let Some(conversation) = known else { return Ok(()) };
        for member in &conversation.members {
            self.head(member.user)?;
        }
        self.set.conversations.insert(id, conversation);
        Ok(())
    }

    /// Any user at all, for the fault that tells them what is none of their business.
    fn stranger(&mut self) -> Result<()> {
        let users = self.view.scan(&[keys::USER])?;
        let user = users.last().and_then(|(key, _)| keys::last_number(key)).map(UserId);
        if let Some(user) = user {
            self.head(user)?;
        }
        self.set.stranger = user;
        Ok(())
    }
}

impl Values {
    /// The rows of one message follow one another, so one value is remembered.
    fn of(&mut self, entry: &bytes::Bytes) -> Slice {
        match &self.last {
            Some((at, value)) if *at == entry.as_ptr() => value.clone(),
            _ => {
                let value = Slice::from(&entry[..]);
                self.last = Some((entry.as_ptr(), value.clone()));
                value
            }
        }
    }
}
