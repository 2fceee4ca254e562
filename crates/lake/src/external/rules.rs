//! Which updates of other engines are allowed.

use std::collections::HashMap;

use forebay_core::{Error, Result, TableName};
use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, SnapshotReference, SnapshotRetention, TableMetadata};

use crate::Lake;
use crate::bitemporal::KEY_PROPERTY;
use crate::ownership::{OWNER_PROPERTY, is_system_namespace};

use super::snapshots::TableFolder;

/// Properties of Forebay, which keep their values.
pub(super) const OWN_PREFIX: &str = "forebay.";
/// With it other engines would delete files that older states of the lake need.
const GC_PROPERTY: &str = "gc.enabled";
const REF_NAME_BYTES_MAX: usize = 250;

/// An update that is refused because of what it contains.
pub(super) fn bad_update(what: impl Into<String>) -> Error {
    Error::data("bad_update", what)
}

/// Errors: `Unsupported` `table_read_only`.
pub(super) fn check_namespace(table: &TableName) -> Result<()> {
    if !is_system_namespace(table.namespace.as_str()) {
        return Ok(());
    }
    let what = format!("{table} is written by Forebay alone");
    Err(Error::unsupported("table_read_only", what))
}

/// The updates that change something, each of them allowed.
///
/// Errors: `Unsupported` `update_refused`, `table_read_only`; `Data` `bad_update`.
pub(super) fn allowed_updates(
    lake: &Lake,
    base: &TableMetadata,
    is_new: bool,
    updates: &[TableUpdate],
) -> Result<Vec<TableUpdate>> {
    let rules = UpdateRules {
        base,
        is_new,
        folder: TableFolder::of(lake, base)?,
        is_bitemporal: base.properties().contains_key(KEY_PROPERTY),
        is_owned: base.properties().contains_key(OWNER_PROPERTY),
    };
    updates.iter().map(|update| rules.checked(update)).collect()
}

struct UpdateRules<'t> {
    base: &'t TableMetadata,
    is_new: bool,
    folder: TableFolder<'t>,
    is_bitemporal: bool,
    is_owned: bool,
}

impl UpdateRules<'_> {
    fn checked(&self, update: &TableUpdate) -> Result<TableUpdate> {
        if self.is_bitemporal && !keeps_rows(update) {
            let what = "the table is bitemporal: only its pipeline writes its rows, so that every row has its periods";
            return Err(Error::unsupported("table_read_only", what)
                .with_hint("write into another table, or send records to the pipeline"));
        }
        match update {
            TableUpdate::AssignUuid { uuid } if *uuid != self.base.uuid() => {
                Err(refused("the UUID of a table cannot be changed"))
            }
            TableUpdate::SetLocation { location } => self.check_location(location),
            TableUpdate::UpgradeFormatVersion { format_version } => {
                self.check_version(*format_version)
            }
            TableUpdate::SetProperties { updates } => return self.properties(updates),
            TableUpdate::RemoveProperties { removals } => self.check_removals(removals),
            TableUpdate::SetSnapshotRef {
                ref_name,
                reference,
            } => check_ref(ref_name).and_then(|()| check_retention(ref_name, reference)),
            TableUpdate::RemoveSnapshotRef { ref_name } => check_ref(ref_name),
            TableUpdate::SetStatistics { statistics } => self
                .folder
                .check("a statistics file", &statistics.statistics_path),
            TableUpdate::SetPartitionStatistics {
                partition_statistics,
            } => self
                .folder
                .check("a statistics file", &partition_statistics.statistics_path),
            TableUpdate::AddEncryptionKey { .. } | TableUpdate::RemoveEncryptionKey { .. } => {
                Err(refused("encrypted tables are not supported"))
            }
            TableUpdate::AddSchema { .. }
            | TableUpdate::AssignUuid { .. }
            | TableUpdate::SetCurrentSchema { .. }
            | TableUpdate::AddSpec { .. }
            | TableUpdate::SetDefaultSpec { .. }
            | TableUpdate::AddSortOrder { .. }
            | TableUpdate::SetDefaultSortOrder { .. }
            | TableUpdate::AddSnapshot { .. }
            | TableUpdate::RemoveSnapshots { .. }
            | TableUpdate::RemovePartitionSpecs { .. }
            | TableUpdate::RemoveStatistics { .. }
            | TableUpdate::RemovePartitionStatistics { .. }
            | TableUpdate::RemoveSchemas { .. } => Ok(()),
        }?;
        Ok(update.clone())
    }

    fn check_location(&self, location: &str) -> Result<()> {
        if location.trim_end_matches('/') == self.base.location() {
            return Ok(());
        }
        Err(refused("the location of a table is chosen by the server"))
    }

    fn check_version(&self, version: FormatVersion) -> Result<()> {
        let is_upgrade = version > self.base.format_version();
        if is_upgrade && version > FormatVersion::V2 && self.is_owned {
            return Err(refused(
                "a table that a pipeline loads stays at format version 2",
            ));
        }
        Ok(())
    }

    fn properties(&self, updates: &HashMap<String, String>) -> Result<TableUpdate> {
        let known = self.base.properties();
        let mut changed = HashMap::new();
        for (key, value) in updates {
            if known.get(key) != Some(value) {
                self.check_property(key, value)?;
                changed.insert(key.clone(), value.clone());
            }
        }
        Ok(TableUpdate::SetProperties { updates: changed })
    }

    fn check_property(&self, key: &str, value: &str) -> Result<()> {
        if self.is_new && key == GC_PROPERTY && value == "false" {
            return Ok(());
        }
        check_key(key)
    }

    fn check_removals(&self, removals: &[String]) -> Result<()> {
        let is_there = |key: &&String| self.base.properties().contains_key(*key);
        removals
            .iter()
            .filter(is_there)
            .try_for_each(|key| check_key(key))
    }
}

/// Updates after which a bitemporal table has the same rows in the same columns.
fn keeps_rows(update: &TableUpdate) -> bool {
    match update {
        TableUpdate::SetSnapshotRef { ref_name, .. }
        | TableUpdate::RemoveSnapshotRef { ref_name } => ref_name != "main",
        TableUpdate::SetProperties { .. }
        | TableUpdate::RemoveProperties { .. }
        | TableUpdate::SetStatistics { .. }
        | TableUpdate::RemoveStatistics { .. }
        | TableUpdate::SetPartitionStatistics { .. }
        | TableUpdate::RemovePartitionStatistics { .. } => true,
        _ => false,
    }
}

/// A property that a caller may set or remove.
pub(super) fn check_key(key: &str) -> Result<()> {
    if key.starts_with(OWN_PREFIX) {
        return Err(refused(format!("the property `{key}` belongs to Forebay")));
    }
    if key.starts_with("write.") && key.ends_with(".path") {
        return Err(refused(format!(
            "`{key}` is refused: the files of a table lie in its own folder"
        )));
    }
    if key == GC_PROPERTY {
        return Err(refused(format!(
            "`{key}` stays false: files of older states are deleted by `forebay tables clean`"
        )));
    }
    Ok(())
}

fn check_ref(name: &str) -> Result<()> {
    let is_plain = !name.is_empty() && !name.chars().any(char::is_control);
    if is_plain && name.len() <= REF_NAME_BYTES_MAX {
        return Ok(());
    }
    let what = format!(
        "the name of a branch or tag has 1 to {REF_NAME_BYTES_MAX} bytes and no control characters"
    );
    Err(Error::data("bad_update", what))
}

/// Every commit goes to the branch `main`, and engines refuse to read a table whose refs are kept for no time.
fn check_retention(name: &str, reference: &SnapshotReference) -> Result<()> {
    let limits = match reference.retention {
        SnapshotRetention::Tag { .. } if name == "main" => {
            return Err(bad_update(
                "`main` is a branch of every table and cannot be a tag",
            ));
        }
        SnapshotRetention::Tag { max_ref_age_ms } => [max_ref_age_ms, None, None],
        SnapshotRetention::Branch {
            min_snapshots_to_keep,
            max_snapshot_age_ms,
            max_ref_age_ms,
        } => [
            max_ref_age_ms,
            max_snapshot_age_ms,
            min_snapshots_to_keep.map(i64::from),
        ],
    };
    match limits.into_iter().flatten().any(|limit| limit <= 0) {
        false => Ok(()),
        true => Err(bad_update(format!(
            "the retention of `{name}` is not positive"
        ))),
    }
}

pub(super) fn refused(what: impl Into<String>) -> Error {
    Error::unsupported("update_refused", what)
}
