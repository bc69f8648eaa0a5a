//! Epochs of a run, and what a restore keeps of those before it.
//!
//! Most records tell their epoch. A page of history does not: it is of the epoch that the server
//! was in at that time. Of a page that came while a backup was being restored nobody can tell.

use std::collections::HashMap;

use crate::torture::history::{Record, What};

/// Numbers the epochs of a run: 0, then one for each restore, in their order.
pub(super) type Epoch = usize;

/// All epochs of a run.
pub(super) struct Epochs<'a> {
    ids: HashMap<&'a str, Epoch>,
    eras: Vec<Era>,
    /// In order; the one at index n began epoch n + 1.
    pub(super) restores: Vec<Restore>,
    /// Records that name an epoch which no restore has made, and restores that made none.
    pub(super) strange: Vec<usize>,
}

#[derive(Clone, Copy, Default)]
struct Era {
    /// From this record on the server is known to be in it.
    begins: usize,
    /// Before this record the server is known to be in the one before.
    doubt: usize,
    /// What was acked in it before this record is in the last epoch.
    cut: usize,
}

/// A backup that was restored.
#[derive(Clone, Copy)]
pub(super) struct Restore {
    /// What was acked before this record is in the backup.
    pub(super) begun: usize,
    /// What began after this record is not in the backup.
    pub(super) done: usize,
    /// From this record on the server may have been the restored one.
    pub(super) doubt: usize,
    /// `Restored`.
    pub(super) at: usize,
    /// The bytes of files were put back, too.
    pub(super) with_files: bool,
}

impl<'a> Epochs<'a> {
    pub(super) fn new(records: &'a [Record]) -> Self {
        let mut epochs = Self {
            ids: HashMap::new(),
            eras: vec![Era::default()],
            restores: Vec::new(),
            strange: Vec::new(),
        };
        epochs.name(records);
        epochs.begin(records);
        epochs.cut(records);
        epochs
    }

    /// The number of an epoch; `None` when the server never told of it.
    pub(super) fn id(&self, epoch: &str) -> Option<Epoch> {
        self.ids.get(epoch).copied()
    }

    /// The one that the run ends in.
    pub(super) fn last(&self) -> Epoch {
        self.restores.len()
    }

    /// The one that the server was in at a record; `None` when that can not be told.
    pub(super) fn at(&self, index: usize) -> Option<Epoch> {
        let restored = &self.eras[1..=self.restores.len()];
        let epoch = restored.partition_point(|era| era.begins <= index);
        let next = restored.get(epoch);
        next.is_none_or(|next| index < next.doubt).then_some(epoch)
    }

    /// The record from which on the server is known to be in an epoch.
    pub(super) fn begins(&self, epoch: Epoch) -> usize {
        self.eras[epoch].begins
    }

    /// Whether what was acked at a record of an epoch has to be there at the end.
    pub(super) fn survives(&self, epoch: Epoch, index: usize) -> bool {
        index < self.eras[epoch].cut
    }

    /// Whether a restore may have happened between two records.
    pub(super) fn restored_between(&self, from: usize, to: usize) -> bool {
        let overlaps = |(restore, era): (&Restore, &Era)| restore.doubt <= to && from < era.begins;
        self.restores.iter().zip(&self.eras[1..]).any(overlaps)
    }

    /// Gives the epochs their numbers.
    fn name(&mut self, records: &'a [Record]) {
        for (index, record) in records.iter().enumerate() {
            let What::Restored { epoch, with_files, .. } = &record.what else { continue };
            let with_files = *with_files;
            if self.ids.contains_key(epoch.as_str()) {
                self.strange.push(index);
                continue;
            }
            let (begun, done, doubt, at) = (0, index, index, index);
            self.restores.push(Restore { begun, done, doubt, at, with_files });
            self.ids.insert(epoch, self.restores.len());
            self.eras.push(Era { begins: index, doubt: index, cut: 0 });
        }
        let mut first = None;
        for (index, record) in records.iter().enumerate() {
            let Some(epoch) = told(&record.what) else { continue };
            if self.ids.contains_key(epoch) {
                continue;
            }
            if first.is_none() {
                first = Some(epoch);
                self.ids.insert(epoch, 0);
            } else {
                self.strange.push(index);
                self.ids.insert(epoch, self.eras.len());
                self.eras.push(Era { begins: index, doubt: index, cut: 0 });
            }
        }
    }

    /// Whether a restore between two records may have lost the bytes of files.
    pub(super) fn files_lost_between(&self, from: usize, to: usize) -> bool {
        let lost = |restore: &&Restore| !restore.with_files && from < restore.at;
        self.restores.iter().filter(lost).any(|restore| restore.doubt <= to)
    }

    /// Finds where the restored epochs begin: a client may meet the restored server before the run
    /// notes that it is there.
    fn begin(&mut self, records: &[Record]) {
        for (index, record) in records.iter().enumerate() {
            let Some(epoch) = told(&record.what).and_then(|epoch| self.id(epoch)) else { continue };
            let era = &mut self.eras[epoch];
            if (1..=self.restores.len()).contains(&epoch) {
                era.begins = era.begins.min(index);
            }
        }
        let mut faults = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if let What::Fault { kind, .. } = record.what
                && kind.contains("restore")
            {
                faults.push(index);
            }
        }
        for number in 0..self.restores.len() {
            let before = self.eras[number].begins;
            let era = &mut self.eras[number + 1];
            let until = faults.partition_point(|fault| *fault <= era.begins);
            let fault = faults[..until].last().filter(|fault| number == 0 || **fault > before);
            era.doubt = fault.copied().unwrap_or(era.begins);
            self.restores[number].doubt = era.doubt;
        }
    }

    /// Follows the last epoch back through the backups that it came from.
    fn cut(&mut self, records: &[Record]) {
        let (mut begun, mut done) = (HashMap::new(), HashMap::new());
        for (index, record) in records.iter().enumerate() {
            match record.what {
                What::BackupBegun { backup } => _ = begun.insert(backup, index),
                What::BackupDone { backup } => _ = done.insert(backup, index),
                _ => {}
            }
        }
        for restore in &mut self.restores {
            let What::Restored { backup, .. } = &records[restore.at].what else { continue };
            restore.begun = begun.get(backup).copied().unwrap_or(0);
            restore.done = done.get(backup).copied().unwrap_or(restore.at);
        }
        let mut epoch = self.last();
        self.eras[epoch].cut = usize::MAX;
        while epoch > 0 {
            let begun = self.restores[epoch - 1].begun;
            // The backup was made in an earlier epoch than the one that it began.
            let made_in = self.eras[1..epoch].partition_point(|era| era.begins <= begun);
            self.eras[made_in].cut = begun;
            epoch = made_in;
        }
    }
}

/// The epoch that the server tells of in a record.
fn told(what: &What) -> Option<&str> {
    match what {
        What::Welcome { epoch, .. }
        | What::Reset { epoch, .. }
        | What::Snapshot { epoch, .. }
        | What::FinalState { epoch, .. } => Some(epoch),
        _ => None,
    }
}
