//! The folder of a journal: its segments, their keys, and the recovery of the newest one after a crash.

use std::fs::File;
use std::io::{ErrorKind as Io, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_core::{Clock, Error, Ident, Result, Timestamp};
use ulid::Ulid;

use super::frame::{self, Parsed, Place};
use super::gap::{self, JournalGap};
use super::keys::{self, Keyed, Keys, Seen};
use super::scan::{Found, Scan};

const SEGMENT: &str = "segment";
const KEYS: &str = "keys";
/// The file with the journal's name: the name, and in a second line its CRC-32 in hexadecimal.
const ID: &str = "id";

/// The content of the file with the journal's name.
#[derive(Debug)]
pub(super) enum StoredId {
    Whole(Ident),
    Damaged,
    Missing,
}

/// A file of records: `[base, end)` in logical offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) end: u64,
}

/// The content of the newest segment after a crash.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) end: u64,
    /// Where the last push ends: what follows are records of the journal itself.
    pub(super) pushed_end: u64,
    /// End of the torn part that was kept; `end` when there is none.
    pub(super) torn_end: u64,
    pub(super) keyed: Vec<Keyed>,
}

/// The records of an atomic group that have been read so far.
#[derive(Debug, Default)]
struct Part {
    begin: u64,
    missing: u32,
}

impl Part {
    fn add(&mut self, offset: u64, parsed: &Parsed) -> Result<()> {
        if self.missing > 0 {
            self.missing -= 1;
        } else if frame::may_hold(&parsed.head, b"\"of\"") {
            let together = frame::head(&parsed.head)?.together.unwrap_or(1);
            self.begin = offset;
            self.missing = together.saturating_sub(1);
        }
        Ok(())
    }

    /// Start of an incomplete group.
    fn begin(&self) -> Option<u64> {
        (self.missing > 0).then_some(self.begin)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| failed(error, path))?;
        let path = path.to_owned();
        let folder = Self { path };
        if let Some(parent) = folder.path.parent() {
            sync(parent)?;
        }
        Ok(folder)
    }

    /// One process at a time writes a journal; the operating system releases the lock when the process ends, however it
    /// ends.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.path.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(error, &path))?;
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, operation).map_err(|error| {
            Error::conflict("journal_open", "another process has the journal open")
                .with_source(std::io::Error::from(error))
                .with_context("journal", self.path.display())
                .with_hint("stop the other `forebay serve` or run of this pipeline first")
        })?;
        Ok(file)
    }

    /// The journal's name, made when the folder is new. Without its name file, the journal keeps the name in its mark.
    ///
    /// Errors: `Data` `journal_corrupt` when the name is damaged, or gone from beside its records, and there is no mark: under
    /// another name every record would be read again.
    pub(super) fn id(&self, known: Option<&Ident>, clock: &dyn Clock) -> Result<Ident> {
        let path = self.path.join(ID);
        let id = match (self.read_id()?, known) {
            (StoredId::Whole(id), _) => return Ok(id),
            (StoredId::Damaged, None) => return Err(damaged_id(&path)),
            (StoredId::Damaged, Some(id)) => {
                tracing::error!(file = %path.display(), journal = %id, "journal name is damaged, restored from the journal mark");
                id.clone()
            }
            (StoredId::Missing, Some(id)) => id.clone(),
            (StoredId::Missing, None) if !self.segments()?.is_empty() => {
                return Err(damaged_id(&path));
            }
            (StoredId::Missing, None) => new_id(clock)?,
        };
        self.put(ID, id_text(&id).as_bytes())?;
        Ok(id)
    }

    pub(super) fn read_id(&self) -> Result<StoredId> {
        let path = self.path.join(ID);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(parse_id(&bytes).map_or(StoredId::Damaged, StoredId::Whole)),
            Err(error) if error.kind() == Io::NotFound => Ok(StoredId::Missing),
            Err(error) => Err(failed(error, &path)),
        }
    }

    /// Whether the name file has every byte that it was written with; one without a checksum is of an earlier version.
    pub(super) fn has_exact_id(&self, id: &Ident) -> Result<bool> {
        let path = self.path.join(ID);
        let bytes = std::fs::read(&path).map_err(|error| failed(error, &path))?;
        Ok(bytes == id_text(id).as_bytes()
            || std::str::from_utf8(&bytes).is_ok_and(|name| is_id(name.trim_end())))
    }

    /// Writes a small file atomically.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, part) = (self.path.join(name), self.path.join(format!("{name}.part")));
        let created = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part);
        let written = created.and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&part, &path)
        });
        written.map_err(|error| failed(error, &path))?;
        sync(&self.path)
    }

    /// Segments by offset. Each ends where the next begins; the newest where its file does.
    pub(super) fn segments(&self) -> Result<Vec<Segment>> {
        let bases = self.bases(SEGMENT)?;
        let mut segments = Vec::with_capacity(bases.len());
        for (n, &base) in bases.iter().enumerate() {
            let end = match bases.get(n + 1) {
                Some(next) => *next,
                None => base + self.size(base)?,
            };
            segments.push(Segment { base, end });
        }
        Ok(segments)
    }

    pub(super) fn has(&self, offset: u64) -> Result<bool> {
        for segment in self.segments()? {
            if segment.base <= offset && offset <= segment.end {
                return Ok(true);
            }
        }
        Ok(self.gap_at(offset)?.is_some())
    }

    /// The gap that contains this offset.
    pub(super) fn gap_at(&self, offset: u64) -> Result<Option<JournalGap>> {
        let mut gaps = gap::list_gaps(&self.path)?.into_iter();
        Ok(gaps.find(|gap| gap.contains(offset)))
    }

    fn bases(&self, extension: &str) -> Result<Vec<u64>> {
        let entries = std::fs::read_dir(&self.path).map_err(|error| failed(error, &self.path))?;
        let mut bases = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(error, &self.path))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let base: Option<u64> = stem.and_then(|stem| stem.parse().ok());
            if path.extension().is_some_and(|found| found == extension) {
                bases.extend(base);
            }
        }
        bases.sort_unstable();
        Ok(bases)
    }

    pub(super) fn file(&self, base: u64) -> PathBuf {
        self.path.join(format!("{base:020}.{SEGMENT}"))
    }

    fn keys_file(&self, base: u64) -> PathBuf {
        self.path.join(format!("{base:020}.{KEYS}"))
    }

    fn size(&self, base: u64) -> Result<u64> {
        let path = self.file(base);
        let metadata = std::fs::metadata(&path).map_err(|error| failed(error, &path))?;
        Ok(metadata.len())
    }

    /// Opens a segment for writing, making it when it is not there; the folder is flushed, so it stays.
    pub(super) fn writable(&self, base: u64) -> Result<File> {
        let path = self.file(base);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(error, &path))?;
        sync(&self.path)?;
        Ok(file)
    }

    /// Cuts the torn end off the newest segment, with the rest of its atomic group, and returns where it ends. Bytes before
    /// `acknowledged` are not a torn end: they are kept for a rescue. When the acknowledged offset is unknown, nothing is
    /// cut.
    pub(super) fn recover(&self, base: u64, acknowledged: Option<u64>) -> Result<Recovered> {
        let file = self.writable(base)?;
        let may_cut = |begin: u64| acknowledged.is_some_and(|acknowledged| begin >= acknowledged);
        let mut scan = Scan::new(file, base, base);
        let mut keyed = Vec::new();
        let mut pushed_end = base;
        let mut part = Part::default();
        let end = loop {
            match scan
                .next()
                .map_err(|error| failed(error, &self.file(base)))?
            {
                Found::Record(offset, parsed) => {
                    part.add(offset, &parsed)?;
                    keyed.extend(key_of(offset, &parsed)?);
                    if !parsed.head.is_empty() {
                        pushed_end = scan.offset;
                    }
                }
                Found::End => match part.begin() {
                    None => break scan.offset,
                    Some(begin) => {
                        if may_cut(begin) {
                            self.cut_off(&scan, base, begin)?;
                        }
                        break begin;
                    }
                },
                Found::Damaged(offset) => {
                    self.check_torn(&mut scan, base, offset, acknowledged.unwrap_or(0))?;
                    let begin = part.begin().unwrap_or(offset);
                    if may_cut(begin) {
                        self.cut_off(&scan, base, begin)?;
                    }
                    break begin;
                }
            }
        };
        keyed.retain(|keyed: &Keyed| keyed.seen.offset < end);
        let torn_end = end.max(base + self.size(base)?);
        Ok(Recovered {
            end,
            pushed_end: pushed_end.min(end),
            torn_end,
            keyed,
        })
    }

    /// Whether the file may be cut at `offset`: not if a later record, or the mark, shows that the bytes there were
    /// durable.
    fn check_torn(&self, scan: &mut Scan, base: u64, offset: u64, acknowledged: u64) -> Result<()> {
        let path = self.file(base);
        let rest = scan.rest().map_err(|error| failed(error, &path))?;
        let mut at = 0;
        while let Some(step) = frame::next_candidate(&rest[at..]) {
            at += step;
            if let Place::Record(parsed) = frame::parse(&rest.slice(at..), offset + at as u64)
                && parsed.durable.max(acknowledged) > offset
            {
                return Err(corrupt(&path, offset));
            }
        }
        Ok(())
    }

    fn cut_off(&self, scan: &Scan, base: u64, offset: u64) -> Result<()> {
        let path = self.file(base);
        tracing::warn!(journal = %path.display(), offset, "cut off the torn end of the journal: it was never acknowledged");
        scan.file
            .set_len(offset - base)
            .and_then(|()| scan.file.sync_all())
            .map_err(|error| failed(error, &path))
    }

    /// Keys of full segments: from their files, or from the segment where the file is missing.
    pub(super) fn load_keys(
        &self,
        segments: &[Segment],
        keys: &mut Keys,
        now: Timestamp,
    ) -> Result<()> {
        let mut known = Vec::new();
        for base in self.bases(KEYS)? {
            let Some(keyed) = self.read_keys(base)? else {
                let is_in_segment = segments.iter().any(|segment| segment.base == base);
                if !is_in_segment {
                    let file = self.keys_file(base);
                    tracing::error!(file = %file.display(), "idempotency keys are damaged, repeated pushes under these keys are accepted again");
                }
                continue;
            };
            known.push(base);
            keyed
                .iter()
                .for_each(|keyed| keys.remember(keyed.key, keyed.seen, now));
        }
        for segment in segments
            .iter()
            .filter(|segment| !known.contains(&segment.base))
        {
            let path = self.file(segment.base);
            let file = File::open(&path).map_err(|error| failed(error, &path))?;
            let mut scan = Scan::new(file, segment.base, segment.base);
            // Damage in here is reported by the reader of the records.
            while let Found::Record(offset, parsed) =
                scan.next().map_err(|error| failed(error, &path))?
            {
                if let Some(keyed) = key_of(offset, &parsed)? {
                    keys.remember(keyed.key, keyed.seen, now);
                }
            }
        }
        Ok(())
    }

    /// The keys of a segment; `None` when their file is damaged.
    fn read_keys(&self, base: u64) -> Result<Option<Vec<Keyed>>> {
        let path = self.keys_file(base);
        let bytes = std::fs::read(&path).map_err(|error| failed(error, &path))?;
        Ok(keys::from_bytes(&bytes))
    }

    /// Files of keys that are damaged and whose segments are gone.
    pub(super) fn damaged_keys(&self) -> Result<Vec<PathBuf>> {
        let segments = self.bases(SEGMENT)?;
        let mut damaged = Vec::new();
        for base in self.bases(KEYS)? {
            if !segments.contains(&base) && self.read_keys(base)?.is_none() {
                damaged.push(self.keys_file(base));
            }
        }
        Ok(damaged)
    }

    pub(super) fn save_keys(&self, base: u64, keyed: &[Keyed]) -> Result<()> {
        self.put(&format!("{base:020}.{KEYS}"), &keys::to_bytes(keyed))
    }

    /// Deletes the segments that begin there.
    pub(super) fn delete(&self, bases: &[u64]) -> Result<()> {
        bases.iter().try_for_each(|base| remove(&self.file(*base)))
    }

    /// Receive time of the first record at or after `offset`; `None` when there is none.
    pub(super) fn time_of(&self, offset: u64) -> Result<Option<Timestamp>> {
        let bases = self.bases(SEGMENT)?;
        let Some(first) = bases.iter().rposition(|base| *base <= offset) else {
            return Ok(None);
        };
        // Behind the last push of a segment there may be records of the journal only.
        for base in &bases[first..] {
            let found = self.first_time(*base, offset.max(*base))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The same in the segment of this base only.
    pub(super) fn first_time(&self, base: u64, offset: u64) -> Result<Option<Timestamp>> {
        let path = self.file(base);
        let file = File::open(&path).map_err(|error| failed(error, &path))?;
        let mut scan = Scan::new(file, base, offset);
        // Damage is reported by the reader of the records.
        while let Found::Record(_, parsed) = scan.next().map_err(|error| failed(error, &path))? {
            if !parsed.head.is_empty() {
                return frame::head(&parsed.head).map(|head| Some(head.at));
            }
        }
        Ok(None)
    }

    /// Deletes the keys of deleted segments once the newest of them is older than `keep`.
    pub(super) fn delete_keys(&self, offset: u64, keep: Duration, now: Timestamp) -> Result<()> {
        let kept = self
            .bases(SEGMENT)?
            .first()
            .copied()
            .unwrap_or(0)
            .min(offset);
        for base in self.bases(KEYS)?.into_iter().filter(|base| *base < kept) {
            let keyed = self.read_keys(base)?.unwrap_or_default();
            if keyed.iter().any(|keyed| now.since(keyed.seen.at) < keep) {
                return Ok(());
            }
            remove(&self.keys_file(base))?;
        }
        Ok(())
    }
}

/// A unique journal name.
pub(super) fn new_id(clock: &dyn Clock) -> Result<Ident> {
    let path = Path::new("/dev/urandom");
    let mut noise = [0; 16];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut noise))
        .map_err(|error| failed(error, path))?;
    let millis = u64::try_from(clock.now().millis()).unwrap_or(0);
    let ulid = Ulid::from_parts(millis, u128::from_le_bytes(noise));
    format!("j{}", ulid.to_string().to_ascii_lowercase()).parse()
}

fn id_text(id: &Ident) -> String {
    let crc = crc32fast::hash(id.as_str().as_bytes());
    format!("{id}\n{crc:08x}\n")
}

fn parse_id(bytes: &[u8]) -> Option<Ident> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let name = lines.next()?;
    let is_whole = match lines.next() {
        Some(crc) => u32::from_str_radix(crc, 16) == Ok(crc32fast::hash(name.as_bytes())),
        // Written before names had a checksum.
        None => is_id(name),
    };
    is_whole.then(|| name.parse().ok()).flatten()
}

fn damaged_id(path: &Path) -> Error {
    Error::data(
        "journal_corrupt",
        "the file with the journal's name is damaged or missing",
    )
    .with_context("file", path.display())
    .with_hint("restore the file from a copy of the disk; nothing was changed")
}

/// Whether this is a name of [`new_id`].
pub(super) fn is_id(name: &str) -> bool {
    let ulid = name.strip_prefix('j').unwrap_or_default();
    Ulid::from_string(&ulid.to_ascii_uppercase()).is_ok()
}

pub(super) fn key_of(offset: u64, parsed: &Parsed) -> Result<Option<Keyed>> {
    if !frame::may_hold(&parsed.head, b"\"key\"") {
        return Ok(None);
    }
    let head = frame::head(&parsed.head)?;
    let at = head.at;
    Ok(head.key.map(|(key, print)| Keyed {
        key,
        seen: Seen { offset, print, at },
    }))
}

pub(super) fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed(error, folder))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != Io::NotFound => Err(failed(error, path)),
        _ => Ok(()),
    }
}

pub(super) fn failed(error: std::io::Error, path: &Path) -> Error {
    let (code, what) = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => ("disk_full", "the journal's disk is full"),
        _ => ("journal_failed", "the disk failed to write the journal"),
    };
    Error::unavailable(code, what)
        .with_source(error)
        .with_context("file", path.display())
}

pub(super) fn corrupt(path: &Path, offset: u64) -> Error {
    let what = format!("the journal is damaged at offset {offset}, in acknowledged records");
    Error::data("journal_corrupt", what)
        .with_context("file", path.display())
        .with_hint("restore the file from a copy of the disk; nothing was cut off or skipped")
}
