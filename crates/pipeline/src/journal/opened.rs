//! The journals of a process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use forebay_core::{Clock, Ident, Result};

use super::{Journal, Limits, lock_of};

/// The journals of a process, one a pipeline, opened when first asked for.
#[derive(Debug)]
pub struct Journals {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    open: RwLock<HashMap<Ident, Arc<Slot>>>,
}

/// The place of one journal. Opening it may take a while, in which the others are there for who wants them.
#[derive(Debug, Default)]
struct Slot {
    journal: OnceLock<Journal>,
    opening: Mutex<()>,
}

impl Journals {
    /// Journals live below `folder`, in a folder of the pipeline's name.
    pub fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        let open = RwLock::default();
        Self {
            folder,
            clock,
            open,
        }
    }

    /// The journal of this pipeline, when it is open.
    pub fn find(&self, pipeline: &Ident) -> Option<Journal> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(pipeline)?.journal.get().cloned()
    }

    /// Those that are open.
    pub fn all(&self) -> Vec<(Ident, Journal)> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let all = open
            .iter()
            .filter_map(|(pipeline, slot)| Some((pipeline.clone(), slot.journal.get()?.clone())));
        let mut all: Vec<_> = all.collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// The journal of this pipeline, opened when it is not; from here on it has these limits. Blocks on the disk.
    ///
    /// Errors: as [`Journal::open`].
    pub fn of(&self, pipeline: &Ident, limits: Limits) -> Result<Journal> {
        let slot = self.slot(pipeline);
        let _opening = lock_of(&slot.opening);
        if let Some(journal) = slot.journal.get() {
            journal.set_limits(limits);
            return Ok(journal.clone());
        }
        let folder = self.folder.join(pipeline.as_str());
        let journal = Journal::open(&folder, limits, self.clock.clone())
            .map_err(|error| error.with_context("pipeline", pipeline))?;
        Ok(slot.journal.get_or_init(|| journal).clone())
    }

    fn slot(&self, pipeline: &Ident) -> Arc<Slot> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.entry(pipeline.clone()).or_default().clone()
    }
}
