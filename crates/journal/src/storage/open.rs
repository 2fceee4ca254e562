//! Opening a journal in the storage: the existing objects are read and checked, then the end is claimed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use forebay_core::{Clock, Error, Ident, RefName, Result, Timestamp};
use forebay_lake::Lake;
use forebay_objects::{Created, from_objects};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;

use super::super::frame::{self, STAMP_BYTES};
use super::super::keys::{self, Keys};
use super::super::segment::{is_id, key_of};
use super::super::{Files, Journal, Limits, Taken, Tracks, lock_of};
use super::index::{Index, Object, Saved};
use super::read::{READS_MAX, get, records};
use super::write::Writer;
use super::{Claim, KEYS, Objects, SEGMENT, folder_of, nonce, segment, taken};

/// Retries when the end was taken while opening, by pending writes of an old writer.
const TRIES_MAX: u32 = 5;

/// The context for opening a journal, without its name.
#[derive(Debug, Clone)]
pub(in super::super) struct Site {
    pub(in super::super) lake: Lake,
    pub(in super::super) clock: Arc<dyn Clock>,
    pub(in super::super) pipeline: Ident,
    pub(in super::super) limits: Limits,
    /// Shared by the journals of a pipeline.
    pub(in super::super) keys: Arc<Mutex<Keys>>,
}

impl Site {
    /// The existing journals of the pipeline, by name.
    pub(in super::super) async fn journals(&self) -> Result<Vec<Ident>> {
        let folder = folder_of(&self.pipeline);
        let listed = self.lake.objects().list_with_delimiter(Some(&folder)).await;
        let listed = listed.map_err(|error| from_objects("list the journals", &folder, error))?;
        let names = listed.common_prefixes;
        // When the storage is a disk, other folders may exist beside them.
        let names = names.iter().filter_map(|path| path.filename());
        let names = names.filter(|name| is_id(name));
        let names = names.filter_map(|name| name.parse().ok());
        let mut names: Vec<Ident> = names.collect();
        names.sort();
        Ok(names)
    }

    fn folder(&self, journal: &Ident) -> Path {
        folder_of(&self.pipeline).join(journal.as_str())
    }

    /// The offset up to which `main` has committed the journal.
    async fn committed(&self, journal: &Ident) -> Result<Option<u64>> {
        let store = self.lake.store();
        let positions = store.positions(&RefName::main(), &self.pipeline).await?;
        let found = positions.iter().find(|(split, ..)| split == journal);
        found
            .map(|(_, _, position)| Taken::read(position).map(|taken| taken.offset))
            .transpose()
    }
}

/// Opens a journal that this process has claimed, making it when it is not there. From here on no other process can write
/// it.
///
/// Errors: `Data` `journal_corrupt` when an object is damaged, `journal_lost` when an uncommitted one is missing: nothing
/// is deleted then. `Unavailable` when the storage fails, `Conflict` `journal_taken` when others write all the time.
pub(in super::super) async fn open(site: &Site, id: &Ident, claim: Claim) -> Result<Journal> {
    let folder = site.folder(id);
    let stamp = uuid::Uuid::new_v4().as_u128();
    for _ in 0..TRIES_MAX {
        let listed = Listed::read(&site.lake, &folder).await?;
        // In this order: objects deleted before the listing had been committed before.
        let committed = site.committed(id).await?;
        listed.check(&folder, committed)?;
        let mut found = read_all(site, &folder, listed, committed).await?;
        let base = found.objects.last().map_or(0, |newest| newest.end);
        let bytes = frame::stamp(base, base, stamp).to_vec().into();
        let path = segment(&folder, base);
        if site.lake.create(&path, bytes, &nonce()).await? == Created::Another {
            continue;
        }
        found.objects.push(Object {
            base,
            end: base + STAMP_BYTES as u64,
            at: site.clock.now(),
            is_stamp: true,
            keyed: Vec::new(),
            bytes: None,
        });
        return Ok(start(site, id, claim, found, committed, stamp));
    }
    Err(taken(&folder))
}

/// The existing content of a journal.
struct Found {
    objects: Vec<Object>,
    saved: Vec<Saved>,
    /// Receive time of the first uncommitted record.
    oldest: Option<Timestamp>,
}

fn start(
    site: &Site,
    id: &Ident,
    claim: Claim,
    found: Found,
    committed: Option<u64>,
    stamp: u128,
) -> Journal {
    let end = found.objects.last().map_or(0, |newest| newest.end);
    let index = Index::new(found.objects, found.saved);
    let begin = index.after_stamps(committed.unwrap_or_else(|| index.first()));
    let objects = Arc::new(Objects {
        lake: site.lake.clone(),
        folder: site.folder(id),
        linger_us: AtomicU64::new(0),
        index: Mutex::new(index),
        claim,
    });
    objects.set_linger(site.limits.linger);
    let tracks = Tracks::new(site.keys.clone());
    if let Some(at) = found.oldest {
        lock_of(&tracks.ages).note(end, at);
    }
    let files = Files::Storage(objects.clone());
    let (journal, ends) = Journal::new(
        (id.clone(), files),
        begin.min(end)..end,
        site.limits,
        site.clock.clone(),
        tracks.clone(),
    );
    let writer = Writer::new(objects, site.clock.clone(), tracks, ends, stamp);
    tokio::spawn(writer.run());
    journal
}

/// The content of a listing.
struct Listed {
    /// Begin, size and age of each object of records, in order.
    objects: Vec<(u64, u64, Timestamp)>,
    /// Offset ranges of saved keys.
    keys: Vec<(u64, u64)>,
}

impl Listed {
    async fn read(lake: &Lake, folder: &Path) -> Result<Self> {
        let listed: Vec<_> = lake
            .objects()
            .list(Some(folder))
            .try_collect()
            .await
            .map_err(|error| from_objects("list the journal", folder, error))?;
        let mut objects = Vec::new();
        let mut keys = Vec::new();
        for meta in listed {
            let name = meta.location.filename().unwrap_or_default();
            match name.split_once('.') {
                Some((base, SEGMENT)) => {
                    let at = Timestamp(meta.last_modified.timestamp_micros());
                    objects.extend(base.parse().ok().map(|base| (base, meta.size, at)));
                }
                Some((range, KEYS)) => {
                    let range = range.split_once('-');
                    keys.extend(
                        range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?))),
                    );
                }
                _ => {}
            }
        }
        objects.sort_unstable();
        keys.sort_unstable();
        Ok(Self { objects, keys })
    }

    /// From the committed offset on, each object starts where the one before it ends. Earlier ones may be deleted.
    fn check(&self, folder: &Path, committed: Option<u64>) -> Result<()> {
        let begin = committed.unwrap_or(0);
        let mut whole_to = None;
        for &(base, size, _) in &self.objects {
            let end = base + size;
            whole_to = match whole_to {
                Some(before) if before == base => Some(end),
                Some(before) if before > begin => return Err(hole(folder, before)),
                // No needed object has been seen yet.
                _ if base > begin => return Err(hole(folder, begin)),
                _ => Some(end),
            };
        }
        match whole_to {
            Some(end) if end < begin => Err(hole(folder, end)),
            None if begin > 0 => Err(hole(folder, 0)),
            _ => Ok(()),
        }
    }
}

/// Reads uncommitted objects, and those with unexpired keys. Every record of them has to be whole.
async fn read_all(
    site: &Site,
    folder: &Path,
    listed: Listed,
    committed: Option<u64>,
) -> Result<Found> {
    let now = site.clock.now();
    let from = committed.unwrap_or(0);
    let keep = lock_of(&site.keys).keep();
    let objects = listed
        .objects
        .into_iter()
        .map(|(base, size, at)| async move {
            let object = Object {
                base,
                end: base + size,
                at,
                is_stamp: size == STAMP_BYTES as u64,
                keyed: Vec::new(),
                bytes: None,
            };
            let is_done = object.end <= from && now.since(at) >= keep;
            if object.is_stamp || is_done {
                return Ok((object, None));
            }
            read_one(site, folder, object, from).await
        });
    let read = stream::iter(objects).buffered(READS_MAX);
    let read: Vec<(Object, Option<Timestamp>)> = read.try_collect().await?;
    let oldest = read.iter().find_map(|(_, oldest)| *oldest);
    let objects: Vec<Object> = read.into_iter().map(|(object, _)| object).collect();
    let mut keys = Vec::new();
    for (from, to) in listed.keys {
        keys.push(read_keys(site, folder, from, to));
    }
    let saved: Vec<Option<Saved>> = stream::iter(keys).buffered(READS_MAX).try_collect().await?;
    let mut known = lock_of(&site.keys);
    for keyed in objects.iter().flat_map(|object| &object.keyed) {
        known.remember(keyed.key, keyed.seen, now);
    }
    drop(known);
    Ok(Found {
        objects,
        saved: saved.into_iter().flatten().collect(),
        oldest,
    })
}

/// The keys of an object, and the receive time of its first record from `committed` on.
async fn read_one(
    site: &Site,
    folder: &Path,
    mut object: Object,
    committed: u64,
) -> Result<(Object, Option<Timestamp>)> {
    let path = segment(folder, object.base);
    let bytes = get(site.lake.objects().as_ref(), &path).await?;
    let mut oldest = None;
    for (offset, parsed) in records(&bytes, object.base, object.base, &path)? {
        object.keyed.extend(key_of(offset, &parsed)?);
        if oldest.is_none() && offset >= committed && !parsed.head.is_empty() {
            oldest = Some(frame::head(&parsed.head)?.at);
        }
    }
    Ok((object, oldest))
}

/// Keys of deleted objects. Damaged ones are logged and skipped: pushes are not lost with them.
async fn read_keys(site: &Site, folder: &Path, from: u64, to: u64) -> Result<Option<Saved>> {
    let path = folder.clone().join(format!("{from:020}-{to:020}.{KEYS}"));
    let bytes = get(site.lake.objects().as_ref(), &path).await?;
    let Some(keyed) = keys::from_bytes(&bytes) else {
        tracing::warn!(object = %path, "idempotency keys are damaged, repeated pushes under these keys may be accepted again");
        return Ok(None);
    };
    let now = site.clock.now();
    let mut known = lock_of(&site.keys);
    keyed
        .iter()
        .for_each(|keyed| known.remember(keyed.key, keyed.seen, now));
    let newest = keyed.iter().map(|keyed| keyed.seen.at).max();
    Ok(newest.map(|newest| Saved { from, to, newest }))
}

fn hole(folder: &Path, offset: u64) -> Error {
    let what = format!("the journal has a gap at offset {offset}, in uncommitted records");
    Error::data("journal_lost", what)
        .with_context("journal", folder)
        .with_hint("restore the objects from a backup or older versions, and find out what else deletes objects of the storage; nothing was deleted or skipped")
}
