//! The position of a statement: the state of the lake that it has read.

use std::collections::BTreeMap;

use forebay_core::{CommitId, Ident, Position, Result};
use forebay_lake::Table;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::platform::table::plan::Place;

/// The state that a run has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadState {
    pub(super) commit: CommitId,
    /// SHA-256 of the statement, which may change between runs.
    pub(super) statement: String,
    /// SHA-256 of the pipeline's file: transforms and the target may change, too.
    #[serde(default)]
    pub(super) definition: String,
    /// Its tables by name, each at the snapshot that was read.
    pub(super) tables: BTreeMap<String, Place>,
}

impl ReadState {
    pub(super) fn read(position: &Position) -> Result<Self> {
        position.read("the position of a query is not a state of the lake")
    }

    pub(super) fn position(&self) -> Result<Position> {
        Position::of(self)
    }

    /// What was read for the rows of a table; `None` when it does not say.
    pub(super) fn noted(table: &Table, pipeline: &Ident) -> Option<Self> {
        let text = table.properties().remove(&read_property(pipeline))?;
        serde_json::from_str(&text).ok()
    }
}

/// The property of a target that says what was read for its rows: the position of the pipeline at that commit.
pub(crate) fn read_property(pipeline: &Ident) -> String {
    format!("forebay.read.{pipeline}")
}

/// SHA-256 of the pipeline's file when it read up to this position; `None` for positions of other sources.
pub fn noted_definition(position: &Position) -> Option<String> {
    let state: ReadState = serde_json::from_value(position.0.clone()).ok()?;
    Some(state.definition).filter(|definition| !definition.is_empty())
}

/// Lower-case hex.
pub(super) fn digest(statement: &str) -> String {
    hex::encode(Sha256::digest(statement.as_bytes()))
}
