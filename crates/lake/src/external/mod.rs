//! Changes of tables by other engines, in the terms of Iceberg's REST catalog: requirements and updates of metadata.
//!
//! They land like our own commits: a new metadata file beside the others, then one compare-and-set in the store, for one table or many.
//! Nothing of a caller is trusted. Locations are chosen here, files must be in the folder of their table, properties of Forebay keep
//! their values, and metadata that no reader of the lake could read is refused before anything is visible. What queries take from
//! manifests without reading a file (counts, bounds, partitions) is compared with the footers of the files.

mod commit;
mod content;
mod create;
mod data_files;
mod footer;
mod heads;
mod manifests;
mod numbers;
mod register;
mod rules;
mod schemas;
mod snapshots;
mod statistics;

use std::collections::BTreeMap;

use forebay_core::{CommitId, Error, RefName, Result, TableName, Timestamp};
use iceberg::{TableRequirement, TableUpdate};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::commit::COMMIT_PROPERTY;

pub use self::create::{PlannedTable, TableDefinition};

/// Tables of one commit.
pub const EXTERNAL_TABLES_MAX: usize = 100;
/// Updates and requirements of one table in one commit.
const UPDATES_MAX: usize = 1_000;
/// The largest metadata file that another engine may make.
const METADATA_BYTES_MAX: usize = 32 << 20;

/// One commit of another engine.
#[derive(Debug)]
pub struct ExternalCommit {
    pub branch: RefName,
    pub author: String,
    pub changes: Vec<ExternalChange>,
}

/// The change of one table.
#[derive(Debug)]
pub struct ExternalChange {
    table: TableName,
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

impl ExternalChange {
    /// Reads requirements and updates as the REST protocol has them.
    ///
    /// Errors: `Data` `bad_update`.
    pub fn parse(table: TableName, requirements: Vec<Value>, updates: Vec<Value>) -> Result<Self> {
        let count = requirements.len().max(updates.len());
        if count > UPDATES_MAX {
            let what = format!("{count} updates of one table, more than {UPDATES_MAX}");
            return Err(Error::data("bad_update", what));
        }
        let requirements = requirements
            .into_iter()
            .map(|one| parse("requirement", one));
        let updates = updates.into_iter().map(create::with_default_ids);
        Ok(Self {
            table,
            requirements: requirements.collect::<Result<_>>()?,
            updates: updates
                .map(|one| parse("update", one))
                .collect::<Result<_>>()?,
        })
    }

    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// Whether the table must not be there before.
    pub fn creates_table(&self) -> bool {
        let is_create = |one: &TableRequirement| matches!(one, TableRequirement::NotExist);
        self.requirements.iter().any(is_create)
    }

    /// The action, for the log.
    fn summary(&self) -> &'static str {
        if self.creates_table() {
            return "create";
        }
        let mut summary = "change";
        for update in &self.updates {
            if let TableUpdate::AddSnapshot { snapshot } = update {
                return match snapshot.summary().operation.as_str() {
                    "append" => "append to",
                    "overwrite" => "overwrite in",
                    "delete" => "delete from",
                    _ => "rewrite files of",
                };
            }
            if matches!(update, TableUpdate::AddSchema { .. }) {
                summary = "evolve";
            }
        }
        summary
    }
}

fn parse<T: DeserializeOwned>(what: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| {
        let what = format!("failed to read a {what}: {error}");
        Error::data("bad_update", what)
    })
}

fn fresh_commit_id(now: Timestamp) -> CommitId {
    CommitId::new(now, Uuid::new_v4().as_u128())
}

/// The properties that say which commit made a metadata file.
fn commit_property(id: CommitId) -> BTreeMap<String, String> {
    BTreeMap::from([(COMMIT_PROPERTY.to_owned(), id.to_string())])
}
