//! Merges a column of whole numbers with later doubles, where the table's column may be widened to double.
//!
//! An extractor returns both, side by side (see [`forebay_formats::doubles`]), because it does not know the table. Here the
//! table is checked, once per column, when an accepted record has the first double; the widening itself is in
//! `lake::rewrite`. A column that may not be widened keeps the other beside it. Nothing is rounded: whole numbers without
//! an exact double get a column of their own.

mod merge;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use forebay_core::{Batch, RefName, Result};
use forebay_lake::Lake;

use crate::platform::iceberg::IcebergTarget;
use crate::spec::PipelineSpec;
use forebay_formats::contract::Contract;
use forebay_formats::doubles::{base_of, is_exact, longs_beside};
use forebay_formats::learned;
use forebay_formats::learned::{HeldLongs, INSIDE, LearnedColumn};

use self::merge::Merging;

/// Whole numbers up to this magnitude are exact as doubles.
const EXACT_MAX: i64 = 1 << 53;

/// The columns of whole numbers that have become columns of doubles.
#[derive(Debug)]
pub(in crate::engine) struct ColumnWidening {
    lake: Lake,
    branch: RefName,
    spec: Arc<PipelineSpec>,
    target: IcebergTarget,
    /// Whether the checked columns may be widened.
    decisions: HashMap<LearnedColumn, bool>,
    /// Columns that hold, or held before they were widened, whole numbers without an exact double.
    inexact: HashSet<LearnedColumn>,
    /// Columns of accepted rows that are doubles now.
    widened: BTreeMap<LearnedColumn, WidenedColumn>,
}

#[derive(Debug)]
struct WidenedColumn {
    /// The name of the column beside it for whole numbers without an exact double, and whether it exists.
    longs: String,
    has_longs: bool,
}

impl ColumnWidening {
    /// `None` for a pipeline that does not load into the lake.
    pub(in crate::engine) fn new(
        lake: &Lake,
        branch: &RefName,
        spec: &Arc<PipelineSpec>,
    ) -> Option<Self> {
        Some(Self {
            lake: lake.clone(),
            branch: branch.clone(),
            target: spec.load.lake()?.clone(),
            spec: Arc::clone(spec),
            decisions: HashMap::new(),
            inexact: HashSet::new(),
            widened: BTreeMap::new(),
        })
    }

    /// Records the columns of accepted rows, as extracted.
    pub(in crate::engine) fn note_landed(&mut self, batch: &Batch) {
        let table = batch.child.as_str();
        let mut noted = Vec::new();
        each_column(&batch.records, &mut |name, field, array| {
            noted.push((column(table, name), field.clone(), array.clone()));
        });
        for (column, field, array) in noted {
            if let Some(base) = base_of(&field) {
                self.note_doubles(&column, base, &field, &array);
            } else if !self.inexact.contains(&column) && has_inexact(&array) {
                self.note_inexact(column);
            }
        }
    }

    fn note_doubles(
        &mut self,
        variant: &LearnedColumn,
        base: &str,
        field: &Field,
        array: &ArrayRef,
    ) {
        let base = beside(variant, base);
        if has_value(array) && self.decisions.get(&base) == Some(&true) {
            let has_longs = self.inexact.contains(&base);
            let longs = longs_beside(field.name());
            let widened = WidenedColumn { longs, has_longs };
            self.widened.entry(base).or_insert(widened);
        }
    }

    fn note_inexact(&mut self, column: LearnedColumn) {
        if let Some(widened) = self.widened.get_mut(&column) {
            widened.has_longs = true;
        }
        self.inexact.insert(column);
    }

    /// The batch with whole numbers and doubles merged into one column where the table may hold both in one.
    pub(in crate::engine) async fn apply(&mut self, batch: Batch) -> Result<Batch> {
        if has_doubles_beside(batch.records.schema_ref().fields()) {
            self.ask(&batch).await?;
        }
        if self.decisions.values().all(|may| !may) {
            return Ok(batch);
        }
        let merging = Merging {
            table: &batch.child,
            decisions: &self.decisions,
            widened: &self.widened,
        };
        let records = merging.batch(&batch.records)?;
        Ok(match records {
            Some(records) => Batch { records, ..batch },
            None => batch,
        })
    }

    /// Checks the table for columns that have a double for the first time.
    async fn ask(&mut self, batch: &Batch) -> Result<()> {
        let mut new = Vec::new();
        let mut bases = HashMap::new();
        each_column(&batch.records, &mut |name, field, array| {
            let this = column(&batch.child, name);
            if let Some(base) = base_of(field) {
                let base = beside(&this, base);
                if has_value(array) && !self.decisions.contains_key(&base) {
                    new.push((base, this));
                }
            } else {
                bases.insert(this, array.clone());
            }
        });
        for (base, variant) in new {
            let is_exact = !self.inexact.contains(&base)
                && bases.get(&base).is_some_and(|array| !has_inexact(array));
            let may = is_exact && self.may_widen(&base, &variant, &batch.records).await?;
            self.decisions.insert(base, may);
        }
        Ok(())
    }

    async fn may_widen(
        &self,
        base: &LearnedColumn,
        variant: &LearnedColumn,
        records: &RecordBatch,
    ) -> Result<bool> {
        let is_main = base.table.is_empty();
        let top = base.name.split(INSIDE).next().unwrap_or_default();
        let mut steps = self.spec.transform.iter();
        if is_main && !steps.all(|step| step.transform.passes(top)) {
            return Ok(false);
        }
        let (name, _) = self.target.place(&base.table)?;
        let draft = self.lake.draft(&self.branch, &name).await?;
        let Some(schema) = draft.schema() else {
            return Ok(true);
        };
        // Values with a column of their own in the table stay there.
        if has_column(schema.fields(), &path(variant)) {
            return Ok(false);
        }
        let Some(wanted) = with_double(records.schema_ref().fields(), &path(base)) else {
            return Ok(false);
        };
        let wanted = Arc::new(Schema::new(vec![wanted]));
        let Some(obstacle) = draft.widening_obstacle(&wanted).await? else {
            return Ok(true);
        };
        let (shown, beside) = (base.shown(), variant.shown());
        tracing::warn!(
            table = %name,
            column = %shown,
            reason = %obstacle.reason,
            "column stays long, doubles go to {beside}; to have one column, `forebay rebuild` the table and adopt the result, or declare the column as double under `schema.columns` in a new table"
        );
        Ok(false)
    }

    /// The contract with widened columns as doubles.
    pub(in crate::engine) fn learned(&self, contract: Contract) -> Result<Contract> {
        if self.widened.is_empty() {
            return Ok(contract);
        }
        learned::widen(contract, &|table, name| {
            let widened = self.widened.get(&column(table, name.to_owned()))?;
            Some(match widened.has_longs {
                true => HeldLongs::Beside,
                false => HeldLongs::None,
            })
        })
    }
}

/// Warns, once per column, that doubles go to a column beside whole numbers: for targets other than lake tables.
pub(in crate::engine) fn warn_of_doubles(batch: &Batch, warned: &mut BTreeSet<String>) {
    if !has_doubles_beside(batch.records.schema_ref().fields()) {
        return;
    }
    each_column(&batch.records, &mut |name, field, array| {
        let Some(base) = base_of(field).filter(|_| has_value(array)) else {
            return;
        };
        let doubles = column(&batch.child, name);
        let column = beside(&doubles, base).shown();
        let doubles = doubles.shown();
        if warned.insert(doubles.clone()) {
            tracing::warn!(
                %column,
                "column has whole numbers and decimals, decimals go to {doubles}; to have one column, load into a table of the lake, or write `coalesce({column}, {doubles})` in a `sql` step"
            );
        }
    });
}

fn column(table: &str, name: String) -> LearnedColumn {
    LearnedColumn {
        table: table.to_owned(),
        name,
    }
}

/// The column called `name` beside `column`.
fn beside(column: &LearnedColumn, name: &str) -> LearnedColumn {
    let name = match column.name.rsplit_once(INSIDE) {
        Some((prefix, _)) => format!("{prefix}{INSIDE}{name}"),
        None => name.to_owned(),
    };
    LearnedColumn {
        table: column.table.clone(),
        name,
    }
}

fn path(column: &LearnedColumn) -> Vec<&str> {
    column.name.split(INSIDE).collect()
}

/// Calls `with` for every column, those in objects and in lists of objects too: the names of the enclosing ones, joined.
fn each_column(records: &RecordBatch, with: &mut dyn FnMut(String, &Field, &ArrayRef)) {
    for (field, array) in records.schema_ref().fields().iter().zip(records.columns()) {
        walk(field.name().clone(), field, array, with);
    }
}

fn walk(
    name: String,
    field: &Field,
    array: &ArrayRef,
    with: &mut dyn FnMut(String, &Field, &ArrayRef),
) {
    let inner = innermost(array);
    match inner.data_type() {
        DataType::Struct(_) => {
            let object = inner.as_struct();
            for (field, array) in object.fields().iter().zip(object.columns()) {
                walk(
                    format!("{name}{INSIDE}{}", field.name()),
                    field,
                    array,
                    with,
                );
            }
        }
        DataType::Int32 | DataType::Int64 | DataType::Float64 => with(name, field, array),
        _ => {}
    }
}

/// The elements of lists, at any depth; any other array as it is.
fn innermost(array: &ArrayRef) -> ArrayRef {
    let mut inner = array.clone();
    while let Some(list) = inner.as_list_opt::<i32>() {
        let from = list.value_offsets()[0];
        let to = list.value_offsets()[list.len()];
        inner = list.values().slice(from as usize, (to - from) as usize);
    }
    inner
}

/// Whether a column, at any depth, has the doubles of another.
fn has_doubles_beside(fields: &Fields) -> bool {
    fields.iter().any(|field| {
        let mut kind = field.data_type();
        while let DataType::List(element) = kind {
            kind = element.data_type();
        }
        let is_inside = || match kind {
            DataType::Struct(fields) => has_doubles_beside(fields),
            _ => false,
        };
        base_of(field).is_some() || is_inside()
    })
}

fn has_value(array: &ArrayRef) -> bool {
    let inner = innermost(array);
    inner.logical_null_count() < inner.len()
}

/// Whether a whole number has no exact double.
fn has_inexact(array: &ArrayRef) -> bool {
    let inner = innermost(array);
    let Some(numbers) = inner.as_primitive_opt::<Int64Type>() else {
        return false;
    };
    // Most columns are shown to be exact by these two.
    let bounds = [arrow::compute::min(numbers), arrow::compute::max(numbers)];
    let is_beyond = |bound: i64| !(-EXACT_MAX..=EXACT_MAX).contains(&bound);
    bounds.into_iter().flatten().any(is_beyond)
        && numbers.iter().flatten().any(|number| !is_exact(number))
}

/// The column at `path` alone, with doubles instead of whole numbers.
fn with_double(fields: &Fields, path: &[&str]) -> Option<Field> {
    let (name, rest) = path.split_first()?;
    let field = fields.iter().find(|field| field.name() == name)?;
    doubled(field, rest)
}

fn doubled(field: &Field, path: &[&str]) -> Option<Field> {
    let kind = match field.data_type() {
        DataType::List(element) => DataType::List(Arc::new(doubled(element, path)?)),
        DataType::Struct(fields) => DataType::Struct(vec![with_double(fields, path)?].into()),
        DataType::Int32 | DataType::Int64 if path.is_empty() => DataType::Float64,
        _ => return None,
    };
    Some(Field::new(field.name(), kind, true))
}

fn has_column(fields: &Fields, path: &[&str]) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return true;
    };
    let Some(field) = fields.iter().find(|field| field.name() == name) else {
        return false;
    };
    let mut kind = field.data_type();
    while let DataType::List(element) = kind {
        kind = element.data_type();
    }
    match kind {
        DataType::Struct(fields) => has_column(fields, rest),
        _ => rest.is_empty(),
    }
}
