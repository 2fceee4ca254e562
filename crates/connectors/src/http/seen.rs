//! Which records a pass has read: exact, in bounded memory.
//!
//! A list that shifts while it is read returns records a second time, pages apart. Identities are kept in a set in
//! memory; when it is full it becomes a sorted run in an unnamed temporary file, searched with a few reads of one
//! block. Nothing here outlives the process: a resumed pass is filled again from the raw zone.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;

use forebay_core::{Error, Result};

use super::cursor::Identity;

/// Identities in memory; about 14 MiB.
const RECENT_MAX: usize = 900_000;

/// Identities of one block of a run, loaded by one read.
const BLOCK_RECORDS: usize = 340;

/// Runs on disk; more are merged into one.
const RUNS_MAX: usize = 8;

const IDENTITY_BYTES: usize = size_of::<Identity>();

/// The required beginning of a page, so that no record is missing between it and those read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    /// No requirement.
    Free,
    /// It must begin with a record that was read.
    Known,
    /// It must be empty.
    Nothing,
}

/// The known state of the records of a page.
#[derive(Debug)]
pub(super) struct Recognised {
    /// The page continues where the records read so far end.
    pub(super) is_joined: bool,
    /// It begins with exactly the expected record: the list has not shifted before it.
    pub(super) is_exact: bool,
    /// For each record whether it is new to the pass; empty if records have no key.
    pub(super) is_new: Vec<bool>,
    /// For each record whether it was read before this reading of the list began.
    pub(super) is_older: Vec<bool>,
}

/// The records that a pass has read, and those that prove that a page continues where it ended.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) all: SeenRecords,
    /// The records since the list was restarted; `None` if it never was: then `all` applies.
    since_anew: Option<SeenRecords>,
    /// The last records of the previous page, as many as the next one shares with it.
    shared: Vec<Identity>,
    /// Records first returned by this reading of the list, as far as there is room.
    fresh: HashSet<Identity>,
}

/// The identities of the records of one pass.
#[derive(Debug)]
pub(super) struct SeenRecords {
    recent: HashSet<Identity>,
    recent_max: usize,
    runs: Vec<SortedRun>,
}

/// Sorted identities in a file, and the first of each block.
#[derive(Debug)]
struct SortedRun {
    file: File,
    count: usize,
    first_of_blocks: Vec<Identity>,
}

/// Reads a run from its beginning.
struct RunCursor<'a> {
    run: &'a SortedRun,
    block: Vec<Identity>,
    next_block: usize,
    at: usize,
}

impl Taken {
    pub(super) fn new() -> Self {
        Self {
            all: SeenRecords::new(),
            since_anew: None,
            shared: Vec::new(),
            fresh: HashSet::new(),
        }
    }

    /// Discards the records that prove continuity.
    pub(super) fn begin_anew(&mut self) {
        self.since_anew = Some(SeenRecords::new());
        self.fresh.clear();
    }

    /// Adds the last record read by the previous run.
    ///
    /// # Errors
    /// As [`SeenRecords::add`].
    pub(super) fn add_last(&mut self, identity: Identity) -> Result<()> {
        let proving = self.since_anew.as_mut().unwrap_or(&mut self.all);
        proving.add(&[identity])?;
        self.shared = vec![identity];
        Ok(())
    }

    /// Whether adding `count` identities stays in memory.
    pub(super) fn stays_in_memory(&self, count: usize) -> bool {
        let mut both = self.since_anew.iter().chain([&self.all]);
        both.all(|seen| seen.stays_in_memory(count))
    }

    /// Adds the records of a page, if it begins as required.
    ///
    /// # Errors
    /// As [`SeenRecords::add`].
    pub(super) fn add_page(
        &mut self,
        (joint, overlap): (Joint, usize),
        identities: &[Identity],
    ) -> Result<Recognised> {
        let proving = self.since_anew.as_ref().unwrap_or(&self.all);
        let is_joined = match (joint, identities.first()) {
            (Joint::Free, _) | (Joint::Nothing, None) => true,
            (Joint::Nothing, Some(_)) | (Joint::Known, None) => false,
            (Joint::Known, Some(first)) => proving.contains(first)?,
        };
        if !is_joined {
            return Ok(Recognised {
                is_joined,
                is_exact: false,
                is_new: Vec::new(),
                is_older: Vec::new(),
            });
        }
        let is_exact = joint != Joint::Known || identities.first() == self.shared.first();
        let shared = identities.len().saturating_sub(overlap);
        self.shared = identities[shared..].to_vec();
        if let Some(since_anew) = &mut self.since_anew {
            since_anew.add(identities)?;
        }
        let is_new = self.all.add(identities)?;
        if self.since_anew.is_some() {
            let new = identities
                .iter()
                .zip(&is_new)
                .filter(|(_, is_new)| **is_new);
            let room = RECENT_MAX.saturating_sub(self.fresh.len());
            self.fresh
                .extend(new.map(|(identity, _)| *identity).take(room));
        }
        let is_older = identities
            .iter()
            .map(|identity| !self.fresh.contains(identity));
        Ok(Recognised {
            is_joined,
            is_exact,
            is_older: is_older.collect(),
            is_new,
        })
    }
}

impl SeenRecords {
    fn new() -> Self {
        Self::with_room_for(RECENT_MAX)
    }

    fn with_room_for(recent_max: usize) -> Self {
        Self {
            recent: HashSet::new(),
            recent_max,
            runs: Vec::new(),
        }
    }

    fn stays_in_memory(&self, count: usize) -> bool {
        self.runs.is_empty() && self.recent.len() + count <= self.recent_max
    }

    /// Adds identities; returns for each whether it was new.
    ///
    /// # Errors
    /// `Unavailable` when the temporary file cannot be written or read.
    pub(super) fn add(&mut self, identities: &[Identity]) -> Result<Vec<bool>> {
        identities
            .iter()
            .map(|identity| self.add_one(identity))
            .collect()
    }

    fn contains(&self, identity: &Identity) -> Result<bool> {
        if self.recent.contains(identity) {
            return Ok(true);
        }
        for run in &self.runs {
            if run.contains(identity).map_err(failed)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add_one(&mut self, identity: &Identity) -> Result<bool> {
        if self.contains(identity)? {
            return Ok(false);
        }
        self.recent.insert(*identity);
        if self.recent.len() >= self.recent_max {
            self.spill().map_err(failed)?;
        }
        Ok(true)
    }

    fn spill(&mut self) -> std::io::Result<()> {
        let mut sorted: Vec<Identity> = self.recent.drain().collect();
        sorted.sort_unstable();
        let run = SortedRun::write(sorted.into_iter().map(Ok))?;
        self.runs.push(run);
        if self.runs.len() > RUNS_MAX {
            let merged = merge(&self.runs)?;
            self.runs = vec![merged];
        }
        Ok(())
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::unavailable(
        "spill_failed",
        "failed to store the keys of the pass in a temporary file",
    )
    .with_hint("free space in the temporary folder, or set TMPDIR to another folder")
    .with_source(error)
}

impl SortedRun {
    fn write(identities: impl Iterator<Item = std::io::Result<Identity>>) -> std::io::Result<Self> {
        let mut file = BufWriter::new(tempfile::tempfile()?);
        let mut first_of_blocks = Vec::new();
        let mut count = 0;
        for identity in identities {
            let identity = identity?;
            if count % BLOCK_RECORDS == 0 {
                first_of_blocks.push(identity);
            }
            file.write_all(&identity)?;
            count += 1;
        }
        Ok(Self {
            file: file
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error)?,
            count,
            first_of_blocks,
        })
    }

    fn contains(&self, identity: &Identity) -> std::io::Result<bool> {
        let blocks = self
            .first_of_blocks
            .partition_point(|first| first <= identity);
        let Some(block) = blocks.checked_sub(1) else {
            return Ok(false);
        };
        Ok(self.read_block(block)?.binary_search(identity).is_ok())
    }

    fn read_block(&self, block: usize) -> std::io::Result<Vec<Identity>> {
        let first = block * BLOCK_RECORDS;
        let count = BLOCK_RECORDS.min(self.count.saturating_sub(first));
        let mut bytes = vec![0; count * IDENTITY_BYTES];
        self.file
            .read_exact_at(&mut bytes, (first * IDENTITY_BYTES) as u64)?;
        let (identities, _) = bytes.as_chunks::<IDENTITY_BYTES>();
        Ok(identities.to_vec())
    }
}

impl Iterator for RunCursor<'_> {
    type Item = std::io::Result<Identity>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.block.len() {
            if self.next_block == self.run.first_of_blocks.len() {
                return None;
            }
            match self.run.read_block(self.next_block) {
                Ok(block) => self.block = block,
                Err(error) => return Some(Err(error)),
            }
            self.next_block += 1;
            self.at = 0;
        }
        let identity = self.block.get(self.at).copied()?;
        self.at += 1;
        Some(Ok(identity))
    }
}

/// Merges all runs into one. No identity is in two runs.
fn merge(runs: &[SortedRun]) -> std::io::Result<SortedRun> {
    let cursors = runs.iter().map(|run| RunCursor {
        run,
        block: Vec::new(),
        next_block: 0,
        at: 0,
    });
    SortedRun::write(merge_sorted(cursors.collect()))
}

fn merge_sorted(
    mut cursors: Vec<RunCursor<'_>>,
) -> impl Iterator<Item = std::io::Result<Identity>> {
    let mut heads: Vec<_> = cursors.iter_mut().map(Iterator::next).collect();
    std::iter::from_fn(move || {
        if let Some(failed) = heads.iter_mut().find(|head| matches!(head, Some(Err(_)))) {
            return failed.take();
        }
        let present = heads.iter().enumerate();
        let readable = present.filter_map(|(n, head)| match head {
            Some(Ok(identity)) => Some((*identity, n)),
            _ => None,
        });
        let (identity, n) = readable.min()?;
        heads[n] = cursors[n].next();
        Some(Ok(identity))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(n: u32) -> Identity {
        let mut identity = [0; 12];
        identity[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
        identity
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_forgotten() {
        let mut seen = SeenRecords::with_room_for(1_000);
        let all: Vec<Identity> = (0..20_000).map(identity).collect();
        assert!(seen.add(&all).unwrap().into_iter().all(|is_new| is_new));
        assert!(seen.recent.len() < 1_000);
        assert!(seen.runs.len() <= RUNS_MAX);
        assert!(!seen.stays_in_memory(1));
        assert!(!seen.add(&all).unwrap().into_iter().any(|is_new| is_new));
        assert_eq!(seen.add(&[identity(20_000)]).unwrap(), [true]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(numbers in prop::collection::vec(0_u32..60, 0..300), room in 1_usize..20) {
            let mut seen = SeenRecords::with_room_for(room);
            let mut oracle = HashSet::new();
            for n in numbers {
                prop_assert_eq!(seen.add(&[identity(n)]).unwrap(), vec![oracle.insert(n)]);
            }
        }
    }
}
