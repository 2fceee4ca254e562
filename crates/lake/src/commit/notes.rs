//! The properties that a commit writes into the metadata of every table that it moves.

use std::collections::BTreeMap;

use forebay_core::Ident;
use forebay_store::PositionMove;

use super::CommitRequest;

/// Positions that are longer together are left out of the snapshot summary, which every later metadata file repeats; the
/// table's properties have them.
const SUMMARY_POSITIONS_BYTES_MAX: usize = 2 << 10;

/// The property of every table of a commit with the position of a split after it: JSON with `epoch`, `sequence` and
/// `position`.
pub fn position_property(pipeline: &Ident, split: &Ident) -> String {
    format!("{POSITION_PREFIX}{pipeline}.{split}")
}

/// The property of every table of a commit with the id of that commit.
pub(crate) const COMMIT_PROPERTY: &str = "forebay.commit";
/// Begins the names of [`position_property`].
pub(crate) const POSITION_PREFIX: &str = "forebay.position.";

/// The properties in every table of a commit, so that the catalog could be rebuilt from the tables.
pub(super) struct Notes {
    pub(super) properties: BTreeMap<String, String>,
    pub(super) summary: BTreeMap<String, String>,
}

impl Notes {
    pub(super) fn of(request: &CommitRequest) -> Self {
        let id = (COMMIT_PROPERTY.to_owned(), request.id.to_string());
        let positions = BTreeMap::from_iter(request.positions.iter().map(position_note));
        let bytes: usize = positions
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let mut summary = BTreeMap::from([id]);
        let mut properties = summary.clone();
        if bytes <= SUMMARY_POSITIONS_BYTES_MAX {
            summary.extend(positions.clone());
        }
        properties.extend(positions);
        Self {
            properties,
            summary,
        }
    }
}

fn position_note(moved: &PositionMove) -> (String, String) {
    let key = position_property(&moved.pipeline, &moved.split);
    let epoch = moved.epoch;
    let sequence = moved.sequence_after;
    let value =
        serde_json::json!({ "epoch": epoch, "sequence": sequence, "position": moved.position });
    (key, value.to_string())
}
