//! Finds what happened to a table since a place, by walking its snapshots back to it.
//!
//! A reader may follow appends. A replacement has the same rows in other files (compaction): rows that were appended before it
//! and not read yet may be in one file with rows that were. So they are read from the state before the replacement, whose
//! files stay as long as that state is kept.
//!
//! The newest metadata lists few snapshots, so that commits stay cheap; older metadata files list older ones, for as
//! long as these are kept. For a reader that is thousands of commits behind they are walked back, some twenty snapshots
//! per file.

use std::collections::{HashMap, VecDeque};

use forebay_core::Result;
use forebay_lake::{Lake, SAME_SEQUENCES_NOTE, SnapshotInfo, Table};

use super::plan::Place;

/// The history of a table since a place.
pub(super) enum History {
    /// Only appends, and replacements of files, oldest first.
    Grown(VecDeque<Replacement>),
    /// Something else, or it is unknown.
    Changed(String),
}

/// A snapshot with the rows of the one before it in other files.
#[derive(Debug)]
pub(super) struct Replacement {
    /// The snapshot before it.
    pub(super) before: Option<i64>,
    /// The table with the snapshot before it; `None` when the place is there.
    pub(super) table: Option<Table>,
    /// The place after the replacement.
    pub(super) after: Place,
}

/// The history of a table from a place on, walking back.
pub(super) async fn history(lake: &Lake, table: &Table, place: &Place) -> Result<History> {
    let mut walk = Walk {
        place,
        next: table.snapshot_id(),
        replacements: VecDeque::new(),
    };
    let mut table = table.clone();
    loop {
        let steps = match walk.through(&table) {
            Step::Arrived => return Ok(History::Grown(walk.replacements)),
            Step::Changed(change) => return Ok(History::Changed(change)),
            Step::Unknown(steps) => steps,
        };
        match lake.older(&table, steps).await? {
            Some(older) => table = older,
            None => return Ok(History::Changed(forgotten(walk.next))),
        }
    }
}

struct Walk<'a> {
    place: &'a Place,
    /// The first snapshot that was not seen yet.
    next: Option<i64>,
    replacements: VecDeque<Replacement>,
}

enum Step {
    /// Reached the place.
    Arrived,
    Changed(String),
    /// This metadata ends before the place, after this many snapshots of its own.
    Unknown(usize),
}

impl Walk<'_> {
    /// Walks the snapshots of one metadata file.
    fn through(&mut self, table: &Table) -> Step {
        let snapshots = table.snapshots().into_iter();
        let known: HashMap<i64, SnapshotInfo> =
            snapshots.map(|snapshot| (snapshot.id, snapshot)).collect();
        let mut at = table.snapshot_id();
        let mut is_new = false;
        for steps in 0.. {
            is_new |= at == self.next;
            if is_new && at == self.place.snapshot {
                return Step::Arrived;
            }
            let Some(id) = at else { break };
            let Some(snapshot) = known.get(&id) else {
                if is_new {
                    self.next = at;
                }
                return Step::Unknown(steps.max(1));
            };
            if is_new && let Some(change) = self.note(table, snapshot) {
                return Step::Changed(change);
            }
            at = snapshot.parent;
        }
        Step::Changed(ROLLED_BACK.to_owned())
    }

    /// Notes a snapshot; returns why it cannot be followed.
    fn note(&mut self, table: &Table, snapshot: &SnapshotInfo) -> Option<String> {
        if snapshot.sequence <= self.place.sequence {
            return Some(ROLLED_BACK.to_owned());
        }
        if let Some(oldest) = self.replacements.front_mut()
            && oldest.before == Some(snapshot.id)
        {
            oldest.table = Some(table.clone());
        }
        match snapshot.operation.as_str() {
            "append" => None,
            // Each of its files has the sequence number of the one that it replaces.
            "replace" if snapshot.summary.contains_key(SAME_SEQUENCES_NOTE) => None,
            "replace" => {
                self.replacements.push_front(Replacement {
                    before: snapshot.parent,
                    table: None,
                    after: Place {
                        table: table.uuid(),
                        snapshot: Some(snapshot.id),
                        sequence: snapshot.sequence,
                        inside: None,
                    },
                });
                None
            }
            operation => Some(format!(
                "snapshot {} has the operation `{operation}`",
                snapshot.id
            )),
        }
    }
}

const ROLLED_BACK: &str = "it was rolled back";

fn forgotten(id: Option<i64>) -> String {
    let id = id.unwrap_or_default();
    format!("snapshot {id} is no longer in the metadata, and its operation is unknown")
}
