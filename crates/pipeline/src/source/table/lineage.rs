//! Whether a table has only grown since a place: its snapshots, one after the other, back to it.
//!
//! The newest metadata names few snapshots, so that commits stay cheap; older ones are named by older metadata files, for as
//! long as these are kept. A reader that was away for thousands of commits is followed back through them, some twenty snapshots
//! a file.

use std::collections::HashMap;

use forebay_core::{ErrorKind, Result};
use forebay_lake::{Lake, SnapshotInfo, Table};

use super::plan::Place;

/// The first snapshot after a place, looking back, that is not an append; or why that cannot be told.
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
        // Every file makes two snapshots at most, so none between is passed over.
        table = match lake.earlier(&table, steps.div_ceil(2)).await {
            Ok(Some(older)) => older,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => return Ok(Some(forgotten(next))),
        };
    }
}

enum Walk {
    /// At the place; nothing but appends on the way.
    Arrived,
    Changed(String),
    /// This metadata ends before, after so many snapshots of its own.
    Unknown(usize),
}

/// Looks at the snapshots of one metadata file from `next` on, and leaves there the first that it does not know.
fn walk(table: &Table, next: &mut Option<i64>, place: &Place) -> Walk {
    let snapshots = table.snapshots().into_iter();
    let known: HashMap<i64, SnapshotInfo> =
        snapshots.map(|snapshot| (snapshot.id, snapshot)).collect();
    let (mut at, mut is_new) = (table.snapshot_id(), false);
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
        let (id, operation) = (snapshot.id, &snapshot.operation);
        return Some(format!("snapshot {id} is an operation `{operation}`"));
    }
    (snapshot.sequence <= place.sequence).then(|| ROLLED_BACK.to_owned())
}

fn forgotten(id: Option<i64>) -> String {
    let id = id.unwrap_or_default();
    format!("snapshot {id} is not known any more, and what it did neither")
}
