//! Gaps of a journal: ranges of offsets whose records are missing, and whether the pipeline may skip them.
//!
//! A journal whose end is missing never assigns an offset twice: new records start after everything that was ever
//! acknowledged or committed, and the range in between is recorded as a file in the journal's folder, `<start>-<end>.lost`
//! or `<start>-<end>.passed`. Records of a lost range had been acknowledged and were not committed: a reader stops there
//! until somebody accepts the loss. A passed range holds nothing that is still to be read.

use std::fs::File;
use std::path::{Path, PathBuf};

use forebay_core::{Error, Result};

use super::segment::{failed, sync};

const LOST: &str = "lost";
const PASSED: &str = "passed";

/// `[start, end)` in logical offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JournalGap {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Acknowledged records are missing, and the loss is not accepted.
    pub(super) is_lost: bool,
}

impl JournalGap {
    pub(super) fn contains(&self, offset: u64) -> bool {
        self.start <= offset && offset < self.end
    }

    fn file(&self, folder: &Path) -> PathBuf {
        let extension = if self.is_lost { LOST } else { PASSED };
        folder.join(format!("{:020}-{:020}.{extension}", self.start, self.end))
    }
}

/// All gaps of a journal, by offset.
pub(super) fn list_gaps(folder: &Path) -> Result<Vec<JournalGap>> {
    let entries = std::fs::read_dir(folder).map_err(|error| failed(error, folder))?;
    let mut gaps = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(error, folder))?.path();
        gaps.extend(parse_gap(&path));
    }
    gaps.sort_unstable();
    Ok(gaps)
}

fn parse_gap(path: &Path) -> Option<JournalGap> {
    let is_lost = match path.extension()?.to_str()? {
        LOST => true,
        PASSED => false,
        _ => return None,
    };
    let (start, end) = path.file_stem()?.to_str()?.split_once('-')?;
    Some(JournalGap {
        start: start.parse().ok()?,
        end: end.parse().ok()?,
        is_lost,
    })
}

/// Records a gap, durably; an empty gap is ignored.
pub(super) fn record_gap(folder: &Path, gap: JournalGap) -> Result<()> {
    if gap.start >= gap.end {
        return Ok(());
    }
    let path = gap.file(folder);
    File::create(&path)
        .and_then(|file| file.sync_all())
        .map_err(|error| failed(error, &path))?;
    sync(folder)
}

/// Lets readers skip a lost range.
pub(super) fn accept_gap(folder: &Path, gap: JournalGap) -> Result<()> {
    let accepted = JournalGap {
        is_lost: false,
        ..gap
    };
    let from = gap.file(folder);
    let to = accepted.file(folder);
    std::fs::rename(&from, &to).map_err(|error| failed(error, &from))?;
    sync(folder)
}

/// Deletes the files of gaps before `offset`, which every reader has passed.
pub(super) fn forget_gaps(folder: &Path, offset: u64) -> Result<()> {
    for gap in list_gaps(folder)? {
        if !gap.is_lost && gap.end <= offset {
            let path = gap.file(folder);
            std::fs::remove_file(&path).map_err(|error| failed(error, &path))?;
        }
    }
    Ok(())
}

/// A reader has come to a lost range.
pub(super) fn lost_records(folder: &Path, gap: JournalGap) -> Error {
    let what = format!(
        "acknowledged pushes are missing from the journal: offsets {} to {} ({} bytes)",
        gap.start,
        gap.end,
        gap.end - gap.start
    );
    Error::data("journal_lost", what)
        .with_context("journal", folder.display())
        .with_hint("restore the segment from a copy of the disk, or accept the loss with `forebay verify --repair`")
}
