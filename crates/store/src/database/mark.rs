//! The mark of a catalog: how far a SQLite catalog had come, in a file beside it (`store.db-mark`).
//!
//! SQLite does not notice when the end of its write-ahead log is missing: the rest looks like an older catalog. The mark does.
//! It is written after the transaction that it names is durable, so it never claims more than there was; after a power cut it
//! may be older than the catalog. It moves back only when a loss is accepted. It decides nothing but whether something is
//! missing.
//!
//! Layout, 64 bytes, little endian: magic `u32` · CRC-32 `u32` of the rest · ordinal of the transaction `i64` · sequence
//! number of the newest commit `i64` · length of its id `u8` · id · zeros. Without a commit the last three are zero.

use std::fs::File;
use std::io::{Error, ErrorKind as Io, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::progress::{CatalogProgress, NewestCommit};

const MAGIC: u32 = 0x4D43_4601;
const MARK_BYTES: usize = 64;
const ID_BYTES_MAX: usize = MARK_BYTES - 25;

/// Reads before a mark counts as damaged.
const READS_MAX: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(5);
/// Writers of other processes hold the lock for some microseconds.
const LOCK_ATTEMPTS_MAX: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// The content of a mark file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredMark {
    Whole(CatalogProgress),
    Damaged,
    Missing,
}

impl StoredMark {
    pub(crate) fn whole(&self) -> Option<&CatalogProgress> {
        match self {
            Self::Whole(progress) => Some(progress),
            Self::Damaged | Self::Missing => None,
        }
    }
}

/// Where the mark of a catalog is.
#[derive(Debug, Clone)]
pub(crate) struct CatalogMark {
    path: PathBuf,
}

impl CatalogMark {
    pub(crate) fn beside(catalog: &Path) -> Self {
        let mut path = catalog.to_owned().into_os_string();
        path.push("-mark");
        let path = PathBuf::from(path);
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self) -> Result<StoredMark> {
        // Another process may be writing it at this moment.
        for _ in 1..READS_MAX {
            match self.read_once()? {
                StoredMark::Damaged => std::thread::sleep(READ_PAUSE),
                found => return Ok(found),
            }
        }
        self.read_once()
    }

    fn read_once(&self) -> Result<StoredMark> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(decode(&bytes).map_or(StoredMark::Damaged, StoredMark::Whole)),
            Err(error) if error.kind() == Io::NotFound => Ok(StoredMark::Missing),
            Err(error) => Err(error),
        }
    }

    /// Moves the mark forward to this progress, never back: a process that was slow to write must not
    /// reset it. Not synced: a mark that is too old hides nothing new.
    pub(crate) fn advance(&self, progress: &CatalogProgress) -> Result<()> {
        let file = self.open_locked()?;
        match self.read_once()?.whole() {
            Some(marked) if marked.transaction >= progress.transaction => Ok(()),
            _ => write(&file, progress),
        }
    }

    /// Says that the catalog has come this far, also when that is less than before.
    pub(crate) fn replace(&self, progress: &CatalogProgress) -> Result<()> {
        let file = self.open_locked()?;
        write(&file, progress)?;
        file.sync_all()
    }

    /// Opened for each write: a mark that was deleted or replaced is there again after the next one.
    fn open_locked(&self) -> Result<File> {
        let is_new = !self.path.exists();
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.path)?;
        lock(&file)?;
        if let Some(folder) = self.path.parent().filter(|_| is_new) {
            sync_folder(folder)?;
        }
        Ok(file)
    }
}

/// The lock ends with the file.
fn lock(file: &File) -> Result<()> {
    for _ in 1..LOCK_ATTEMPTS_MAX {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::from(Io::WouldBlock))
}

fn sync_folder(folder: &Path) -> Result<()> {
    let is_here = folder.as_os_str().is_empty();
    let folder = if is_here { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn write(file: &File, progress: &CatalogProgress) -> Result<()> {
    // Bytes behind a mark would damage it for ever.
    if file.metadata()?.len() > MARK_BYTES as u64 {
        file.set_len(0)?;
    }
    file.write_all_at(&encode(progress), 0)
}

fn encode(progress: &CatalogProgress) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[8..16].copy_from_slice(&progress.transaction.to_le_bytes());
    if let Some(commit) = &progress.commit {
        let length = commit.id.len().min(ID_BYTES_MAX);
        bytes[16..24].copy_from_slice(&commit.seq.to_le_bytes());
        bytes[24] = u8::try_from(length).unwrap_or(0);
        bytes[25..25 + length].copy_from_slice(&commit.id.as_bytes()[..length]);
    }
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<CatalogProgress> {
    let bytes: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
    let (head, rest) = bytes.split_at(8);
    let magic = u32::from_le_bytes(head[..4].try_into().ok()?);
    let crc = u32::from_le_bytes(head[4..].try_into().ok()?);
    if magic != MAGIC || crc != crc32fast::hash(rest) {
        return None;
    }
    let transaction = i64::from_le_bytes(rest[..8].try_into().ok()?);
    let seq = i64::from_le_bytes(rest[8..16].try_into().ok()?);
    let length = usize::from(rest[16]);
    let id = std::str::from_utf8(rest.get(17..17 + length)?).ok()?;
    let commit = (length > 0).then(|| NewestCommit {
        seq,
        id: id.to_owned(),
    });
    Some(CatalogProgress {
        transaction,
        commit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(transaction: i64) -> CatalogProgress {
        CatalogProgress {
            transaction,
            commit: Some(NewestCommit {
                seq: transaction - 3,
                id: "01HZXJ00000000000000000000".to_owned(),
            }),
        }
    }

    #[test]
    fn a_flipped_bit_of_a_mark_is_no_mark_and_the_next_write_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let mark = CatalogMark::beside(&folder.path().join("store.db"));
        assert_eq!(mark.read().unwrap(), StoredMark::Missing);
        mark.advance(&progress(40)).unwrap();
        assert_eq!(mark.read().unwrap(), StoredMark::Whole(progress(40)));
        let bytes = std::fs::read(mark.path()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
        for length in [0, 17, 63, 65, 4096] {
            let mut cut = bytes.clone();
            cut.resize(length, 7);
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::write(mark.path(), cut).unwrap();
            assert_eq!(mark.read().unwrap(), StoredMark::Damaged, "{length}");
            mark.advance(&progress(41)).unwrap();
            assert_eq!(mark.read().unwrap(), StoredMark::Whole(progress(41)));
        }
    }

    #[test]
    fn a_mark_moves_back_only_when_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mark = CatalogMark::beside(&folder.path().join("store.db"));
        let writers = (0..4).map(|first| {
            let mark = mark.clone();
            std::thread::spawn(move || {
                for n in (first..200).step_by(4) {
                    mark.advance(&progress(n)).unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        assert_eq!(mark.read().unwrap(), StoredMark::Whole(progress(199)));
        mark.advance(&progress(7)).unwrap();
        assert_eq!(mark.read().unwrap(), StoredMark::Whole(progress(199)));
        let none = CatalogProgress::default();
        mark.replace(&none).unwrap();
        assert_eq!(mark.read().unwrap(), StoredMark::Whole(none));
    }
}
