//! The tables that one commit of a pipeline touches, each with its open files.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use forebay_core::{Context, Ident, RefName, Result, TableName};
use forebay_lake::{Draft, Lake, PartitionField, TableWriter, WriterOptions};
use object_store::path::Path;
use tokio::runtime::Handle;

/// `raw.<pipeline>`.
pub(super) fn raw(pipeline: &Ident) -> Result<TableName> {
    Ok(TableName::new("raw".parse()?, pipeline.clone()))
}

/// Tables being written; everything is invisible until [`Tables::finish`]'s drafts are committed.
pub(super) struct Tables {
    lake: Lake,
    branch: RefName,
    runtime: Handle,
    open: BTreeMap<TableName, Open>,
    /// What was learned, for people: `quakes.events: added column note`.
    pub(super) changes: Vec<String>,
}

struct Open {
    draft: Draft,
    writer: Option<TableWriter>,
    /// Files at given paths.
    files: BTreeMap<Path, TableWriter>,
    /// The schema that was last seen to fit; most batches have the same.
    fits: Option<SchemaRef>,
    options: WriterOptions,
}

impl Open {
    fn new(draft: Draft, options: WriterOptions) -> Self {
        Self {
            draft,
            writer: None,
            files: BTreeMap::new(),
            fits: None,
            options,
        }
    }

    /// Closes every file.
    fn close(&mut self) -> Result<()> {
        let writers = self.writer.take().into_iter();
        for writer in writers.chain(std::mem::take(&mut self.files).into_values()) {
            self.draft.append(writer.finish()?);
        }
        Ok(())
    }
}

impl Tables {
    pub(super) fn new(lake: Lake, branch: RefName, runtime: Handle) -> Self {
        Self {
            lake,
            branch,
            runtime,
            open: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// Adds rows. A table that is not there is created with `partition`; one that lacks columns gets them.
    pub(super) fn write(
        &mut self,
        name: &TableName,
        records: &RecordBatch,
        partition: &[PartitionField],
        options: &WriterOptions,
    ) -> Result<()> {
        self.ensure(name, &records.schema(), partition, options)
            .context("table", name)?;
        let open = self.open.get_mut(name).ok_or_else(|| gone(name))?;
        let writer = match &mut open.writer {
            Some(writer) => writer,
            none => none.insert(open.draft.writer(open.options.clone())?),
        };
        writer.write(records).context("table", name)
    }

    /// Adds rows to the file at a given path below the workspace: a raw object's index.
    pub(super) fn write_at(
        &mut self,
        name: &TableName,
        records: &RecordBatch,
        path: &Path,
    ) -> Result<()> {
        let options = WriterOptions {
            path: Some(path.clone()),
            ..WriterOptions::default()
        };
        self.ensure(name, &records.schema(), &[], &options)
            .context("table", name)?;
        let open = self.open.get_mut(name).ok_or_else(|| gone(name))?;
        let writer = match open.files.entry(path.clone()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(open.draft.writer(options)?),
        };
        writer.write(records).context("table", name)
    }

    /// Sets a property of a table that is there or being made; a table that is neither is left alone. Whether it will be so.
    pub(super) fn set_property(
        &mut self,
        name: &TableName,
        key: &str,
        value: &str,
    ) -> Result<bool> {
        if !self.open.contains_key(name) {
            let draft = self.runtime.block_on(self.lake.draft(&self.branch, name))?;
            let is_so = draft.property(key).as_deref() == Some(value);
            if !draft.exists() || is_so {
                return Ok(is_so);
            }
            let open = Open::new(draft, WriterOptions::default());
            self.open.insert(name.clone(), open);
        }
        let open = self.open.get_mut(name).ok_or_else(|| gone(name))?;
        if open.draft.property(key).as_deref() != Some(value) {
            open.draft.set_property(key, value);
        }
        Ok(true)
    }

    /// A table that is changed is changed only while the property is `value`. Told at once when it is something else.
    ///
    /// Errors: `Conflict` `property_moved`.
    pub(super) fn expect_property(
        &mut self,
        name: &TableName,
        key: &str,
        value: Option<&str>,
    ) -> Result<()> {
        match self.open.get_mut(name) {
            Some(open) => open.draft.expect_property(key, value),
            None => Ok(()),
        }
    }

    /// Closes every file and gives the changes to commit.
    pub(super) fn finish(&mut self) -> Result<Vec<Draft>> {
        let mut drafts = Vec::new();
        for (name, mut open) in std::mem::take(&mut self.open) {
            open.close().context("table", &name)?;
            drafts.push(open.draft);
        }
        Ok(drafts)
    }

    fn ensure(
        &mut self,
        name: &TableName,
        schema: &SchemaRef,
        partition: &[PartitionField],
        options: &WriterOptions,
    ) -> Result<()> {
        if !self.open.contains_key(name) {
            let draft = self.runtime.block_on(self.lake.draft(&self.branch, name))?;
            self.open
                .insert(name.clone(), Open::new(draft, options.clone()));
        }
        let open = self.open.get_mut(name).ok_or_else(|| gone(name))?;
        if open.fits.as_ref().is_some_and(|fits| fits == schema) {
            return Ok(());
        }
        if open.draft.schema().is_none() {
            open.draft.create(schema, partition)?;
        } else {
            let changes = open.draft.evolve(schema)?;
            if !changes.is_empty() {
                // Files written so far keep the schema they were written with.
                open.close()?;
                self.changes.extend(
                    changes
                        .into_iter()
                        .map(|change| format!("{name}: {change}")),
                );
            }
        }
        open.fits = Some(schema.clone());
        Ok(())
    }
}

fn gone(name: &TableName) -> forebay_core::Error {
    forebay_core::Error::bug("table_not_open", format!("the table {name} is not open"))
}
