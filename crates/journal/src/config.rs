//! The journal settings of a pipeline, and the position of a pipeline in a journal.

use std::time::Duration;

use forebay_core::{Position, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment on a disk is full at this size; only full segments can be deleted.
    pub segment_bytes: u64,
    /// Bytes that may wait for the pipeline before pushes are refused.
    pub backlog_bytes: u64,
    /// How long an idempotency key is remembered.
    pub keep_keys: Duration,
    /// How long the first record of an object waits for more records, in the storage.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            backlog_bytes: 4 << 30,
            keep_keys: Duration::from_secs(900),
            linger: Duration::from_millis(50),
        }
    }
}

/// Where a journal is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the local disk: an answer costs a flush of it, and acknowledged pushes are lost with the disk until they are
    /// committed.
    #[default]
    Disk,
    /// In the storage, beside the raw zone and the tables: an answer costs a PUT that many pushes share, and the machine may be
    /// lost.
    Storage,
}

/// The position of a pipeline in a journal: everything before `offset` is committed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Taken {
    pub offset: u64,
}

impl Taken {
    /// Errors: `Data` `bad_position`.
    pub fn read(position: &Position) -> Result<Self> {
        position.read("the position of a push source is not an offset")
    }

    pub fn position(self) -> Result<Position> {
        Position::of(&self)
    }
}
