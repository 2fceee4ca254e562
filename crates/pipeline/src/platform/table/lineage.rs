//! Checks that a table has only grown since a place, by walking its snapshots back to it.
//!
//! The newest metadata lists few snapshots, so that commits stay cheap; older metadata files list older ones, for as
//! long as these are kept. For a reader that is thousands of commits behind they are walked back, some twenty snapshots
//! per file.

use std::collections::HashMap;

use forebay_core::{ErrorKind, Result};
use forebay_lake::{Lake, SnapshotInfo, Table};

use super::plan::Place;

/// The first snapshot after a place, walking back, that is not an append; or why that is unknown.
pub(super) async fn other_change(
    lake: &Lake,
    table: &Table,
    place: &Place,
) -> Result<Option<String>> {
    let (mut table, mut next) = (table.clone(), table.snapshot_id());
    loop {
        let steps = match walk(&table, &mut next, place) {
            Walk::Arrived => return Ok(None),
            Walk::Changed(change) => return Ok(Some(change)),
            Walk::Unknown(steps) => steps,
        };
        // Every file adds at most two snapshots, so none in between is skipped.
        table = match lake.earlier(&table, steps.div_ceil(2)).await {
            Ok(Some(older)) => older,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => return Ok(Some(forgotten(next))),
        };
    }
}

enum Walk {
    /// Reached the place; only appends on the way.
    Arrived,
    Changed(String),
    /// This metadata ends before the place, after this many snapshots of its own.
    Unknown(usize),
}

/// Walks the snapshots of one metadata file from `next` on, and leaves the first unknown one in `next`.
fn walk(table: &Table, next: &mut Option<i64>, place: &Place) -> Walk {
    let snapshots = table.snapshots().into_iter();
    let known: HashMap<i64, SnapshotInfo> =
        snapshots.map(|snapshot| (snapshot.id, snapshot)).collect();
    let mut at = table.snapshot_id();
    let mut is_new = false;
    for steps in 0.. {
        is_new |= at == *next;
        if is_new && at == place.snapshot {
            return Walk::Arrived;
        }
        let Some(id) = at else { break };
        let Some(snapshot) = known.get(&id) else {
            if is_new {
                *next = at;
            }
            return Walk::Unknown(steps.max(1));
        };
        if is_new && let Some(change) = change(snapshot, place) {
            return Walk::Changed(change);
        }
        at = snapshot.parent;
    }
    Walk::Changed(ROLLED_BACK.to_owned())
}

const ROLLED_BACK: &str = "it was rolled back";

fn change(snapshot: &SnapshotInfo, place: &Place) -> Option<String> {
    // A replacement has the same rows in other files, which keep the sequence numbers of the old ones.
    if !["append", "replace"].contains(&snapshot.operation.as_str()) {
        let id = snapshot.id;
        let operation = &snapshot.operation;
        return Some(format!("snapshot {id} has the operation `{operation}`"));
    }
    (snapshot.sequence <= place.sequence).then(|| ROLLED_BACK.to_owned())
}

fn forgotten(id: Option<i64>) -> String {
    let id = id.unwrap_or_default();
    format!("snapshot {id} is no longer in the metadata, and its operation is unknown")
}
