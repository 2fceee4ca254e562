//! Which pipelines may write to a table: it belongs to those that declare its main table as their target.

use forebay_core::{Error, Ident, Result, TableName};
use forebay_lake::{Draft, LOADERS_PROPERTY, OWNER_PROPERTY, WriterOptions, loader_names};

use super::{Tables, belongs_to, gone};
use crate::platform::iceberg::IcebergTarget;

impl Tables {
    pub(super) fn claim(
        &mut self,
        name: &TableName,
        main: &TableName,
        options: &WriterOptions,
    ) -> Result<()> {
        let pipeline = self.pipeline.clone();
        let reads = self.reads.clone();
        let open = self.opened(name, options)?;
        if open.is_claimed {
            return Ok(());
        }
        let owner = open.draft.property(OWNER_PROPERTY);
        if let Some(schema) = open.draft.schema()
            && !belongs_to(name, main, owner.as_deref(), &schema)
        {
            return Err(taken(name, owner.as_deref()));
        }
        if owner.is_none() {
            open.draft.set_property(OWNER_PROPERTY, main.to_string());
            if open.draft.exists() {
                open.draft.expect_property(OWNER_PROPERTY, None)?;
            }
        }
        if name == main {
            record_loader(&mut open.draft, &pipeline)?;
            if let Some((key, value)) = reads
                && open.draft.property(&key).as_ref() != Some(&value)
            {
                open.draft.set_property(key, value);
            }
        }
        open.is_claimed = true;
        Ok(())
    }

    /// A run would replace the rows of other pipelines.
    pub(super) fn check_alone(&self, name: &TableName, target: &IcebergTarget) -> Result<()> {
        let open = self.open.get(name).ok_or_else(|| gone(name))?;
        let recorded = open.draft.property(LOADERS_PROPERTY);
        let others = loader_names(recorded.as_deref());
        let other = others
            .iter()
            .find(|other| **other != self.pipeline.to_string());
        let Some(other) = other.filter(|_| target.replaces()) else {
            return Ok(());
        };
        let what =
            format!("pipeline {other} has rows in the table, which `mode: replace` would delete");
        Err(Error::config("table_shared", what).with_hint("load into a table of its own"))
    }

    /// Rows without periods would be neither true nor believed at any time.
    pub(super) fn check_kind(&self, name: &TableName, target: &IcebergTarget) -> Result<()> {
        let open = self.open.get(name).ok_or_else(|| gone(name))?;
        if target.bitemporal().is_some() || !open.draft.is_bitemporal() {
            return Ok(());
        }
        let what = "the table is bitemporal: rows without periods would be in it and never seen";
        Err(Error::config("table_is_bitemporal", what)
            .with_hint("set `mode: bitemporal` and its `key`, or load into another table"))
    }
}

/// Notes that the table has rows of the pipeline.
fn record_loader(draft: &mut Draft, pipeline: &Ident) -> Result<()> {
    let recorded = draft.property(LOADERS_PROPERTY);
    let mut names = loader_names(recorded.as_deref());
    if !names.insert(pipeline.to_string()) {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().collect();
    draft.set_property(LOADERS_PROPERTY, names.join(","));
    match draft.exists() {
        true => draft.expect_property(LOADERS_PROPERTY, recorded.as_deref()),
        false => Ok(()),
    }
}

fn taken(name: &TableName, owner: Option<&str>) -> Error {
    let owner = owner.unwrap_or("another pipeline");
    Error::config("table_taken", format!("{name} belongs to {owner}"))
        .with_hint("load into another table, or rename the list in the records")
}
