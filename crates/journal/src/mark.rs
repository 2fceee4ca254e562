//! The mark of a journal: up to which offset its records were acknowledged, in a file beside the journal's folder.
//!
//! A journal alone cannot show that its end is missing: the rest looks like a shorter journal. The mark can. It is written
//! after the records that it counts are durable, so it never claims more than there was; after a power cut it may be older
//! than the journal. It is only used to detect missing records.
//!
//! Layout, 64 bytes, little endian: magic `u32` · CRC-32 `u32` of what follows · acknowledged offset `u64` · length of the name
//! `u8` · name of the journal · zeros.

use std::fs::File;
use std::io::ErrorKind as Io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_core::{Ident, Result};

use super::segment::{failed, sync};

const MAGIC: u32 = 0x4A42_4602;
const MARK_BYTES: usize = 64;
const NAME_BYTES_MAX: usize = MARK_BYTES - 17;

/// Reads before a mark counts as damaged.
const READS_MAX: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(5);

/// The content of a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AcknowledgedMark {
    pub(super) journal: Ident,
    /// Everything before this offset was acknowledged.
    pub(super) offset: u64,
}

/// The state of a mark file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoredMark {
    Whole(AcknowledgedMark),
    Damaged,
    Missing,
}

impl StoredMark {
    pub(super) fn whole(&self) -> Option<&AcknowledgedMark> {
        match self {
            Self::Whole(mark) => Some(mark),
            Self::Damaged | Self::Missing => None,
        }
    }

    /// Offset up to which this journal was acknowledged; `None` when unknown.
    pub(super) fn acknowledged(&self, journal: Option<&Ident>) -> Option<u64> {
        let own = self.whole().filter(|mark| Some(&mark.journal) == journal);
        own.map(|mark| mark.offset)
    }
}

/// A mark that is kept up to date.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    path: PathBuf,
    journal: Ident,
    has_failed: bool,
}

/// Reads a mark.
///
/// Errors: `Unavailable` when the disk fails.
pub(super) fn read_mark(path: &Path) -> Result<StoredMark> {
    // A server may be writing it at this moment.
    for _ in 1..READS_MAX {
        match read_once(path)? {
            StoredMark::Damaged => std::thread::sleep(READ_PAUSE),
            found => return Ok(found),
        }
    }
    read_once(path)
}

fn read_once(path: &Path) -> Result<StoredMark> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(decode(&bytes).map_or(StoredMark::Damaged, StoredMark::Whole)),
        Err(error) if error.kind() == Io::NotFound => Ok(StoredMark::Missing),
        Err(error) => Err(failed(error, path)),
    }
}

impl MarkFile {
    /// Opens or creates the mark of this journal.
    pub(super) fn open(path: &Path, journal: &Ident) -> Result<Self> {
        let is_new = !path.exists();
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(error, path))?;
        // Bytes after a mark would make it damaged for ever.
        let bytes = file.metadata().map_or(0, |file| file.len());
        if bytes > MARK_BYTES as u64 {
            file.set_len(0).map_err(|error| failed(error, path))?;
        }
        if let Some(folder) = path.parent().filter(|_| is_new) {
            sync(folder)?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            journal: journal.clone(),
            has_failed: false,
        })
    }

    /// Sets the acknowledged offset. Not synced here: an outdated mark claims nothing that is false.
    pub(super) fn set(&mut self, offset: u64) {
        let written = self.file.write_all_at(&encode(&self.journal, offset), 0);
        match written {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                tracing::warn!(%error, file = %self.path.display(), "failed to write journal mark");
                self.has_failed = true;
            }
            Err(_) => {}
        }
    }

    pub(super) fn sync(&self) {
        if let Err(error) = self.file.sync_data() {
            tracing::warn!(%error, file = %self.path.display(), "failed to sync journal mark");
        }
    }
}

fn encode(journal: &Ident, offset: u64) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    let name = journal.as_str().as_bytes();
    let length = name.len().min(NAME_BYTES_MAX);
    bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    bytes[16] = u8::try_from(length).unwrap_or(0);
    bytes[17..17 + length].copy_from_slice(&name[..length]);
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<AcknowledgedMark> {
    let bytes: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
    let (head, rest) = bytes.split_at(8);
    let magic = u32::from_le_bytes(head[..4].try_into().ok()?);
    let crc = u32::from_le_bytes(head[4..].try_into().ok()?);
    if magic != MAGIC || crc != crc32fast::hash(rest) {
        return None;
    }
    let offset = u64::from_le_bytes(rest[..8].try_into().ok()?);
    let length = usize::from(rest[8]);
    let name = std::str::from_utf8(rest.get(9..9 + length)?).ok()?;
    let journal = name.parse().ok()?;
    Some(AcknowledgedMark { journal, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_of_a_mark_is_no_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mark");
        let journal: Ident = "j01hzxj0000000000000000000".parse().unwrap();
        assert_eq!(read_mark(&path).unwrap(), StoredMark::Missing);
        MarkFile::open(&path, &journal).unwrap().set(1_234_567);
        let offset = 1_234_567;
        let good = AcknowledgedMark { journal, offset };
        assert_eq!(read_mark(&path).unwrap(), StoredMark::Whole(good));
        let bytes = std::fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }
}
