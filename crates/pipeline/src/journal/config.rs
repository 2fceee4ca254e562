//! What a pipeline says of its journal, and how it writes down how far it has taken it.

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
    /// How long the first record of an object waits for company, in the storage.
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

/// Where a journal lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the local disk: an answer costs a flush of it, and what is acknowledged is lost with it until it is committed.
    #[default]
    Disk,
    /// In the storage, beside the raw zone and the tables: an answer costs a PUT that many pushes share, and the machine may be
    /// lost.
    Storage,
}

/// How far a pipeline has taken a journal: everything before `offset`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) offset: u64,
}

impl Taken {
    /// Errors: `Data` `bad_position`.
    pub(crate) fn read(position: &Position) -> Result<Self> {
        position.read("the position of a push source is not an offset")
    }

    pub(crate) fn position(self) -> Result<Position> {
        Position::of(&self)
    }
}
