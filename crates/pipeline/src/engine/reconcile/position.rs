//! Compares the position of a split in the catalog with the one in the tables.

use forebay_core::{Error, Position, Result};
use forebay_lake::{Table, position_property};

use crate::engine::stages::Job;

/// When the store has lost the position of a split, or its position differs from that of its tables, nothing may be loaded
/// again or skipped.
///
/// Errors: `Data` `position_lost`, `position_mismatch`.
pub(in crate::engine) fn check_position(job: &Job, raw: Option<&Table>) -> Result<()> {
    if job.context.full {
        return Ok(());
    }
    let key = position_property(&job.spec.name, &job.split);
    let Some((raw, noted)) = raw.and_then(|raw| Some((raw, raw.properties().remove(&key)?))) else {
        return Ok(());
    };
    if let Some(position) = &job.lease.position {
        let noted: NotedPosition = match serde_json::from_str(&noted) {
            Ok(noted) => noted,
            Err(_) => return Ok(()),
        };
        return noted.compare(job, position, raw);
    }
    let message = format!(
        "the catalog has no position for split {}, but {} was loaded up to {noted}",
        job.split,
        raw.name()
    );
    Err(Error::data("position_lost", message)
        .with_hint("stop every other process of this pipeline, then restore the catalog from a backup that has the position")
        .with_context("table", raw.name())
        .with_context("file", raw.metadata_location()))
}

/// The position of a split according to a table: see [`position_property`].
#[derive(serde::Deserialize)]
pub(in crate::engine) struct NotedPosition {
    epoch: i64,
    sequence: i64,
    position: Position,
}

impl NotedPosition {
    /// A commit moves table and catalog together. A table untouched by the last commit is behind, never ahead.
    fn compare(&self, job: &Job, position: &Position, raw: &Table) -> Result<()> {
        let lease = &job.lease;
        // A later epoch is that of a process that took the split since; nobody else has committed with ours yet.
        let is_ahead = self.sequence > lease.sequence && self.epoch <= lease.epoch;
        let differs = self.sequence == lease.sequence && self.position != *position;
        if !is_ahead && !differs {
            return Ok(());
        }
        let message = format!(
            "the catalog has position {position} (commit {}) for split {}, but {} has {} (commit {})",
            lease.sequence,
            job.split,
            raw.name(),
            self.position,
            self.sequence
        );
        Err(Error::data("position_mismatch", message)
            .with_hint("the catalog is damaged or older than its tables: restore it from a backup; `forebay verify` compares everything")
            .with_context("table", raw.name()))
    }
}
