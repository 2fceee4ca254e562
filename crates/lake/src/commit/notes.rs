//! What a commit says of itself in the metadata of every table that it moves.

use std::collections::BTreeMap;

use forebay_store::PositionMove;

use super::CommitRequest;

/// A longer position is left out of the snapshot summary, which every later metadata file repeats; the table property
/// has it.
const SUMMARY_POSITION_BYTES_MAX: usize = 4 << 10;

/// What every table of a commit says of it, so that the catalog could be rebuilt from the tables.
pub(super) struct Notes {
    pub(super) properties: BTreeMap<String, String>,
    pub(super) summary: BTreeMap<String, String>,
}

impl Notes {
    pub(super) fn of(request: &CommitRequest) -> Self {
        let id = ("forebay.commit".to_owned(), request.id.to_string());
        let mut properties = BTreeMap::from([id]);
        properties.extend(request.positions.iter().map(position_note));
        let short = |(_, value): &(&String, &String)| value.len() <= SUMMARY_POSITION_BYTES_MAX;
        let summary = properties
            .iter()
            .filter(short)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Self {
            properties,
            summary,
        }
    }
}

fn position_note(moved: &PositionMove) -> (String, String) {
    let key = format!("forebay.position.{}.{}", moved.pipeline, moved.split);
    let (epoch, sequence) = (moved.epoch, moved.sequence + 1);
    let value =
        serde_json::json!({ "epoch": epoch, "sequence": sequence, "position": moved.position });
    (key, value.to_string())
}
