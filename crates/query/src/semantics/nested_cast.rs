//! Casts of lists, structs and maps whose leaves round as scalars do.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::datatypes::{DataType, FieldRef, Fields};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::cast::{is_rounded, leaf};
use crate::function::nested::{compacted, item_of, peer_field};
use crate::function::over_arrays;

/// A function that casts to this type.
pub(super) fn nested_cast(to: &DataType, is_try: bool) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(NestedCast {
        signature: Signature::any(1, Volatility::Immutable),
        to: to.clone(),
        is_try,
    }))
}

/// Whether a leaf of the one is rounded on its way to the other.
pub(super) fn has_rounded_leaf(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Struct(from), DataType::Struct(to)) => {
            let mut fields = to.iter().enumerate();
            fields.any(|(at, field)| {
                let source = peer_field(to, at, from);
                source.is_some_and(|source| has_rounded_leaf(source.data_type(), field.data_type()))
            })
        }
        (DataType::Map(from, _), DataType::Map(to, _)) => {
            has_rounded_leaf(from.data_type(), to.data_type())
        }
        _ => match (item_of(from), item_of(to)) {
            (Some(from), Some(to)) => has_rounded_leaf(from, to),
            (None, None) => is_rounded(from, to),
            _ => false,
        },
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NestedCast {
    signature: Signature,
    to: DataType,
    is_try: bool,
}

impl ScalarUDFImpl for NestedCast {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "nested_cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args.args, args.number_rows, |arrays| {
            // What lies under a null is no value, and need not be one of the other type.
            self.cast(&compacted(&arrays[0])?, &self.to)
        })
    }
}

impl NestedCast {
    fn cast(&self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        match (array.data_type(), to) {
            (DataType::Struct(_), DataType::Struct(fields)) => self.structs(array, fields),
            (DataType::Map(..), DataType::Map(entry, is_sorted)) => {
                self.maps(array, entry, *is_sorted)
            }
            (from, to) => match (item_of(from), item_of(to)) {
                (Some(from), Some(item)) => self.lists(array, from, item, to),
                _ => leaf(array, to, self.is_try),
            },
        }
    }

    fn lists(
        &self,
        array: &ArrayRef,
        from: &DataType,
        item: &DataType,
        to: &DataType,
    ) -> Result<ArrayRef> {
        let plain = DataType::new_list(from.clone(), true);
        let array = arrow::compute::cast(array, &plain)?;
        let lists = array.as_list::<i32>();
        let values = self.cast(lists.values(), item)?;
        let field = match DataType::new_list(item.clone(), true) {
            DataType::List(field) => field,
            other => return plan_err!("{other} is not a list"),
        };
        let made = ListArray::try_new(
            field,
            lists.offsets().clone(),
            values,
            lists.nulls().cloned(),
        )?;
        Ok(arrow::compute::cast(&made, to)?)
    }

    fn structs(&self, array: &ArrayRef, fields: &Fields) -> Result<ArrayRef> {
        let structs = array.as_struct();
        let columns = fields.iter().enumerate().map(|(at, field)| {
            let Some(source) = peer_field(fields, at, structs.fields()) else {
                return plan_err!("structs of different fields have no cast");
            };
            let column = structs.column_by_name(source.name());
            let column = column.unwrap_or_else(|| structs.column(at));
            self.cast(column, field.data_type())
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let made = StructArray::try_new(fields.clone(), columns, structs.nulls().cloned())?;
        Ok(Arc::new(made))
    }

    fn maps(&self, array: &ArrayRef, entry: &FieldRef, is_sorted: bool) -> Result<ArrayRef> {
        let maps = array.as_map();
        let entries: ArrayRef = Arc::new(maps.entries().clone());
        let made = MapArray::try_new(
            Arc::clone(entry),
            maps.offsets().clone(),
            self.cast(&entries, entry.data_type())?.as_struct().clone(),
            maps.nulls().cloned(),
            is_sorted,
        )?;
        Ok(Arc::new(made))
    }
}
