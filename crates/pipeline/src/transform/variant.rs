//! Columns beside others, for values of another type (`price__v_double` beside `price`), and records whose value a step does not read.
//!
//! Where the table can merge both into one column, it does (see `engine::steps::widen`). Otherwise a step that uses `price` alone
//! would take a record with a value beside it for one without: it would be filtered out, or become another number. Such a
//! record is rejected.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields};
use forebay_core::{Result, VARIANT_SEPARATOR};

use super::{Refusal, Transform};
use forebay_formats::untyped::with_nulls;

/// The records that have a value beside a column that the step reads, in a column that it does not read.
pub(crate) fn overlooked(records: &RecordBatch, step: &dyn Transform) -> Vec<Refusal> {
    if !has_variant(records.schema_ref().fields()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut note = |base: &Field, variant: &Field, values: Vec<usize>| {
        if step.overlooks(base.name(), variant.name()) {
            found.extend(values.into_iter().map(|row| refusal(row, base, variant)));
        }
    };
    let all: Vec<usize> = (0..records.num_rows()).collect();
    walk(
        records.schema_ref().fields(),
        records.columns(),
        &all,
        &mut note,
    );
    found.sort_by_key(|refusal| refusal.row);
    found.dedup_by_key(|refusal| refusal.row);
    found
}

fn has_variant(fields: &Fields) -> bool {
    fields.iter().any(|field| match field.data_type() {
        DataType::Struct(inner) => has_variant(inner),
        _ => field.name().contains(VARIANT_SEPARATOR),
    })
}

/// Calls `with` for each pair of columns, also of objects, with the rows that have a value in the second one. `rows` are those whose
/// object is there.
fn walk(
    fields: &Fields,
    arrays: &[ArrayRef],
    rows: &[usize],
    with: &mut dyn FnMut(&Field, &Field, Vec<usize>),
) {
    for (variant, array) in fields.iter().zip(arrays) {
        if let DataType::Struct(inner) = variant.data_type() {
            let object = array.as_struct();
            let there: Vec<usize> = valid(array, rows).collect();
            walk(inner, object.columns(), &there, with);
        }
        let base = variant.name().rsplit_once(VARIANT_SEPARATOR);
        if let Some(base) = base.and_then(|(base, _)| find(fields, base)) {
            with(base, variant, valid(array, rows).collect());
        }
    }
}

fn find<'f>(fields: &'f Fields, name: &str) -> Option<&'f Field> {
    let found = fields.iter().find(|field| field.name() == name);
    found.map(AsRef::as_ref)
}

fn valid(array: &ArrayRef, rows: &[usize]) -> impl Iterator<Item = usize> {
    let nulls = array.logical_nulls();
    let is_valid = move |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
    rows.iter().copied().filter(is_valid)
}

fn refusal(row: usize, base: &Field, variant: &Field) -> Refusal {
    let (name, beside) = (base.name(), variant.name());
    let kind = beside
        .rsplit_once(VARIANT_SEPARATOR)
        .map_or("", |(_, kind)| kind);
    let reason = format!(
        "`{name}` has a {kind} here, which its type cannot hold, and the step reads `{name}` without `{beside}`: declare the type of `{name}` under `schema.columns`, or read both (`coalesce({name}, {beside})`)"
    );
    Refusal {
        row,
        code: "variant_not_read",
        reason,
    }
}

/// The rows with those columns for values of other types that the step names and that have had none yet: they are null.
pub(crate) fn with_named<'n>(
    records: RecordBatch,
    names: impl Iterator<Item = &'n String>,
) -> Result<RecordBatch> {
    let schema = records.schema();
    let has = |name: &str| find(schema.fields(), name).is_some();
    let named = names.filter_map(|name| {
        let (base, kind) = name.rsplit_once(VARIANT_SEPARATOR)?;
        let is_new = has(base) && !has(name);
        is_new.then(|| (name.clone(), typed(kind)))
    });
    with_nulls(records, named)
}

/// The type of values according to the suffix of a name.
fn typed(kind: &str) -> DataType {
    match kind {
        "double" => DataType::Float64,
        "long" => DataType::Int64,
        "string" => DataType::Utf8,
        "boolean" => DataType::Boolean,
        _ => DataType::Null,
    }
}
