//! What has been taken: the position of the file source.
//!
//! A file costs 20 bytes, so that a position of at most [`Position::BYTES_MAX`] remembers [`FILES_MAX`] files.

use forebay_core::{Error, Position, Result, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::digest::hex;
use super::folder::{Found, Identity, Stat};
use crate::base64;

/// Most files that a pipeline can have taken: 20 bytes each in base64 stay below [`Position::BYTES_MAX`].
pub(super) const FILES_MAX: usize = 38_000;

const PLACE: usize = 6;
const CONTENT: usize = 8;
const STATE: usize = 6;
const RECORD: usize = PLACE + CONTENT + STATE;

/// A file that was taken: hashes of path and size, of the content, and of what [`Stat`] says. The last tells without
/// reading that a file is still the same; the first that it is certainly another.
type Record = [u8; RECORD];

/// Where the source stands.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Ordered.
    records: Vec<Record>,
    /// The file that is being taken, when a commit fell inside it.
    pub(super) partial: Option<Partial>,
}

/// How far a file has been taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partial {
    pub(super) file: String,
    /// Bytes taken.
    pub(super) offset: u64,
    /// Digest of those bytes, in hex.
    pub(super) sha256: String,
    /// … and of the whole blocks among them, from which the digest goes on.
    pub(super) chain: String,
    /// [`look`] of the file, unless it had changed only just then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) look: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    taken: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<Partial>,
}

/// Whether a file has to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Never seen at this path and size.
    New,
    /// As it was when it was taken.
    Same,
    /// Taken once at this path and size, and touched since: only its content tells.
    Touched,
}

impl State {
    pub(super) fn read(position: Position) -> Result<Self> {
        let broken = || {
            Error::data(
                "bad_position",
                "the position of the file source cannot be read",
            )
        };
        let stored: Stored =
            serde_json::from_value(position.0).map_err(|error| broken().with_source(error))?;
        let bytes = base64::decode(&stored.taken)
            .filter(|bytes| bytes.len() % RECORD == 0)
            .ok_or_else(broken)?;
        let mut records: Vec<Record> = bytes
            .chunks_exact(RECORD)
            .filter_map(|chunk| chunk.try_into().ok())
            .collect();
        records.sort_unstable();
        Ok(Self {
            records,
            partial: stored.partial,
        })
    }

    pub(super) fn position(&self) -> Result<Position> {
        let stored = Stored {
            taken: base64::encode(self.records.as_flattened())
                .trim_end_matches('=')
                .to_owned(),
            partial: self.partial.clone(),
        };
        Position::of(&stored)
    }

    /// Files that have been taken.
    pub(super) fn count(&self) -> usize {
        self.records.len()
    }

    pub(super) fn known(&self, file: &Found) -> Known {
        let state = state_hash(&file.stat);
        let mut same_place = self.at(file).peekable();
        if same_place.peek().is_none() {
            return Known::New;
        }
        if same_place.any(|record| record[PLACE + CONTENT..] == state) {
            Known::Same
        } else {
            Known::Touched
        }
    }

    /// Whether a file with this content was taken.
    pub(super) fn has_content(&self, file: &Found, sha256: &[u8]) -> bool {
        self.at(file)
            .any(|record| record[PLACE..PLACE + CONTENT] == sha256[..CONTENT])
    }

    /// Remembers a file, or what it looks like now; returns whether that is news. A file that changed about `now` may
    /// change again without looking different, for clocks of file systems are coarse: its look is not remembered.
    ///
    /// Errors: `Config` `too_many_files` when the position is full.
    pub(super) fn add(&mut self, file: &Found, sha256: &[u8], now: Timestamp) -> Result<bool> {
        let mut record = [0; RECORD];
        record[..PLACE].copy_from_slice(&place_hash(file));
        record[PLACE..PLACE + CONTENT].copy_from_slice(&sha256[..CONTENT]);
        let from = self
            .records
            .partition_point(|other| other[..PLACE + CONTENT] < record[..PLACE + CONTENT]);
        if !file.stat.is_fresh(now) {
            record[PLACE + CONTENT..].copy_from_slice(&state_hash(&file.stat));
        }
        let known = self
            .records
            .get(from)
            .is_some_and(|other| other[..PLACE + CONTENT] == record[..PLACE + CONTENT]);
        if known {
            let news = self.records[from] != record;
            self.records[from] = record;
            return Ok(news);
        }
        if self.records.len() >= FILES_MAX {
            return Err(full());
        }
        self.records.insert(from, record);
        Ok(true)
    }

    fn at(&self, file: &Found) -> impl Iterator<Item = &Record> {
        let place = place_hash(file);
        let from = self
            .records
            .partition_point(|record| record[..PLACE] < place[..]);
        self.records[from..]
            .iter()
            .take_while(move |record| record[..PLACE] == place)
    }
}

fn full() -> Error {
    Error::config("too_many_files", format!("the pipeline has taken {FILES_MAX} files, the most it can remember"))
        .with_hint("begin a pipeline of another name for the next folder, or join small files before they are taken")
}

fn place_hash(file: &Found) -> [u8; PLACE] {
    let digest = Sha256::new()
        .chain_update(file.name.as_bytes())
        .chain_update(file.stat.size.to_be_bytes());
    first(&digest.finalize())
}

fn state_hash(stat: &Stat) -> [u8; STATE] {
    first(&state_digest(stat))
}

/// What a file looks like without reading it, in hex.
pub(super) fn look(stat: &Stat) -> String {
    hex(&state_digest(stat))
}

fn state_digest(stat: &Stat) -> [u8; 32] {
    let digest = Sha256::new()
        .chain_update(stat.modified.micros().to_be_bytes())
        .chain_update(stat.size.to_be_bytes());
    let digest = match &stat.identity {
        Identity::Inode {
            changed,
            inode,
            device,
        } => digest
            .chain_update(changed.0.to_be_bytes())
            .chain_update(changed.1.to_be_bytes())
            .chain_update(inode.to_be_bytes())
            .chain_update(device.to_be_bytes()),
        Identity::Tag(etag) => digest.chain_update(etag.as_deref().unwrap_or_default()),
    };
    digest.finalize().into()
}

fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut short = [0; N];
    short.copy_from_slice(&digest[..N]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long after every file of these tests changed.
    const LATER: Timestamp = Timestamp(1_000_000_000_000);

    fn file(name: &str, size: u64, inode: u64) -> Found {
        let stat = Stat {
            size,
            modified: Timestamp(1),
            identity: Identity::Inode {
                changed: (2, 3),
                inode,
                device: 5,
            },
        };
        Found {
            path: name.into(),
            name: name.to_owned(),
            stat,
        }
    }

    #[test]
    fn a_full_position_fits() {
        let mut state = State::default();
        for i in 0..FILES_MAX as u64 {
            let digest = Sha256::digest(i.to_be_bytes());
            state
                .add(&file(&i.to_string(), i, i), &digest, LATER)
                .unwrap();
        }
        assert_eq!(
            state
                .add(&file("one more", 1, 1), &[9; 32], LATER)
                .unwrap_err()
                .code(),
            "too_many_files"
        );
        state.partial = Some(Partial {
            file: "x".repeat(4_096),
            offset: 1,
            sha256: "0".repeat(64),
            chain: "0".repeat(64),
            look: Some("0".repeat(64)),
        });
        let position = state.position().unwrap();
        assert!(position.to_string().len() < Position::BYTES_MAX);
        let read = State::read(position).unwrap();
        assert_eq!((read.records, read.partial), (state.records, state.partial));
    }

    #[test]
    fn a_file_is_known_by_place_content_and_state() {
        let mut state = State::default();
        let first = file("a", 10, 1);
        state.add(&first, &[1; 32], LATER).unwrap();
        assert_eq!(state.known(&first), Known::Same);
        let touched = file("a", 10, 2);
        assert_eq!(state.known(&touched), Known::Touched);
        assert!(state.has_content(&touched, &[1; 32]) && !state.has_content(&touched, &[2; 32]));
        assert_eq!(state.known(&file("a", 11, 1)), Known::New);
        assert_eq!(state.known(&file("b", 10, 1)), Known::New);
        state.add(&touched, &[1; 32], LATER).unwrap();
        assert_eq!((state.known(&touched), state.count()), (Known::Same, 1));
        state
            .add(&file("fresh", 1, 1), &[3; 32], Timestamp(2_000_000))
            .unwrap();
        assert_eq!(state.known(&file("fresh", 1, 1)), Known::Touched);
        assert_eq!(
            State::read(Position(serde_json::json!({"taken": "x!"})))
                .unwrap_err()
                .code(),
            "bad_position"
        );
    }
}
