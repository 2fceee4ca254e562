//! Merges two columns, whole numbers and the doubles beside them, into one column of doubles.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
    StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type, Schema};
use arrow::error::ArrowError;
use forebay_core::{Error, Result};

use super::{WidenedColumn, column, has_value};
use forebay_formats::doubles::{base_of, is_exact, longs_beside};
use forebay_formats::learned::{INSIDE, LearnedColumn};

pub(super) struct Merging<'a> {
    pub(super) table: &'a str,
    pub(super) decisions: &'a HashMap<LearnedColumn, bool>,
    pub(super) widened: &'a BTreeMap<LearnedColumn, WidenedColumn>,
}

type Columns = Vec<(FieldRef, ArrayRef)>;

impl Merging<'_> {
    /// `None` when there is nothing to merge.
    pub(super) fn batch(&self, records: &RecordBatch) -> Result<Option<RecordBatch>> {
        let fields = records.schema_ref().fields();
        let Some(merged) = self.members("", fields, records.columns())? else {
            return Ok(None);
        };
        let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = merged.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
        let metadata = records.schema_ref().metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .map(Some)
            .map_err(broken)
    }

    /// The columns of a table or an object whose own name, with its separator, is `prefix`.
    fn members(
        &self,
        prefix: &str,
        fields: &Fields,
        arrays: &[ArrayRef],
    ) -> Result<Option<Columns>> {
        let mut made = Columns::new();
        let mut is_other = false;
        for (field, array) in fields.iter().zip(arrays) {
            let name = format!("{prefix}{}", field.name());
            if let Some(base) = base_of(field)
                && fields.iter().any(|other| other.name() == base)
                && self.may_widen(&format!("{prefix}{base}"))
            {
                is_other = true;
                continue;
            }
            let beside = fields.iter().zip(arrays).find(|(other, _)| {
                base_of(other) == Some(field.name().as_str()) && self.may_widen(&name)
            });
            match self.column(&name, field, array, beside)? {
                Some(merged) => {
                    is_other = true;
                    made.extend(merged);
                }
                None => made.push((field.clone(), array.clone())),
            }
        }
        Ok(is_other.then_some(made))
    }

    fn may_widen(&self, name: &str) -> bool {
        self.decisions.get(&column(self.table, name.to_owned())) == Some(&true)
    }

    /// The merged form of a column that has doubles `beside` it, or of those inside of it; `None`: it stays.
    fn column(
        &self,
        name: &str,
        field: &FieldRef,
        array: &ArrayRef,
        beside: Option<(&FieldRef, &ArrayRef)>,
    ) -> Result<Option<Columns>> {
        let widened = self.widened.get(&column(self.table, name.to_owned()));
        let longs = match (widened, beside) {
            (Some(widened), _) => widened.longs.clone(),
            (None, Some((other, doubles))) if has_value(doubles) => longs_beside(other.name()),
            _ => return self.inside(name, field, array),
        };
        let merged = merge(array, beside.map(|(_, doubles)| doubles))?;
        let made = |field: Field, array: ArrayRef| {
            let field = field.with_data_type(array.data_type().clone());
            (Arc::new(field), array)
        };
        // With its metadata: when the column was learned.
        let base = field.as_ref().clone();
        let mut columns = vec![made(base.clone(), merged.doubles)];
        let beside = |array| made(base.with_name(longs), array);
        columns.extend(merged.longs.map(beside));
        Ok(Some(columns))
    }

    /// The columns inside of an object, or of the objects of a list.
    fn inside(&self, name: &str, field: &FieldRef, array: &ArrayRef) -> Result<Option<Columns>> {
        let inner = self.inner(name, array)?;
        Ok(inner.map(|array| {
            let field = field.as_ref().clone();
            let field = field.with_data_type(array.data_type().clone());
            vec![(Arc::new(field), array)]
        }))
    }

    fn inner(&self, name: &str, array: &ArrayRef) -> Result<Option<ArrayRef>> {
        Ok(match array.data_type() {
            DataType::Struct(fields) => {
                let object = array.as_struct();
                let prefix = format!("{name}{INSIDE}");
                let Some(merged) = self.members(&prefix, fields, object.columns())? else {
                    return Ok(None);
                };
                let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = merged.into_iter().unzip();
                let nulls = object.nulls().cloned();
                let object = StructArray::try_new(fields.into(), arrays, nulls);
                Some(Arc::new(object.map_err(broken)?))
            }
            DataType::List(element) => {
                let list = array.as_list::<i32>();
                let Some(values) = self.inner(name, list.values())? else {
                    return Ok(None);
                };
                Some(listed(list, element, values)?)
            }
            _ => None,
        })
    }
}

struct Merged {
    doubles: ArrayRef,
    /// Whole numbers without an exact double, if any.
    longs: Option<ArrayRef>,
}

fn merge(base: &ArrayRef, doubles: Option<&ArrayRef>) -> Result<Merged> {
    match base.data_type() {
        DataType::Int64 => merge_numbers(base, doubles),
        DataType::Int32 => merge(&cast(base, &DataType::Int64).map_err(broken)?, doubles),
        DataType::List(element) => {
            let list = base.as_list::<i32>();
            let beside = doubles.map(|doubles| doubles.as_list::<i32>());
            if beside.is_some_and(|beside| beside.offsets() != list.offsets()) {
                return Err(Error::bug(
                    "merge_lists",
                    "lists of one key differ in length",
                ));
            }
            let merged = merge(list.values(), beside.map(ListArray::values))?;
            let longs = merged.longs.map(|longs| listed(list, element, longs));
            Ok(Merged {
                doubles: listed(list, element, merged.doubles)?,
                longs: longs.transpose()?,
            })
        }
        // No doubles since: it was widened before.
        _ => Ok(Merged {
            doubles: base.clone(),
            longs: None,
        }),
    }
}

fn merge_numbers(base: &ArrayRef, doubles: Option<&ArrayRef>) -> Result<Merged> {
    let numbers = base.as_primitive::<Int64Type>();
    let doubles = doubles.map(|doubles| doubles.as_primitive_opt::<Float64Type>());
    let Some(doubles) = doubles.map_or(Some(None), |doubles| doubles.map(Some)) else {
        return Err(Error::bug("merge_numbers", "a column of doubles has none"));
    };
    let mut longs: Vec<Option<i64>> = Vec::new();
    let merged = numbers
        .iter()
        .enumerate()
        .map(|(row, number)| match number {
            Some(number) if is_exact(number) => Some(number as f64),
            Some(number) => {
                longs.resize(row, None);
                longs.push(Some(number));
                None
            }
            None => doubles
                .filter(|doubles| doubles.is_valid(row))
                .map(|doubles| doubles.value(row)),
        });
    let merged: Float64Array = merged.collect();
    let has_longs = !longs.is_empty();
    longs.resize(numbers.len(), None);
    let longs = has_longs.then(|| Arc::new(Int64Array::from(longs)) as ArrayRef);
    Ok(Merged {
        doubles: Arc::new(merged),
        longs,
    })
}

/// The same lists of other elements.
fn listed(list: &ListArray, element: &Field, values: ArrayRef) -> Result<ArrayRef> {
    let element = element.clone().with_data_type(values.data_type().clone());
    let offsets = list.offsets().clone();
    let nulls = list.nulls().cloned();
    let list = ListArray::try_new(Arc::new(element), offsets, values, nulls);
    Ok(Arc::new(list.map_err(broken)?))
}

fn broken(error: ArrowError) -> Error {
    Error::bug("merge_columns", "failed to make one column of two").with_source(error)
}
