//! The journals of a process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_core::{Clock, Error, Ident, Result};
use forebay_lake::Lake;
use parking_lot::{Mutex, RwLock};

use super::adopted::Adopted;
use super::keys::Keys;
use super::{Files, Journal, Limits, Place};

/// The journals of a process, one per pipeline, opened on first use; in the storage also those orphaned by other servers.
#[derive(Debug)]
pub struct Journals {
    pub(super) folder: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lake: Option<Lake>,
    /// Every other process on the store also uses `folder`, so its locks show which processes live.
    pub(super) exclusive: bool,
    open: RwLock<HashMap<Ident, Arc<Slot>>>,
}

/// The journals of one pipeline. Opening them may take a while, in which callers use the others.
#[derive(Debug)]
pub(super) struct Slot {
    current: RwLock<Option<Journal>>,
    /// The journals of [`Adopted`], for reads while others are being opened.
    left: RwLock<Vec<Journal>>,
    pub(super) opening: tokio::sync::Mutex<Adopted>,
    /// Of all journals of the pipeline: a repeated key may arrive at another journal than the first time.
    pub(super) keys: Arc<Mutex<Keys>>,
}

impl Slot {
    fn new(limits: Limits) -> Self {
        Self {
            current: RwLock::default(),
            left: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
            keys: Arc::new(Mutex::new(Keys::new(limits.keep_keys))),
        }
    }

    pub(super) fn current(&self) -> Option<Journal> {
        let current = self.current.read();
        current.clone()
    }

    fn set(&self, journal: &Journal) {
        let mut current = self.current.write();
        *current = Some(journal.clone());
    }

    fn set_left(&self, adopted: &Adopted) {
        let mut left = self.left.write();
        *left = adopted.journals();
    }
}

impl Journals {
    /// Journals on the disk live below `folder`, in a folder of the pipeline's name.
    pub fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            folder,
            clock,
            lake: None,
            exclusive: false,
            open: RwLock::default(),
        }
    }

    /// Also journals in the storage of this lake. `exclusive`: no other folder than this one is used with the lake's store,
    /// so the holder of its lock need not wait for the claims of dead processes.
    #[must_use]
    pub fn in_lake(self, lake: Lake, exclusive: bool) -> Self {
        let lake = Some(lake);
        Self {
            lake,
            exclusive,
            ..self
        }
    }

    /// The journal that accepts pushes for this pipeline, when it is open.
    pub fn find(&self, pipeline: &Ident) -> Option<Journal> {
        let open = self.open.read();
        let journal = open.get(pipeline)?.current();
        journal.filter(|journal| !journal.is_closed())
    }

    /// The open journals that accept pushes.
    pub fn all(&self) -> Vec<(Ident, Journal)> {
        let open = self.open.read();
        let all = open
            .iter()
            .filter_map(|(pipeline, slot)| Some((pipeline.clone(), slot.current()?)));
        let mut all: Vec<_> = all.collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// The journal that accepts pushes for this pipeline, opened when it is not; from here on it has these limits.
    ///
    /// Errors: as [`Journal::open`]; for one in the storage also `Unavailable` `journal_held` while another server may
    /// still write a journal that has to be read first, and those of the storage.
    pub async fn of(&self, pipeline: &Ident, place: Place, limits: Limits) -> Result<Journal> {
        let slot = self.slot(pipeline, limits);
        let mut adopted = slot.opening.lock().await;
        if let Some(journal) = slot.current() {
            if journal.place() == place && !journal.is_closed() {
                journal.set_limits(limits);
                return Ok(journal);
            }
            // Its records are still to be read.
            adopted.set_aside(journal);
        }
        let opened = match place {
            Place::Disk => {
                self.open_on_disk(pipeline, &slot, &mut adopted, limits)
                    .await
            }
            Place::Storage => {
                self.open_in_storage(pipeline, &slot, &mut adopted, limits)
                    .await
            }
        };
        slot.set_left(&adopted);
        let journal = opened.map_err(|error| error.with_context("pipeline", pipeline))?;
        journal.set_limits(limits);
        slot.set(&journal);
        Ok(journal)
    }

    /// The journals of the pipeline that no longer accept pushes, or belonged to dead servers: this process has them now,
    /// and has to read their remaining records.
    pub async fn left_behind(&self, pipeline: &Ident, limits: Limits) -> Result<Vec<Journal>> {
        let slot = self.slot(pipeline, limits);
        let mut adopted = slot.opening.lock().await;
        let done = self.adopt_all(pipeline, &slot, &mut adopted, limits).await;
        slot.set_left(&adopted);
        done.map(|()| adopted.journals())
    }

    /// The same without looking for more.
    pub fn left(&self, pipeline: &Ident) -> Vec<Journal> {
        let open = self.open.read();
        let left = open.get(pipeline).map(|slot| {
            let left = slot.left.read();
            left.clone()
        });
        left.unwrap_or_default()
    }

    /// Whether the locks of this folder suffice, without waiting for runs of other processes.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// The journal of this split, when this process has it.
    pub async fn split(&self, pipeline: &Ident, split: &Ident, limits: Limits) -> Option<Journal> {
        let slot = self.slot(pipeline, limits);
        let current = slot.current();
        let current = current.filter(|journal| journal.id() == split && !journal.is_closed());
        match current {
            Some(journal) => Some(journal),
            None => slot.opening.lock().await.find(split),
        }
    }

    /// Releases the journals in the storage for other processes at once, when this one has finished its work.
    pub async fn close(&self) {
        let slots: Vec<Arc<Slot>> = {
            let open = self.open.read();
            open.values().cloned().collect()
        };
        for slot in slots {
            let adopted = slot.opening.lock().await;
            for journal in adopted.journals().iter().chain(&slot.current()) {
                if let Files::Storage(objects) = &journal.0.files {
                    objects.give_up().await;
                }
            }
        }
    }

    pub(super) fn lake(&self) -> Result<&Lake> {
        self.lake.as_ref().ok_or_else(|| {
            Error::config(
                "no_storage",
                "the journal cannot be stored in the storage: no storage is configured",
            )
            .with_hint("set `journal: disk`")
        })
    }

    pub(super) fn slot(&self, pipeline: &Ident, limits: Limits) -> Arc<Slot> {
        let mut open = self.open.write();
        let slot = open.entry(pipeline.clone());
        slot.or_insert_with(|| Arc::new(Slot::new(limits))).clone()
    }
}
