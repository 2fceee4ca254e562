//! Brings a nested column to the table's shape by field id at every depth.
//!
//! Arrow's own cast matches the children of a struct by name and falls back to their place, which swaps data after a rename
//! beside an added field. Here a child that the file lacks is null and every other is found by its id.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use super::columns::field_id;
use super::uuid;

/// Reshapes the value of `input` from a file's field to the table's.
#[derive(Debug, Clone, Eq)]
pub(super) struct Reshape {
    input: Arc<dyn PhysicalExpr>,
    from: Field,
    to: Field,
}

impl Reshape {
    pub(super) fn new(input: Arc<dyn PhysicalExpr>, from: Field, to: Field) -> Self {
        Self { input, from, to }
    }
}

impl PartialEq for Reshape {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input) && self.from == other.from && self.to == other.to
    }
}

impl Hash for Reshape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.to.hash(state);
    }
}

impl fmt::Display for Reshape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reshape({})", self.input)
    }
}

impl PhysicalExpr for Reshape {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.to.data_type().clone())
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(reshape(&array, &self.from, &self.to)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let input = children.pop().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self::new(
            input,
            self.from.clone(),
            self.to.clone(),
        )))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_sql(f)
    }
}

fn reshape(array: &ArrayRef, from: &Field, to: &Field) -> Result<ArrayRef> {
    if from.data_type() == to.data_type() {
        return Ok(array.clone());
    }
    if uuid::is_shown(from.data_type(), to.data_type()) {
        return uuid::shown(array, to.data_type());
    }
    match (from.data_type(), to.data_type()) {
        (DataType::Struct(from), DataType::Struct(to)) => {
            Ok(Arc::new(reshape_struct(array.as_struct(), from, to)?))
        }
        (DataType::List(from), DataType::List(to)) => {
            let list = array.as_list::<i32>();
            let values = reshape(list.values(), from, to)?;
            Ok(Arc::new(ListArray::try_new(
                to.clone(),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            )?))
        }
        // Lists as other engines write them: their elements have field ids too.
        (DataType::LargeList(element) | DataType::FixedSizeList(element, _), DataType::List(_)) => {
            let plain = from.clone().with_data_type(DataType::List(element.clone()));
            let list = cast_with_options(array, plain.data_type(), &CastOptions::default())?;
            reshape(&list, &plain, to)
        }
        (DataType::Map(from, _), DataType::Map(to, sorted)) => {
            reshape_map(array.as_map(), from, to, *sorted)
        }
        (_, to) => Ok(cast_with_options(
            array,
            to,
            &CastOptions {
                safe: false,
                ..CastOptions::default()
            },
        )?),
    }
}

fn reshape_struct(array: &StructArray, from: &Fields, to: &Fields) -> Result<StructArray> {
    let by_id = from.iter().any(|field| field_id(field).is_some());
    let child = |wanted: &FieldRef| {
        let same = |field: &FieldRef| {
            if by_id {
                field_id(field) == field_id(wanted)
            } else {
                field.name() == wanted.name()
            }
        };
        match from.iter().position(same) {
            Some(at) => reshape(array.column(at), &from[at], wanted),
            None => Ok(new_null_array(wanted.data_type(), array.len())),
        }
    };
    let children = to.iter().map(child).collect::<Result<Vec<_>>>()?;
    if children.is_empty() {
        return Ok(StructArray::new_empty_fields(
            array.len(),
            array.nulls().cloned(),
        ));
    }
    Ok(StructArray::try_new(
        to.clone(),
        children,
        array.nulls().cloned(),
    )?)
}

/// The two fields of a map's entries are key and value by place, whatever a writer calls them.
fn reshape_map(array: &MapArray, from: &Field, to: &FieldRef, sorted: bool) -> Result<ArrayRef> {
    let (DataType::Struct(from), DataType::Struct(fields)) = (from.data_type(), to.data_type())
    else {
        return Ok(cast_with_options(
            array,
            &DataType::Map(to.clone(), sorted),
            &CastOptions::default(),
        )?);
    };
    let entries = array.entries();
    let pairs = from.iter().zip(fields).zip(entries.columns());
    let columns = pairs
        .map(|((from, to), column)| reshape(column, from, to))
        .collect::<Result<Vec<_>>>()?;
    let entries = StructArray::try_new(fields.clone(), columns, entries.nulls().cloned())?;
    Ok(Arc::new(MapArray::try_new(
        to.clone(),
        array.offsets().clone(),
        entries,
        array.nulls().cloned(),
        sorted,
    )?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{Int32Array, Int64Array, LargeListArray, StringArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    fn field(name: &str, id: i32, kind: DataType) -> Field {
        Field::new(name, kind, true).with_metadata(HashMap::from([(
            "PARQUET:field_id".to_owned(),
            id.to_string(),
        )]))
    }

    /// pyarrow writes lists of this type when it is asked to; their elements are found by id as well.
    #[test]
    fn elements_of_large_lists_are_found_by_id() {
        let old = Fields::from(vec![
            field("k", 1, DataType::Int32),
            field("j", 2, DataType::Int32),
        ]);
        let new = Fields::from(vec![
            field("j", 1, DataType::Int32),
            field("k", 2, DataType::Int32),
        ]);
        let number = |n| -> ArrayRef { Arc::new(Int32Array::from(vec![n])) };
        let values = StructArray::new(old.clone(), vec![number(1), number(2)], None);
        let element =
            |fields: &Fields| Arc::new(field("element", 3, DataType::Struct(fields.clone())));
        let offsets = OffsetBuffer::<i64>::from_lengths([1]);
        let list = LargeListArray::new(element(&old), offsets, Arc::new(values), None);
        let got = reshape(
            &(Arc::new(list) as ArrayRef),
            &field("l", 4, DataType::LargeList(element(&old))),
            &field("l", 4, DataType::List(element(&new))),
        );
        let got = got.unwrap();
        let elements = got.as_list::<i32>().values().as_struct();
        let first = |name: &str| {
            let column = elements.column_by_name(name).unwrap();
            column.as_primitive::<Int32Type>().value(0)
        };
        assert_eq!((first("j"), first("k")), (1, 2));
    }

    /// The trap: `a` was renamed to `b` and a new `a` of the same type added, `n` widened, `c` dropped.
    #[test]
    fn children_are_found_by_id_not_by_name_or_place() {
        let old = Fields::from(vec![
            field("a", 1, DataType::Utf8),
            field("n", 2, DataType::Int32),
            field("c", 3, DataType::Utf8),
        ]);
        let new = Fields::from(vec![
            field("a", 9, DataType::Utf8),
            field("b", 1, DataType::Utf8),
            field("n", 2, DataType::Int64),
        ]);
        let array: ArrayRef = Arc::new(StructArray::new(
            old.clone(),
            vec![
                Arc::new(StringArray::from(vec!["x", "y"])),
                Arc::new(Int32Array::from(vec![1, 2])),
                Arc::new(StringArray::from(vec!["gone", "gone"])),
            ],
            None,
        ));
        let got = reshape(
            &array,
            &field("s", 7, DataType::Struct(old.clone())),
            &field("s", 7, DataType::Struct(new.clone())),
        )
        .unwrap();
        let got = got.as_struct();
        assert_eq!(got.column(0).null_count(), 2);
        assert_eq!(got.column(1).as_string::<i32>().value(1), "y");
        assert_eq!(
            got.column(2).as_primitive::<Int64Type>(),
            &Int64Array::from(vec![1, 2])
        );

        let list =
            |item: Fields| DataType::List(Arc::new(field("element", 8, DataType::Struct(item))));
        let offsets = OffsetBuffer::from_lengths([2, 0]);
        let item = Arc::new(field("element", 8, DataType::Struct(old.clone())));
        let array: ArrayRef = Arc::new(ListArray::new(item, offsets, array, None));
        let got = reshape(&array, &field("l", 6, list(old)), &field("l", 6, list(new))).unwrap();
        assert_eq!(
            got.as_list::<i32>()
                .value(0)
                .as_struct()
                .column(1)
                .as_string::<i32>()
                .value(0),
            "x"
        );
        assert_eq!(got.as_list::<i32>().value(1).len(), 0);
    }
}
