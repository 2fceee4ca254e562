//! Selects the journals a process opens: the one that accepts pushes, and those orphaned by other servers.
//!
//! A server resumes the first journal in the storage that no living server holds, or creates one. It also adopts all other
//! free journals: their records still have to be loaded, and their idempotency keys still apply. Nothing here reads
//! records.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use forebay_core::{Error, Ident, RefName, Result, Timestamp};

use super::open::{DiskSite, LockedJournal};
use super::opened::{Journals, Slot};
use super::segment::{self, Folder};
use super::storage::{self, CLAIM, Claim, Site, WRITERS};
use super::{Journal, Limits, Place, Taken, blocking};

/// Interval between attempts to open a journal while opening fails, however many callers wait for it.
const OPEN_EVERY: Duration = Duration::from_millis(250);

/// The journals of a process, apart from the one that accepts pushes.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    journals: Vec<Journal>,
    identity: Option<Identity>,
    /// Expiry of the claims of other servers, as of the last check.
    held: HashMap<Ident, Timestamp>,
    /// Start of the first unsuccessful attempt to open a journal in the storage, in monotonic time.
    failed_at: Option<Duration>,
}

/// The identity of this process in the store.
#[derive(Debug)]
struct Identity {
    /// Stored on disk, so that a restarted process need not wait for its own claims to expire.
    owner: Ident,
    /// Held for as long as the process lives.
    _lock: File,
}

impl Adopted {
    pub(super) fn journals(&self) -> Vec<Journal> {
        self.journals.clone()
    }

    pub(super) fn find(&self, split: &Ident) -> Option<Journal> {
        let mut journals = self.journals.iter();
        journals.find(|journal| journal.id() == split).cloned()
    }

    /// The journal accepts no more pushes. A closed journal belongs to another process.
    pub(super) fn set_aside(&mut self, journal: Journal) {
        let is_known = self.find(journal.id()).is_some();
        if !journal.is_closed() && !is_known {
            self.journals.push(journal);
        }
    }

    fn take(&mut self, place: Place) -> Option<Journal> {
        self.journals.retain(|journal| !journal.is_closed());
        let found = self
            .journals
            .iter()
            .position(|journal| journal.place() == place)?;
        Some(self.journals.remove(found))
    }
}

impl Journals {
    pub(super) async fn open_on_disk(
        &self,
        pipeline: &Ident,
        slot: &Slot,
        adopted: &mut Adopted,
        limits: Limits,
    ) -> Result<Journal> {
        if let Some(journal) = adopted.take(Place::Disk) {
            return Ok(journal);
        }
        let site = self.disk_site(pipeline);
        let clock = self.clock.clone();
        let locked = blocking(move || LockedJournal::lock(&site, clock.as_ref())).await?;
        let committed = self.committed_offset(pipeline, &locked.id).await?;
        let clock = self.clock.clone();
        let keys = slot.keys.clone();
        let opened = move || Journal::open_locked(locked, committed, limits, clock, keys);
        let journal = blocking(opened).await?;
        self.resume_committed(pipeline, &journal).await?;
        Ok(journal)
    }

    /// Counts what `main` has committed as such before a run reads on, which may be much later.
    async fn resume_committed(&self, pipeline: &Ident, journal: &Journal) -> Result<()> {
        let Some(lake) = &self.lake else {
            return Ok(());
        };
        let positions = lake.store().positions(&RefName::main(), pipeline).await?;
        let position = positions.iter().find(|(split, ..)| split == journal.id());
        match position {
            Some((_, _, position)) => journal.resume(Taken::read(position)?.offset).await,
            None => Ok(()),
        }
    }

    pub(super) fn disk_site(&self, pipeline: &Ident) -> DiskSite {
        let folder = self.on_disk(pipeline);
        let mark = folder.with_file_name(format!("{pipeline}.mark"));
        DiskSite { folder, mark }
    }

    /// The highest offset of the journal that any branch has committed.
    pub(super) async fn committed_offset(&self, pipeline: &Ident, journal: &Ident) -> Result<u64> {
        let Some(lake) = &self.lake else {
            return Ok(0);
        };
        let mut furthest = 0;
        for branch in lake.store().branches().await? {
            let positions = lake.store().positions(&branch.name, pipeline).await?;
            for (split, _, position) in positions {
                if split == *journal {
                    furthest = furthest.max(Taken::read(&position)?.offset);
                }
            }
        }
        Ok(furthest)
    }

    pub(super) async fn open_in_storage(
        &self,
        pipeline: &Ident,
        slot: &Slot,
        adopted: &mut Adopted,
        limits: Limits,
    ) -> Result<Journal> {
        let site = self.site(pipeline, slot, limits)?;
        let now = self.clock.monotonic();
        if adopted
            .failed_at
            .is_some_and(|at| now.saturating_sub(at) < OPEN_EVERY)
        {
            return Err(opening());
        }
        adopted.failed_at = Some(now);
        let held = self.adopt_free(&site, slot, adopted).await?;
        self.wait_for(&site, &held, adopted).await?;
        adopted.failed_at = None;
        if let Some(journal) = adopted.take(Place::Storage) {
            return Ok(journal);
        }
        let id = segment::new_id(self.clock.as_ref())?;
        let claim = self.claim(&site, &id, adopted).await?;
        storage::open(&site, &id, claim).await
    }

    /// Opens orphaned journals, on disk and in the storage.
    pub(super) async fn adopt_all(
        &self,
        pipeline: &Ident,
        slot: &Slot,
        adopted: &mut Adopted,
        limits: Limits,
    ) -> Result<()> {
        adopted.journals.retain(|journal| !journal.is_closed());
        if self.lake.is_some() {
            let site = self.site(pipeline, slot, limits)?;
            self.adopt_free(&site, slot, adopted).await?;
        }
        let current = slot.current();
        let mut all = adopted.journals.iter().chain(&current);
        let has_disk = all.any(|journal| journal.place() == Place::Disk);
        if !has_disk && self.on_disk(pipeline).join("id").exists() {
            let journal = self.open_on_disk(pipeline, slot, adopted, limits).await?;
            adopted.set_aside(journal);
        }
        Ok(())
    }

    /// Opens every unclaimed journal in the storage; returns those that are claimed.
    async fn adopt_free(
        &self,
        site: &Site,
        slot: &Slot,
        adopted: &mut Adopted,
    ) -> Result<Vec<Ident>> {
        let mut held = Vec::new();
        for id in site.journals().await? {
            let is_current = slot
                .current()
                .is_some_and(|current| current.id() == &id && !current.is_closed());
            if is_current || adopted.find(&id).is_some() {
                continue;
            }
            match self.claim(site, &id, adopted).await {
                Ok(claim) => {
                    let journal = storage::open(site, &id, claim).await?;
                    tracing::info!(pipeline = %site.pipeline, journal = %id, "adopted orphaned journal");
                    adopted.journals.push(journal);
                }
                Err(error) if storage::is_held(&error) => held.push(id),
                Err(error) => return Err(error),
            }
        }
        Ok(held)
    }

    async fn claim(&self, site: &Site, id: &Ident, adopted: &mut Adopted) -> Result<Claim> {
        let identity = match &adopted.identity {
            Some(identity) => identity,
            None => {
                let folder = self.on_disk(&site.pipeline);
                let clock = self.clock.clone();
                let identity = blocking(move || {
                    let folder = Folder::open(&folder.join("owner"))?;
                    let lock = folder.lock()?;
                    let owner = folder.id(None, clock.as_ref())?;
                    Ok(Identity { owner, _lock: lock })
                });
                adopted.identity.insert(identity.await?)
            }
        };
        let store = site.lake.store();
        let owner = identity.owner.as_str();
        Claim::take(store, id, owner, self.exclusive, &self.clock).await
    }

    /// A held journal may belong to a server that has just died: its keys are needed, and its pending writes must not
    /// become durable later. A journal whose claim is being renewed belongs to a living server and is left alone.
    ///
    /// Errors: `Unavailable` `journal_held` until that is known.
    async fn wait_for(&self, site: &Site, held: &[Ident], adopted: &mut Adopted) -> Result<()> {
        let store = site.lake.store();
        let writers = WRITERS.parse()?;
        let mut unknown = None;
        for id in held {
            let now = self.clock.now();
            let until = store
                .held_until(&RefName::main(), &writers, id, now)
                .await?;
            let first = until.map(|until| *adopted.held.entry(id.clone()).or_insert(until));
            if until <= first {
                unknown = Some(id);
            }
        }
        match unknown {
            Some(id) => Err(is_held(id)),
            None => {
                adopted.held.clear();
                Ok(())
            }
        }
    }

    /// Whether a run has to restart to read a journal: an unclaimed one, or one that this process holds and could not read
    /// yet because the lease of its last owner's run had not expired.
    ///
    /// Errors: those of the storage and of the store.
    pub async fn has_left_behind(&self, pipeline: &Ident, limits: Limits) -> Result<bool> {
        let slot = self.slot(pipeline, limits);
        let left = self.left(pipeline);
        let site = self.site(pipeline, &slot, limits)?;
        let stored = left
            .iter()
            .filter(|journal| journal.place() == Place::Storage);
        let waiting = stored.filter(|journal| journal.backlog() > 0);
        for journal in waiting {
            if !self.is_held_as(&site, pipeline, journal.id()).await? {
                return Ok(true);
            }
        }
        let ours: Vec<Journal> = left.into_iter().chain(slot.current()).collect();
        let is_ours = |id: &Ident| ours.iter().any(|journal| journal.id() == id);
        let writers = WRITERS.parse()?;
        for id in site.journals().await?.iter().filter(|id| !is_ours(id)) {
            if !self.is_held_as(&site, &writers, id).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_held_as(&self, site: &Site, pipeline: &Ident, split: &Ident) -> Result<bool> {
        let main = RefName::main();
        let now = self.clock.now();
        let until = site.lake.store().held_until(&main, pipeline, split, now);
        Ok(until.await?.is_some())
    }

    fn site(&self, pipeline: &Ident, slot: &Slot, limits: Limits) -> Result<Site> {
        Ok(Site {
            lake: self.lake()?.clone(),
            clock: self.clock.clone(),
            pipeline: pipeline.clone(),
            limits,
            keys: slot.keys.clone(),
        })
    }

    fn on_disk(&self, pipeline: &Ident) -> PathBuf {
        self.folder.join(pipeline.as_str())
    }
}

fn is_held(id: &Ident) -> Error {
    let what = format!("journal {id} is held by another server, or its claim has not expired yet");
    Error::unavailable("journal_held", what).with_hint(format!(
        "retry the push; the claim expires within {} s if that server is down",
        CLAIM.as_secs()
    ))
}

fn opening() -> Error {
    let what = "the last attempt to open the journal failed";
    Error::unavailable("journal_opening", what).with_hint("retry the push in a moment")
}
