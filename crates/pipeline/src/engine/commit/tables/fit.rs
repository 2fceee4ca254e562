//! Whether rows and columns fit a table, as it is and as it will be. Nothing is written, and no table changes.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use forebay_core::{Error, ErrorKind, Result, TableName};
use forebay_lake::{Draft, INCOMPATIBLE_TYPE, PartitionField, WriterOptions};
use tokio::runtime::Handle;

use super::{Tables, table_schema};

impl Tables {
    /// Whether rows with this schema would make or change the table.
    pub(in crate::engine) fn would_change(
        &mut self,
        name: &TableName,
        schema: &SchemaRef,
    ) -> Result<bool> {
        let open = self.opened(name, &WriterOptions::default())?;
        if open.fits.as_ref().is_some_and(|fits| fits == schema) {
            return Ok(false);
        }
        let table = table_schema(schema);
        let mut trial = open.draft.trial();
        if trial.schema().is_none() || trial.would_widen(&table)? {
            return Ok(true);
        }
        Ok(!trial.evolve(&table)?.is_empty())
    }

    /// The columns of `schema` whose type the table cannot take, with the reasons. Found by halves: a schema that fits is
    /// tried once.
    pub(in crate::engine) fn misfit_columns(
        &mut self,
        name: &TableName,
        schema: &SchemaRef,
    ) -> Result<Vec<(usize, Error)>> {
        let runtime = self.runtime.clone();
        let open = self.opened(name, &WriterOptions::default())?;
        let fits = open.fits.as_ref().is_some_and(|fits| fits == schema);
        let mut misfits = Vec::new();
        if fits || open.draft.schema().is_none() {
            return Ok(misfits);
        }
        // The first column of each part, and how many it has.
        let mut parts = vec![(0, schema.fields().len())];
        while let Some((first, count)) = parts.pop() {
            let columns = schema.fields()[first..first + count].to_vec();
            match try_columns(&runtime, &open.draft, Arc::new(Schema::new(columns))) {
                Err(error) if error.code() != INCOMPATIBLE_TYPE => return Err(error),
                Err(error) if count == 1 => misfits.push((first, error)),
                Err(_) => {
                    let half = count / 2;
                    // The first half comes off the stack first.
                    parts.extend([(first + half, count - half), (first, half)]);
                }
                Ok(()) => {}
            }
        }
        Ok(misfits)
    }

    /// Whether the rows fit the table with its pending changes. Nothing is written, and the table does not change.
    pub(in crate::engine) fn check(
        &mut self,
        name: &TableName,
        records: &RecordBatch,
        partition: &[PartitionField],
    ) -> Result<()> {
        let runtime = self.runtime.clone();
        let open = self.opened(name, &WriterOptions::default())?;
        let mut trial = open.draft.trial();
        let schema = table_schema(&records.schema());
        if trial.schema().is_none() {
            trial.create(&schema, partition)?;
        } else {
            if may_widen(&runtime, &trial, &schema)? {
                trial.widen(&schema)?;
            }
            trial.evolve(&schema)?;
        }
        trial.writer(WriterOptions::default())?.check(records)
    }
}

/// Whether the table can take the columns, widened where it may be.
fn try_columns(runtime: &Handle, draft: &Draft, columns: SchemaRef) -> Result<()> {
    let mut trial = draft.trial();
    if trial.would_widen(&columns)?
        && runtime
            .block_on(trial.widening_obstacle(&columns))?
            .is_none()
    {
        trial.widen(&columns)?;
    }
    trial.evolve(&columns).map(drop)
}

/// Whether columns of whole numbers over which `schema` has doubles may become doubles.
pub(super) fn may_widen(runtime: &Handle, draft: &Draft, schema: &SchemaRef) -> Result<bool> {
    if !draft.would_widen(schema)? {
        return Ok(false);
    }
    let obstacle = runtime.block_on(draft.widening_obstacle(schema));
    let obstacle = obstacle.map_err(|error| match error.kind() {
        // A table that cannot be read is not the fault of the incoming rows.
        ErrorKind::Data => {
            Error::unavailable("table_unreadable", "failed to read the table").with_source(error)
        }
        _ => error,
    })?;
    if let Some(obstacle) = &obstacle {
        tracing::warn!(table = %draft.name(), reason = %obstacle.reason, "column stays long");
    }
    Ok(obstacle.is_none())
}
