//! Transforms: from batches to batches, in the order a pipeline file lists them.
//!
//! Transforms see the main table only; child tables pass unchanged. A transform does no I/O besides SQL through
//! [`SqlEngine`], and never drops a row silently: a rejected row becomes a [`Rejected`].

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
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::{Batch, Error, ErrorKind, Origins, Rejected, Result, SqlEngine};

use forebay_config::{Component, Document, find_component, suggest};
use forebay_formats::text::rows_as_json;

/// Every transform there is, in the order of the reference.
pub const TRANSFORMS: &[&dyn TransformKind] =
    &[&sql::Kind, &rename::Kind, &cast::Kind, &check::Kind];

/// A kind of transform: the configuration of an element of `transform:`.
pub trait TransformKind: Component {
    /// All that is wrong with it, for a kind of several parts, so that all is reported at once: `build` stops at the first.
    fn faults(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Vec<Error> {
        let _ = (config, engine);
        Vec::new()
    }

    fn build(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>>;
}

/// One configured step.
#[async_trait]
pub trait Transform: fmt::Debug + Send + Sync {
    /// `stage` is its position, such as `transform[1]`, for rejected rows.
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

    /// The columns of its output whose types are known when those of these columns of the input are.
    fn known_columns(&self, input: &SchemaRef) -> SchemaRef {
        let fields = input.fields().iter();
        let passed = fields.filter(|field| self.passes(field.name())).cloned();
        Arc::new(Schema::new(passed.collect::<Vec<_>>()))
    }

    /// Checks its types, as far as they follow from these columns of the input.
    ///
    /// Errors: `Config` `unsupported_type` for a type that no table can hold; those of planning for an expression that its types do not fit.
    fn check_columns(&self, input: &SchemaRef) -> Result<()> {
        let _ = input;
        Ok(())
    }

    /// Columns that it computes from others, and does not read.
    fn made(&self) -> &[String] {
        &[]
    }

    /// All output columns, whatever the input; `None` when they depend on the input.
    fn columns(&self) -> Option<&[String]> {
        None
    }
}

#[derive(Debug)]
pub struct Transformed {
    pub batch: Batch,
    pub rejected: Vec<Rejected>,
}

/// The transform of this name.
pub fn find(name: &str) -> Result<&'static dyn TransformKind> {
    find_component(TRANSFORMS, "transform", name)
}

/// Why a row is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) row: usize,
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

/// Removes the rejected rows from `batch`. `refusals` are in row order, one per row.
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
            line: batch
                .origins
                .as_ref()
                .and_then(|origins| origins.line(refusal.row)),
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

/// Keeps an error of a statement that was tried without knowing the columns, when the statement itself is invalid.
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
            format!("column `{name}` not found in the rows"),
        );
        error.with_hint(match suggest::nearest(name, names.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("columns are {}", suggest::list(names)),
        })
    })
}

/// An SQL engine for tests of transforms: returns the results of the test, without SQL.
#[cfg(test)]
pub(crate) mod fixture;
