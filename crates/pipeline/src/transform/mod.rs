//! Transforms: from batches to batches, in the order a pipeline file lists them.
//!
//! Transforms see the main table only; child tables pass unchanged. A transform does no I/O besides SQL through
//! [`SqlEngine`], and never drops a row silently: a row it refuses becomes a [`Rejected`].

mod bisect;
pub mod cast;
pub mod check;
pub mod rename;
pub mod sql;
pub(crate) mod variant;

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use forebay_core::{Batch, Error, ErrorKind, Origins, Rejected, Result, SqlEngine};
use schemars::Schema;

use crate::file::{Document, suggest};
use crate::text::{NullFields, no_json, write_json_lines};

/// Every transform there is, in the order of the reference.
pub const TRANSFORMS: &[&dyn TransformKind] =
    &[&sql::Kind, &rename::Kind, &cast::Kind, &check::Kind];

/// A kind of transform: what an element of `transform:` may be.
pub trait TransformKind: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> Schema;
    fn build(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>>;
}

/// One configured step.
#[async_trait]
pub trait Transform: fmt::Debug + Send + Sync {
    /// `stage` is its place, such as `transform[1]`, for what it rejects.
    async fn apply(&self, batch: Batch, stage: &str) -> Result<Transformed>;

    /// Whether a column passes under its name, whatever its type.
    fn passes(&self, column: &str) -> bool {
        let _ = column;
        false
    }

    /// Columns that it names.
    fn named(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether it uses `base` and leaves out `variant`, the column beside it for values of another type.
    fn overlooks(&self, base: &str, variant: &str) -> bool {
        let _ = (base, variant);
        false
    }

    /// Checks the types of what it yields, as far as these columns of the input tell them.
    ///
    /// Errors: `Config` `unsupported_type` for a type that no table can hold.
    fn check_columns(&self, input: &SchemaRef) -> Result<()> {
        let _ = input;
        Ok(())
    }

    /// Columns that it makes of others, and does not read.
    fn made(&self) -> &[String] {
        &[]
    }

    /// All columns of what it yields, whatever it is given; `None` when they depend on the input.
    fn columns(&self) -> Option<&[String]> {
        None
    }
}

#[derive(Debug)]
pub struct Transformed {
    pub batch: Batch,
    pub rejected: Vec<Rejected>,
}

/// The kind of this name.
pub fn find(name: &str) -> Result<&'static dyn TransformKind> {
    TRANSFORMS
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| {
            Error::config(
                "unknown_component",
                format!("there is no transform `{name}`"),
            )
        })
}

/// Why a row is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) row: usize,
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

/// Takes the refused rows out of `batch`. `refusals` are in row order, one a row.
pub(crate) fn refuse(batch: Batch, refusals: Vec<Refusal>, stage: &str) -> Result<Transformed> {
    if refusals.is_empty() {
        return Ok(Transformed {
            batch,
            rejected: Vec::new(),
        });
    }
    let mut kept = vec![true; batch.records.num_rows()];
    refusals
        .iter()
        .for_each(|refusal| kept[refusal.row] = false);
    let refused = BooleanArray::from_iter(kept.iter().map(|kept| Some(!kept)));
    let rows = rows_as_json(&filter(&batch.records, &refused)?)?;
    let origin = |row: usize| {
        batch
            .origins
            .as_ref()
            .map(|origins| (origins.payloads[row], origins.offsets[row]))
    };
    let rejected = refusals
        .into_iter()
        .zip(rows)
        .map(|(refusal, record)| Rejected {
            payload: origin(refusal.row).map(|(payload, _)| payload),
            extent: batch
                .origins
                .as_ref()
                .map(|origins| origins.extent(refusal.row)),
            offset: origin(refusal.row).map(|(_, offset)| offset),
            line: None,
            stage: stage.to_owned(),
            code: refusal.code.to_owned(),
            reason: refusal.reason,
            record,
        });
    let rejected = rejected.collect();
    Ok(Transformed {
        batch: keep(batch, &kept)?,
        rejected,
    })
}

/// The rows for which `kept` is true, with their origins.
pub(crate) fn keep(batch: Batch, kept: &[bool]) -> Result<Batch> {
    let records = filter(&batch.records, &BooleanArray::from(kept.to_vec()))?;
    let left = |origins: Origins| origins.of((0..kept.len()).filter(|row| kept[*row]));
    let origins = batch.origins.map(left);
    Ok(Batch {
        records,
        origins,
        ..batch
    })
}

fn filter(records: &RecordBatch, rows: &BooleanArray) -> Result<RecordBatch> {
    filter_record_batch(records, rows)
        .map_err(|error| Error::bug("filter", "failed to filter a batch").with_source(error))
}

/// Each row as one JSON object, with its nulls.
pub(crate) fn rows_as_json(records: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    write_json_lines(records, NullFields::Written, &mut lines).map_err(no_json)?;
    // A newline inside a string is escaped, so each line is a row.
    Ok(lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// Keeps an error of a statement that was tried without knowing the columns, when it is the statement's own fault.
pub(crate) fn own_fault<T>(tried: Result<T>) -> Result<()> {
    const CODES: [&str; 4] = [
        "not_a_select",
        "not_deterministic",
        "sql_too_deep",
        "sql_too_long",
    ];
    match tried {
        Err(error) if error.kind() != ErrorKind::Config => Ok(()),
        Err(error) if CODES.contains(&error.code()) || error.message().contains("syntax error") => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// The column of this name; the error names the nearest one.
pub(crate) fn column(records: &RecordBatch, name: &str) -> Result<usize> {
    records.schema_ref().index_of(name).map_err(|_| {
        let schema = records.schema_ref();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let error = Error::config(
            "no_column",
            format!("there is no column `{name}` in the rows"),
        );
        error.with_hint(match suggest::nearest(name, names.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("columns are {}", suggest::list(names)),
        })
    })
}

/// An SQL engine for tests of transforms: knows no SQL, answers what the test says.
#[cfg(test)]
pub(crate) mod fixture;
