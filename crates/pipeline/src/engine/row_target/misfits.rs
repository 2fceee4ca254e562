//! Finds the rows that a lake table cannot hold, one by one, so that the others land.
//!
//! A value may have no partition (the least `int` under `truncate`, the year 290000 under `hour`), or no exact place in its column.
//! Looked for only after a write has failed; a batch that fits costs nothing.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::FieldRef;
use forebay_core::{Batch, Context, Error, ErrorKind, Rejected, Result, TableName};
use forebay_lake::PartitionField;
use forebay_lake::bitemporal::{refuse_periods, rows_with_periods};
use forebay_lake::upsert::{key_refusal, rows_of_other_kind, rows_without_key};

use crate::engine::commit::tables::Tables;
use crate::engine::steps::Steps;
use crate::platform::iceberg::IcebergTarget;
use crate::transform::Refusal;

/// Writes the rows of a batch to their table; records that the table cannot hold are returned as rejected.
pub(in crate::engine) fn write_rows(
    tables: &mut Tables,
    steps: &mut Steps,
    target: &IcebergTarget,
    batch: Batch,
) -> Result<Vec<Rejected>> {
    let (name, partition) = target.place(&batch.child)?;
    // An error of the table itself is not the fault of a record.
    tables.claim_rows(target, &batch.child)?;
    let is_main = batch.child.is_empty();
    let (batch, mut refused) = with_keys(tables, steps, target, batch)?;
    let (batch, others) = with_sound_periods(tables, steps, target, batch)?;
    refused.extend(others);
    let (batch, others) = with_fitting_columns(tables, steps, target, batch)?;
    refused.extend(others);
    if batch.records.num_rows() == 0 {
        return Ok(refused);
    }
    let rows = stored(target, &batch.records)?;
    let changes = is_main
        && tables
            .would_change(&name, &rows.schema())
            .context("table", &name)?;
    let checked = match changes {
        // Before the table changes: a rejected record must not add columns to it.
        true => tables.check(&name, &rows, partition),
        false => Ok(()),
    };
    match checked.and_then(|()| tables.write_rows(target, &batch.child, &rows)) {
        Err(error) if error.kind() == ErrorKind::Data && is_main => {
            refused.extend(without_misfits(tables, steps, target, batch, error)?);
        }
        written => written?,
    }
    Ok(refused)
}

/// The rows without a value in columns that the table has with a type of another kind, as it may when several pipelines load
/// it; the others as rejected records.
fn with_fitting_columns(
    tables: &mut Tables,
    steps: &mut Steps,
    target: &IcebergTarget,
    batch: Batch,
) -> Result<(Batch, Vec<Rejected>)> {
    if !batch.child.is_empty() {
        return Ok((batch, Vec::new()));
    }
    let schema = stored(target, &batch.records.slice(0, 0))?.schema();
    let misfits = tables.misfit_columns(&target.table, &schema)?;
    if misfits.is_empty() {
        return Ok((batch, Vec::new()));
    }
    let misfits: BTreeMap<&String, Error> = misfits
        .into_iter()
        .map(|(at, error)| (schema.field(at).name(), error))
        .collect();
    let records = batch.records.clone();
    let is_only = misfits.len() == records.num_columns();
    let refusal = |row: usize| {
        let has_value = |name: &str| {
            records
                .column_by_name(name)
                .is_some_and(|column| column.is_valid(row))
        };
        let mut misfits = misfits.iter();
        let (_, error) = misfits.find(|(name, _)| is_only || has_value(name))?;
        let hint = error
            .hint()
            .map_or_else(String::new, |hint| format!(": {hint}"));
        Some(Refusal {
            row,
            code: error.code(),
            reason: format!("{}{hint}", error.message()),
        })
    };
    let refusals: Vec<Refusal> = (0..batch.records.num_rows()).filter_map(refusal).collect();
    let (mut left, refused) = match refusals.is_empty() {
        true => (batch, Vec::new()),
        false => tables
            .runtime()
            .block_on(steps.refuse_rows(batch, refusals))?,
    };
    let schema = left.records.schema();
    let is_misfit = |field: &FieldRef| misfits.contains_key(field.name());
    let fields = schema.fields().iter().enumerate();
    let fitting: Vec<usize> = fields
        .filter(|(_, field)| !is_misfit(field))
        .map(|(at, _)| at)
        .collect();
    left.records = left.records.project(&fitting).map_err(|error| {
        Error::bug("bad_batch", "failed to leave columns out").with_source(error)
    })?;
    Ok((left, refused))
}

/// The rows that have every column of the key, and the others as rejected records.
fn with_keys(
    tables: &Tables,
    steps: &mut Steps,
    target: &IcebergTarget,
    batch: Batch,
) -> Result<(Batch, Vec<Rejected>)> {
    let mut errors: BTreeMap<usize, Error> = BTreeMap::new();
    if target.is_keyed() && batch.child.is_empty() {
        for name in target.key.iter().chain(&target.order) {
            errors.extend(rows_of_other_kind(&batch.records, name));
        }
        for row in rows_without_key(&batch.records, &target.key) {
            errors
                .entry(row)
                .or_insert_with(|| key_refusal(&target.key));
        }
    }
    refused_rows(tables, steps, batch, errors.into_iter().collect())
}

/// The rows without those that have an error, and these as rejected records.
fn refused_rows(
    tables: &Tables,
    steps: &mut Steps,
    batch: Batch,
    errors: Vec<(usize, Error)>,
) -> Result<(Batch, Vec<Rejected>)> {
    if errors.is_empty() {
        return Ok((batch, Vec::new()));
    }
    let refusal = |(row, error): (usize, Error)| Refusal {
        row,
        code: error.code(),
        reason: error.to_string(),
    };
    let refusals = errors.into_iter().map(refusal).collect();
    tables
        .runtime()
        .block_on(steps.refuse_rows(batch, refusals))
}

/// The rows as their table gets them: those of a bitemporal one with their periods.
pub(super) fn stored(target: &IcebergTarget, records: &RecordBatch) -> Result<RecordBatch> {
    match target.bitemporal() {
        Some((_, columns)) => rows_with_periods(records, &columns),
        None => Ok(records.clone()),
    }
}

/// The rows whose periods are sound, and the others as rejected records.
fn with_sound_periods(
    tables: &Tables,
    steps: &mut Steps,
    target: &IcebergTarget,
    batch: Batch,
) -> Result<(Batch, Vec<Rejected>)> {
    let Some((_, columns)) = target.bitemporal() else {
        return Ok((batch, Vec::new()));
    };
    let errors = refuse_periods(&batch.records, &columns)?;
    refused_rows(tables, steps, batch, errors)
}

fn without_misfits(
    tables: &mut Tables,
    steps: &mut Steps,
    target: &IcebergTarget,
    batch: Batch,
    error: Error,
) -> Result<Vec<Rejected>> {
    let place = target.place(&batch.child)?;
    let refusals = misfits(
        tables,
        (&place.0, place.1),
        &stored(target, &batch.records)?,
    )?;
    if refusals.is_empty() {
        return Err(error);
    }
    let runtime = tables.runtime().clone();
    let (left, refused) = runtime.block_on(steps.refuse_rows(batch, refusals))?;
    if left.records.num_rows() > 0 {
        tables.write_rows(target, &left.child, &stored(target, &left.records)?)?;
    }
    Ok(refused)
}

/// The rows of `records` that `table` rejects, with the reasons; the schema as a whole fits.
fn misfits(
    tables: &mut Tables,
    (table, partition): (&TableName, &[PartitionField]),
    records: &RecordBatch,
) -> Result<Vec<Refusal>> {
    let mut found = Vec::new();
    let mut parts = vec![(0, records.num_rows())];
    while let Some((from, length)) = parts.pop() {
        let error = match tables.check(table, &records.slice(from, length), partition) {
            Ok(()) => continue,
            Err(error) if error.kind() != ErrorKind::Data => return Err(error),
            Err(error) => error,
        };
        let half = length / 2;
        if half > 0 {
            // The first half comes off the stack first, so rows are found in order.
            parts.push((from + half, length - half));
            parts.push((from, half));
        } else {
            found.push(Refusal {
                row: from,
                code: error.code(),
                reason: error.to_string(),
            });
        }
    }
    Ok(found)
}
