//! Finds columns that only rejected records had values in: a rejected record must not add a column.
//!
//! An extractor learns columns before a check or a transform rejects some of the records. This tracks which columns had
//! values in accepted rows and in rejected rows; a column of rejected rows alone is removed from batches and from the
//! contract until an accepted row has a value in it. It never removes a value.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use forebay_core::{Error, Result};

use forebay_formats::contract::{Contract, ContractPolicy};
use forebay_formats::learned;
use forebay_formats::learned::{INSIDE, LearnedColumn};

#[derive(Debug)]
pub(in crate::engine) struct ColumnEvidence {
    /// Existing and declared columns are never removed.
    known: BTreeSet<LearnedColumn>,
    declared: BTreeSet<String>,
    /// Columns with values in accepted rows, and in rejected ones.
    landed: HashSet<LearnedColumn>,
    refused: HashSet<LearnedColumn>,
    /// By table: columns of its last batch that no row has had a value in.
    unseen: HashMap<String, UnseenColumns>,
}

#[derive(Debug)]
struct UnseenColumns {
    schema: SchemaRef,
    indexes: Vec<usize>,
}

impl ColumnEvidence {
    /// For an extraction that starts with `known`; `None` when it learns nothing from records.
    pub(in crate::engine) fn new(known: Contract, policy: &ContractPolicy) -> Result<Option<Self>> {
        let columns = learned::columns(known)?;
        let declared = policy.declared_columns().map(|(name, _)| name.to_owned());
        Ok(columns.map(|known| Self {
            known,
            declared: declared.collect(),
            landed: HashSet::new(),
            refused: HashSet::new(),
            unseen: HashMap::new(),
        }))
    }

    /// Records the columns of accepted rows.
    pub(in crate::engine) fn note_landed(&mut self, table: &str, rows: &RecordBatch) {
        let schema = rows.schema_ref();
        let last = self.unseen.remove(table);
        let last = last.filter(|last| last.schema == *schema);
        let mut unseen = last.unwrap_or_else(|| UnseenColumns {
            schema: schema.clone(),
            indexes: (0..rows.num_columns()).collect(),
        });
        let before = unseen.indexes.len();
        unseen.indexes.retain(|index| {
            let name = schema.field(*index).name();
            let found = valued_columns(name, rows.column(*index));
            let is_whole = found.iter().all(|(_, has_value)| *has_value);
            let valued = found.into_iter().filter(|(_, has_value)| *has_value);
            self.landed
                .extend(valued.map(|(name, _)| column(table, name)));
            !is_whole
        });
        // Rows without a value need a column too.
        let all_unseen = before == rows.num_columns() && unseen.indexes.len() == before;
        if all_unseen && rows.num_rows() > 0 && before > 0 {
            self.landed
                .insert(column(table, schema.field(0).name().clone()));
        }
        self.unseen.insert(table.to_owned(), unseen);
    }

    /// Records the columns of rows of which some are rejected; the accepted ones are recorded as landed.
    pub(in crate::engine) fn note_refused(&mut self, table: &str, rows: &RecordBatch) {
        for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            let found = valued_columns(field.name(), array).into_iter();
            let valued = found.filter(|(_, has_value)| *has_value);
            self.refused
                .extend(valued.map(|(name, _)| column(table, name)));
        }
    }

    /// Whether the main table's records have had this column.
    pub(in crate::engine) fn has_met(&self, name: &str) -> bool {
        let column = column("", name.to_owned());
        self.known.contains(&column) || self.landed.contains(&column)
    }

    /// Whether only rejected rows had a value in the column.
    fn is_of_refused(&self, table: &str, name: &str) -> bool {
        let column = column(table, name.to_owned());
        let is_of_refused = self.refused.contains(&column) && !self.landed.contains(&column);
        is_of_refused && !self.known.contains(&column) && !self.is_declared(&column)
    }

    fn is_declared(&self, column: &LearnedColumn) -> bool {
        let name = column.name.replace(INSIDE, "__");
        match column.table.as_str() {
            "" => self.declared.contains(&name),
            table => self.declared.contains(&format!("{table}__{name}")),
        }
    }

    /// The rows without the empty columns of rejected rows; `None` when there are no such columns.
    pub(in crate::engine) fn trim(
        &self,
        table: &str,
        rows: &RecordBatch,
    ) -> Result<Option<RecordBatch>> {
        if self.refused.is_empty() {
            return Ok(None);
        }
        let mut left = Vec::new();
        for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            left.extend(self.trim_column(table, field.name(), field, array)?);
        }
        let is_same = |(field, (kept, _)): (&FieldRef, &(FieldRef, ArrayRef))| {
            field.data_type() == kept.data_type()
        };
        let fields = rows.schema_ref().fields();
        let is_whole = left.len() == fields.len() && fields.iter().zip(&left).all(is_same);
        if left.is_empty() || is_whole {
            return Ok(None);
        }
        let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = left.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let trimmed =
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
        trimmed.map(Some).map_err(failed)
    }

    /// The remaining part of the column.
    fn trim_column(
        &self,
        table: &str,
        name: &str,
        field: &FieldRef,
        array: &ArrayRef,
    ) -> Result<Option<(FieldRef, ArrayRef)>> {
        match array.data_type() {
            DataType::Struct(_) => self.trim_object(table, name, field, array.as_struct()),
            DataType::List(element) => {
                let list = array.as_list::<i32>();
                let trimmed = self.trim_column(table, name, element, list.values())?;
                let Some((element, values)) = trimmed else {
                    return Ok(None);
                };
                let offsets = list.offsets().clone();
                let nulls = list.nulls().cloned();
                let list = ListArray::try_new(element, offsets, values, nulls).map_err(failed)?;
                Ok(Some(retyped(field, Arc::new(list))))
            }
            _ if !has_value(array) && self.is_of_refused(table, name) => Ok(None),
            _ => Ok(Some((field.clone(), array.clone()))),
        }
    }

    fn trim_object(
        &self,
        table: &str,
        name: &str,
        field: &FieldRef,
        object: &StructArray,
    ) -> Result<Option<(FieldRef, ArrayRef)>> {
        let mut left = Vec::new();
        for (inner, array) in object.fields().iter().zip(object.columns()) {
            let name = format!("{name}{INSIDE}{}", inner.name());
            left.extend(self.trim_column(table, &name, inner, array)?);
        }
        if left.is_empty() {
            return Ok(None);
        }
        let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = left.into_iter().unzip();
        let nulls = object.nulls().cloned();
        let object = StructArray::try_new(Fields::from(fields), arrays, nulls).map_err(failed)?;
        Ok(Some(retyped(field, Arc::new(object))))
    }

    /// The contract without the columns of rejected rows.
    pub(in crate::engine) fn prune(&self, contract: Contract) -> Result<Contract> {
        let is_any = self
            .refused
            .iter()
            .any(|column| self.is_of_refused(&column.table, &column.name));
        if !is_any {
            return Ok(contract);
        }
        learned::prune(contract, &|table, name| self.is_of_refused(table, name))
    }
}

fn column(table: &str, name: String) -> LearnedColumn {
    LearnedColumn {
        table: table.to_owned(),
        name,
    }
}

fn retyped(field: &FieldRef, array: ArrayRef) -> (FieldRef, ArrayRef) {
    let field = field.as_ref().clone();
    (
        Arc::new(field.with_data_type(array.data_type().clone())),
        array,
    )
}

/// The columns that a column of a batch holds, and whether each has a value.
fn valued_columns(name: &str, array: &ArrayRef) -> Vec<(String, bool)> {
    match array.data_type() {
        DataType::Struct(_) => {
            let object = array.as_struct();
            let inner = object.fields().iter().zip(object.columns());
            inner
                .flat_map(|(field, array)| {
                    valued_columns(&format!("{name}{INSIDE}{}", field.name()), array)
                })
                .collect()
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let from = list.value_offsets()[0];
            let to = list.value_offsets()[list.len()];
            let values = list.values().slice(from as usize, (to - from) as usize);
            valued_columns(name, &values)
        }
        _ => vec![(name.to_owned(), has_value(array))],
    }
}

fn has_value(array: &ArrayRef) -> bool {
    array.logical_null_count() < array.len()
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("trim_columns", "failed to take columns out of rows").with_source(error)
}
