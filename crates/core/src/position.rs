//! Where a reader of a split stands.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A source's own description of "everything up to here has been taken": small JSON that only that source reads.
///
/// A position moves in the commit that holds the data before it, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub Value);

impl Position {
    /// Largest position in bytes of JSON; a source that needs more must bound what it remembers.
    pub const BYTES_MAX: usize = 1 << 20;
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
