//! Opening a journal in the storage: what is there is read and held to what it must be, then the end is taken.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use forebay_core::{Clock, Error, Ident, RefName, Result, Timestamp};
use forebay_lake::Lake;
use forebay_lake::storage::{Created, from_objects};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::super::frame::{self, STAMP_BYTES};
use super::super::keys::{self, Keys};
use super::super::segment::{is_id, key_of};
use super::super::{Files, Journal, Limits, Taken, Tracks, lock_of};
use super::index::{Index, Object, Saved};
use super::read::{READS_MAX, get, records};
use super::write::Writer;
use super::{Claim, KEYS, Objects, SEGMENT, folder_of, nonce, segment, taken};

/// How often the end is looked for again when it was taken meanwhile: by what an old writer had on its way.
const TRIES_MAX: u32 = 5;

/// What opening needs besides the journal's name.
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
    /// The journals of the pipeline that are there, by name.
    pub(in super::super) async fn journals(&self) -> Result<Vec<Ident>> {
        let folder = folder_of(&self.pipeline);
        let listed = self.lake.objects().list_with_delimiter(Some(&folder)).await;
        let listed = listed.map_err(|error| from_objects("list the journals", &folder, error))?;
        let names = listed.common_prefixes;
        // Beside them there may be other folders, where the storage is the disk.
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

    /// Up to where `main` has taken the journal.
    async fn committed(&self, journal: &Ident) -> Result<Option<u64>> {
        let store = self.lake.store();
        let positions = store.positions(&RefName::main(), &self.pipeline).await?;
        let found = positions.iter().find(|(split, ..)| split == journal);
        found
            .map(|(_, _, position)| Taken::read(position).map(|taken| taken.offset))
            .transpose()
    }
}

/// Opens a journal whose claim this process has, making it when it is not there. From here on no other process can write it.
///
/// Errors: `Data` `journal_corrupt` when an object is damaged, `journal_lost` when one is missing that is not committed:
/// nothing is deleted then. `Unavailable` when the storage fails, `Conflict` `journal_taken` when others write all the time.
pub(in super::super) async fn open(site: &Site, id: &Ident, claim: Claim) -> Result<Journal> {
    let folder = site.folder(id);
    let stamp = uuid::Uuid::new_v4().as_u128();
    for _ in 0..TRIES_MAX {
        let listed = Listed::read(&site.lake, &folder).await?;
        // In this order: what was deleted before the listing had been committed before.
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

/// What there is of a journal.
struct Found {
    objects: Vec<Object>,
    saved: Vec<Saved>,
    /// When the first record that is not committed came.
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

/// What a listing says.
struct Listed {
    /// Begin, size and age of each object of records, in order.
    objects: Vec<(u64, u64, Timestamp)>,
    /// From where to where keys were saved.
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
        let (mut objects, mut keys) = (Vec::new(), Vec::new());
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

    /// From what is committed on, each object begins where the one before it ends. What is before that may be deleted.
    fn check(&self, folder: &Path, committed: Option<u64>) -> Result<()> {
        let begin = committed.unwrap_or(0);
        let mut whole_to = None;
        for &(base, size, _) in &self.objects {
            let end = base + size;
            whole_to = match whole_to {
                Some(before) if before == base => Some(end),
                Some(before) if before > begin => return Err(hole(folder, before)),
                // Nothing that is needed has been seen yet.
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

/// Reads what is not committed, and what has keys to be remembered. Every record of it has to be whole.
async fn read_all(
    site: &Site,
    folder: &Path,
    listed: Listed,
    committed: Option<u64>,
) -> Result<Found> {
    let (now, from) = (site.clock.now(), committed.unwrap_or(0));
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

/// The keys of an object, and when its first record from `committed` on came.
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

/// Keys of deleted objects. Damaged ones are told of and passed over: pushes are not lost with them.
async fn read_keys(site: &Site, folder: &Path, from: u64, to: u64) -> Result<Option<Saved>> {
    let path = folder.clone().join(format!("{from:020}-{to:020}.{KEYS}"));
    let bytes = get(site.lake.objects().as_ref(), &path).await?;
    let Some(keyed) = keys::from_bytes(&bytes) else {
        tracing::warn!(object = %path, "idempotency keys are damaged: what was pushed under them may be taken again");
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
    let what = format!("the journal has a hole at offset {offset}, in what is not committed");
    Error::data("journal_lost", what)
        .with_context("journal", folder)
        .with_hint("something else deletes objects of the storage: bring them back from a backup or older versions; nothing was deleted or passed over")
}
