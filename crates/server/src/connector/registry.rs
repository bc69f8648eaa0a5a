//! The connections of this process, by user and by device. In one process this is presence too.
//!
//! The doorbell of the commit path ends here: it leaves what is new in each session's [`Mailbox`]
//! and wakes the session's task once per batch. Nothing here blocks or waits.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anser_proto::{Code, DeviceId, Seq, SessionId, UserId, fault::Fault};
use anser_store::{LiveSession, NewEntry, Swept};
use tokio::sync::Notify;

use super::{mailbox::Mailbox, sync::Mutex};
use crate::link::Doorbell;

/// Locks that the maps are split over: two cores rarely meet in one.
pub(crate) const SHARDS: usize = 16;

/// The connections of this process.
#[derive(Default)]
pub struct Registry {
    users: [Mutex<HashMap<UserId, Vec<Arc<Mailbox>>>>; SHARDS],
    devices: [Mutex<HashMap<DeviceId, Arc<Mailbox>>>; SHARDS],
    count: AtomicUsize,
    emptied: Notify,
}

/// The user has as many connections as allowed.
#[derive(Debug)]
pub(super) struct Full;

impl Registry {
    /// Puts a session under its user and device. An older session of the same device is told
    /// `replaced`: the newest Hello wins.
    ///
    /// # Errors
    /// [`Full`]: the user has `per_user_max` other connections.
    pub(super) fn online(&self, mailbox: &Arc<Mailbox>, per_user_max: usize) -> Result<(), Full> {
        let (user, device) = (mailbox.user(), mailbox.device());
        let mut users = self.users[shard(user.0)].lock();
        let sessions = users.entry(user).or_default();
        let others = sessions.iter().filter(|other| other.device() != device).count();
        if others >= per_user_max {
            return Err(Full);
        }
        sessions.retain(|other| other.device() != device);
        sessions.push(mailbox.clone());
        sessions.shrink_to_fit();
        let older = self.devices[shard(device.0)].lock().insert(device, mailbox.clone());
        drop(users);
        match older {
            Some(older) => older.close(Code::Replaced),
            None => _ = self.count.fetch_add(1, Ordering::Relaxed),
        }
        Ok(())
    }

    /// Takes a session out, unless a newer one of the same device took its place.
    pub(super) fn offline(&self, mailbox: &Arc<Mailbox>) {
        let (user, device) = (mailbox.user(), mailbox.device());
        let mut users = self.users[shard(user.0)].lock();
        if let Some(sessions) = users.get_mut(&user) {
            sessions.retain(|other| !Arc::ptr_eq(other, mailbox));
            if sessions.is_empty() {
                users.remove(&user);
            }
        }
        let mut devices = self.devices[shard(device.0)].lock();
        if devices.get(&device).is_some_and(|current| Arc::ptr_eq(current, mailbox)) {
            devices.remove(&device);
            if self.count.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.emptied.notify_waiters();
            }
        }
    }

    /// Puts a session in that no connection stands behind.
    #[cfg(test)]
    pub(crate) fn hold(&self, session: LiveSession) {
        let mailbox = Mailbox::new(session.user, session.device, session.session);
        self.online(&Arc::new(mailbox), usize::MAX).expect("there is room");
    }

    /// Devices connected here.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether nobody is connected here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until nobody is connected here.
    pub async fn emptied(&self) {
        let emptied = self.emptied.notified();
        if !self.is_empty() {
            emptied.await;
        }
    }

    /// Whether this device is connected here.
    pub fn holds(&self, device: DeviceId) -> bool {
        self.devices[shard(device.0)].lock().contains_key(&device)
    }

    /// The sessions of one shard, all of which together are all.
    pub(crate) fn sessions(&self, shard: usize) -> Vec<LiveSession> {
        let devices = self.devices[shard].lock();
        devices.values().map(|mailbox| mailbox.live()).collect()
    }

    /// Those of one shard that the store can be asked about.
    pub(super) fn greeted(&self, shard: usize) -> Vec<LiveSession> {
        let devices = self.devices[shard].lock();
        let greeted = devices.values().filter(|mailbox| mailbox.is_greeted());
        greeted.map(|mailbox| mailbox.live()).collect()
    }

    /// Tells sessions what a sweep found.
    pub(super) fn swept(&self, swept: Swept) {
        self.grew(&swept.heads);
        for (device, position) in swept.applied {
            if let Some(mailbox) = self.device(device) {
                mailbox.tell_applied(position);
            }
        }
        for (one, code) in swept.over {
            self.refused((one.device, one.session), code);
        }
    }

    /// Tells every session that the server stops.
    pub fn go_away(&self, after: Duration) {
        for shard in &self.devices {
            for mailbox in shard.lock().values() {
                mailbox.go_away(after);
            }
        }
    }

    fn device(&self, device: DeviceId) -> Option<Arc<Mailbox>> {
        self.devices[shard(device.0)].lock().get(&device).cloned()
    }
}

impl Doorbell for Registry {
    fn deliver(&self, entries: Vec<NewEntry>, accepted: Option<Instant>) {
        if Fault::ForgetDoorbell.is_on() {
            return;
        }
        let mut rung: Vec<Arc<Mailbox>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let users = self.users[shard(entry.user.0)].lock();
            let Some(sessions) = users.get(&entry.user) else { continue };
            for mailbox in sessions {
                if mailbox.offer(&entry, accepted) {
                    rung.push(mailbox.clone());
                }
            }
        }
        // Woken after all entries are in place: at most one wake per session and batch.
        for mailbox in rung {
            mailbox.wake();
        }
    }

    fn grew(&self, heads: &[(UserId, Seq)]) {
        for (user, head) in heads {
            let users = self.users[shard(user.0)].lock();
            users.get(user).into_iter().flatten().for_each(|mailbox| mailbox.tell(*head));
        }
    }

    fn ack(&self, device: DeviceId, position: Seq) {
        if let Some(mailbox) = self.device(device) {
            mailbox.ack(position);
        }
    }

    fn refused(&self, (device, session): (DeviceId, SessionId), code: Code) {
        let newest = self.device(device).filter(|mailbox| mailbox.session() == session);
        if let Some(mailbox) = newest {
            mailbox.close(code);
        }
    }

    fn close(&self, devices: &[DeviceId], code: Code) {
        for mailbox in devices.iter().filter_map(|device| self.device(*device)) {
            mailbox.close(code);
        }
    }
}

/// Ids are random, so their low bits spread evenly.
fn shard(id: u64) -> usize {
    id as usize % SHARDS
}
