//! `cast`: changes the types of columns.
//!
//! ```yaml
#![doc = include_str!("cast.example.yaml")]
//! ```
//!
//! A cast never rounds: a value that the new type cannot hold exactly is quarantined with its row, the others are
//! processed.
//! Null stays null. Accepted values of each type:
//!
//! | from | takes |
//! | --- | --- |
//! | numbers to numbers | the same number; `1.0` to `long`, not `1.5`; `0.1` to `decimal(2, 1)`, not to `float` |
//! | text to a number | digits, sign, point, exponent; no spaces; not more digits than the type holds |
//! | text to boolean | `true`, `false` in any case |
//! | text to `timestamptz` | RFC 3339; to `timestamp`, the same without zone; to `date`, `YYYY-MM-DD` |
//! | text to `json` | JSON |
//! | times to times | the same instant, UTC; a time of day is not dropped |
//! | anything to `string`, `json` | its text; nested values to `json` only |

mod exact;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use async_trait::async_trait;
use forebay_core::{Batch, Context, Error, Result, SqlEngine};
use schemars::{Schema, SchemaGenerator};

use super::{Refusal, Transform, TransformKind, Transformed, column, keep, refuse};
use forebay_config::{Component, Document};
use forebay_formats::contract::ColumnType;

#[derive(Debug)]
pub struct Kind;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn summary(&self) -> &'static str {
        "New types for columns: `{column: type}`; a value that does not fit exactly is quarantined."
    }

    fn example(&self) -> &'static str {
        include_str!("cast.example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<BTreeMap<String, ColumnType>>();
        schema.insert("minProperties".to_owned(), 1.into());
        schema
    }
}

impl TransformKind for Kind {
    fn build(&self, config: &Document, _: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Cast {
            types: config.parse()?,
        }))
    }
}

#[derive(Debug)]
struct Cast {
    types: BTreeMap<String, ColumnType>,
}

#[async_trait]
impl Transform for Cast {
    fn passes(&self, column: &str) -> bool {
        !self.types.contains_key(column)
    }

    fn named(&self) -> Vec<&str> {
        self.types.keys().map(String::as_str).collect()
    }

    fn overlooks(&self, base: &str, variant: &str) -> bool {
        self.types.contains_key(base) && !self.types.contains_key(variant)
    }

    fn known_columns(&self, input: &SchemaRef) -> SchemaRef {
        let passed = input.fields().iter();
        let passed = passed.filter(|field| self.passes(field.name())).cloned();
        let cast = self.types.iter();
        let cast = cast.map(|(name, kind)| Arc::new(Field::new(name, kind.arrow(), true)));
        Arc::new(ArrowSchema::new(passed.chain(cast).collect::<Vec<_>>()))
    }

    async fn apply(&self, batch: Batch, stage: &str) -> Result<Transformed> {
        let mut columns = batch.records.columns().to_vec();
        let mut fields: Vec<_> = batch
            .records
            .schema()
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        let mut reasons: BTreeMap<usize, String> = BTreeMap::new();
        for (name, kind) in &self.types {
            let index = column(&batch.records, name).context("stage", stage)?;
            let cast = convert(&columns[index], *kind)
                .context("column", name)
                .context("stage", stage)?;
            for row in unfit(&columns[index], &cast) {
                let shown = String::from(*kind);
                reasons
                    .entry(row)
                    .or_insert_with(|| format!("`{name}` is not exactly a {shown}"));
            }
            fields[index] = fields[index]
                .clone()
                .with_data_type(kind.arrow())
                .with_nullable(true);
            columns[index] = cast;
        }
        let schema =
            ArrowSchema::new_with_metadata(fields, batch.records.schema_ref().metadata().clone());
        let records = RecordBatch::try_new(Arc::new(schema), columns).map_err(|error| {
            Error::bug("cast", "failed to put cast columns together").with_source(error)
        })?;
        finish(batch, records, reasons, stage)
    }
}

/// A rejected row is kept as before the cast.
fn finish(
    batch: Batch,
    records: RecordBatch,
    reasons: BTreeMap<usize, String>,
    stage: &str,
) -> Result<Transformed> {
    let kept: Vec<bool> = (0..records.num_rows())
        .map(|row| !reasons.contains_key(&row))
        .collect();
    let refusals = reasons
        .into_iter()
        .map(|(row, reason)| Refusal {
            row,
            code: "cast_not_exact",
            reason,
        })
        .collect();
    let cast = keep(
        Batch {
            records,
            ..batch.clone()
        },
        &kept,
    )?;
    let Transformed { rejected, .. } = refuse(batch, refusals, stage)?;
    Ok(Transformed {
        batch: cast,
        rejected,
    })
}

/// The rows that had a value and have none now.
fn unfit(before: &ArrayRef, after: &ArrayRef) -> Vec<usize> {
    let nulls = |array: &ArrayRef| array.logical_null_count();
    if nulls(before) == nulls(after) {
        return Vec::new();
    }
    let had = before.logical_nulls();
    let has = after.logical_nulls();
    let valid = |nulls: &Option<arrow::buffer::NullBuffer>, row| {
        nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    };
    (0..before.len())
        .filter(|row| valid(&had, *row) && !valid(&has, *row))
        .collect()
}

/// `array` as `kind`; a value that does not fit exactly is null.
fn convert(array: &ArrayRef, kind: ColumnType) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            text::parse(&exact::arrow_cast(array, &DataType::Utf8)?, kind)
        }
        DataType::Dictionary(_, values) => convert(&exact::arrow_cast(array, values)?, kind),
        _ => exact::convert(array, kind),
    }
}

#[cfg(test)]
mod tests;
