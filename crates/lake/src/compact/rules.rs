//! Which files are worth writing again.

use forebay_core::{Error, Result};

use crate::Table;

/// Property of a table for the size of its files, as other engines name it.
const TARGET_PROPERTY: &str = "write.target-file-size-bytes";
const TARGET_BYTES: u64 = 256 << 20;
const TARGET_BYTES_MIN: u64 = 1 << 10;
/// A file below this share of the target is small, in percent.
const SMALL_PERCENT: u64 = 75;
/// Files up to this size are equally small: each costs about one request, whatever its size.
const TINY_BYTES: u64 = 1 << 20;

/// Rules of a compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionRules {
    /// Size of the files that are made; `None`: `write.target-file-size-bytes` of the table, or the usual one.
    pub target_bytes: Option<u64>,
    pub usual_target_bytes: u64,
    /// Small files of a partition that are worth becoming one; at least 2.
    pub files_min: usize,
    /// Only files of about one size become one, so that a table that is compacted often is not written again each time.
    pub is_gradual: bool,
    /// A file with this share of deleted rows is worth being written again, in percent.
    pub deleted_percent_min: u64,
    /// Position delete files of a partition that are worth becoming one.
    pub delete_files_min: usize,
    /// Columns to sort by; then all files are written again. None: by those of the table's sort order.
    pub sort: Vec<String>,
    /// Bytes of old files that one commit replaces, about.
    pub commit_bytes_max: u64,
}

impl Default for CompactionRules {
    /// All small files at once, as a command does it.
    fn default() -> Self {
        Self {
            target_bytes: None,
            usual_target_bytes: TARGET_BYTES,
            files_min: 2,
            is_gradual: false,
            deleted_percent_min: 20,
            delete_files_min: 2,
            sort: Vec::new(),
            commit_bytes_max: 1 << 30,
        }
    }
}

impl CompactionRules {
    /// Rules for a compaction that is repeated all the time.
    pub fn repeated() -> Self {
        Self {
            files_min: 8,
            is_gradual: true,
            delete_files_min: 8,
            ..Self::default()
        }
    }

    /// Errors: `Config` `bad_target_size`.
    pub(super) fn target_bytes(&self, table: &Table) -> Result<u64> {
        let property = table.metadata().properties().get(TARGET_PROPERTY);
        let of_table = property.and_then(|bytes| bytes.parse().ok());
        let target = self
            .target_bytes
            .or(of_table)
            .unwrap_or(self.usual_target_bytes);
        if target >= TARGET_BYTES_MIN {
            return Ok(target);
        }
        let what = format!("files of {target} bytes are too small for a target");
        Err(Error::config("bad_target_size", what).with_hint("set a target of 1 KiB or more"))
    }

    /// Whether a file of this size is small.
    pub(super) fn is_small(bytes: u64, target: u64) -> bool {
        bytes < target / 100 * SMALL_PERCENT
    }

    /// Whether a file may follow smaller ones of these bytes together.
    pub(super) fn is_alike(&self, bytes: u64, before: u64) -> bool {
        !self.is_gradual || bytes <= before.max(TINY_BYTES)
    }
}
