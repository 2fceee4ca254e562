//! A record that cannot go on, with all that is needed to try again.

use serde::{Deserialize, Serialize};

/// Largest part of a record that is kept in the quarantine table itself; the whole stays in the raw zone.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// A record that a stage refused. It lands in the pipeline's quarantine table in the commit that moves the
/// position past it, and `forebay quarantine replay` sends it through `stage` again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// [`crate::PayloadHead::ordinal`] of the payload it came in.
    pub payload: u64,
    /// Byte offset in the decompressed payload, where that is known.
    pub offset: Option<u64>,
    /// 1-based line in the payload, for formats that have lines.
    pub line: Option<u64>,
    /// The stage that refused it and where a replay begins: `extract`, `transform[1]`.
    pub stage: String,
    /// Stable reason code, such as `number_out_of_range`.
    pub code: String,
    /// What is wrong, for people: names the field, never repeats more of the record than needed.
    pub reason: String,
    /// The record as it came (`extract`), or the row as one JSON object (a transform).
    pub record: Vec<u8>,
}
