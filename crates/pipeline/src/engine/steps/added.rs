//! The declared types of columns that the source adds from the names of its files.
//!
//! The extraction gives such a column its type where every value fits. One that does not stays text, and its records are
//! refused here, before the other rules, so that their children are left out with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use forebay_core::{Batch, Error, Result};
use forebay_formats::contract::ColumnType;
use forebay_formats::declared_text::read_texts;

use crate::spec::PipelineSpec;
use crate::transform::{Refusal, Transformed, refuse};

#[derive(Debug)]
pub(super) struct AddedTypes(Vec<(String, ColumnType)>);

impl AddedTypes {
    pub(super) fn new(spec: &PipelineSpec) -> Self {
        let Some(rules) = spec.file_rules() else {
            return Self(Vec::new());
        };
        let declared = spec.schema.declared_columns();
        let typed = declared.filter(|(name, kind)| {
            // Any text fits a string.
            *kind != ColumnType::String && rules.may_fill(name)
        });
        Self(typed.map(|(name, kind)| (name.to_owned(), kind)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Rejects rows with a text that does not fit, and gives the others the declared types.
    pub(super) fn apply(&self, batch: Batch) -> Result<Transformed> {
        let mut refusals = BTreeMap::new();
        for (name, kind) in &self.0 {
            for refusal in misfits(&batch.records, name, *kind) {
                refusals.entry(refusal.row).or_insert(refusal);
            }
        }
        let mut done = refuse(batch, refusals.into_values().collect(), "extract")?;
        done.batch.records = self.typed(done.batch.records)?;
        Ok(done)
    }

    fn typed(&self, records: RecordBatch) -> Result<RecordBatch> {
        let (schema, mut arrays, _) = records.into_parts();
        let mut fields = schema.fields().to_vec();
        for (name, kind) in &self.0 {
            let Ok(at) = schema.index_of(name) else {
                continue;
            };
            if let Some(array) = read(&arrays[at], *kind).map(|(array, _)| array) {
                let field = fields[at].as_ref().clone().with_data_type(kind.arrow());
                fields[at] = Arc::new(field);
                arrays[at] = array;
            }
        }
        let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
        RecordBatch::try_new(Arc::new(schema), arrays).map_err(|error| {
            Error::bug("added_types", "failed to type the columns of files").with_source(error)
        })
    }
}

/// The column as its type, and the rows that do not fit; `None` when it is not text.
fn read(column: &ArrayRef, kind: ColumnType) -> Option<(ArrayRef, Vec<usize>)> {
    if column.data_type() != &DataType::Utf8 {
        return None;
    }
    let read = read_texts(column.as_string::<i32>(), kind);
    Some((read.array, read.misfits))
}

fn misfits(records: &RecordBatch, name: &str, kind: ColumnType) -> Vec<Refusal> {
    let column = records.column_by_name(name);
    let rows = column.and_then(|column| read(column, kind));
    let rows = rows.map_or(Vec::new(), |(_, misfits)| misfits);
    let kind = String::from(kind);
    let refusal = |row| Refusal {
        row,
        code: "type_mismatch",
        reason: format!(
            "`{name}` is not an exact {kind}: its value comes from the name of the file or of a folder"
        ),
    };
    rows.into_iter().map(refusal).collect()
}
