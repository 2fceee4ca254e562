//! `array_has_all` and `array_has_any`, the functions behind `@>`, `<@` and `&&`: null for a list that is null, and no null within a
//! list equals another, as in Postgres.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, ListArray};
use arrow::datatypes::{DataType, Field};
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::quantified::{common, item_of};
use crate::function::{ScalarDefinition, rows_of, wrong_arguments};

/// Items of a list that are looked through one by one; longer ones are hashed.
const SCANNED_ITEMS_MAX: usize = 16;

/// `array_has_all(list, part)`: whether each item of the part is in the list.
pub(crate) fn has_all() -> Arc<ScalarUDF> {
    let types = |types: &[DataType]| coerces("array_has_all", types);
    ScalarDefinition::new("array_has_all", boolean, types, |args| tested(args, true))
        .with_alias("list_has_all")
        .with_constants()
        .shared()
}

/// `array_has_any(list, other)`: whether both have an item in common.
pub(crate) fn has_any() -> Arc<ScalarUDF> {
    let types = |types: &[DataType]| coerces("array_has_any", types);
    ScalarDefinition::new("array_has_any", boolean, types, |args| tested(args, false))
        .with_alias("list_has_any")
        .with_alias("arrays_overlap")
        .with_constants()
        .shared()
}

fn boolean(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Boolean)
}

fn coerces(name: &str, types: &[DataType]) -> Result<Vec<DataType>> {
    let wrong = || wrong_arguments(name, "2 lists", types);
    let item = match types {
        [DataType::Null, DataType::Null] => DataType::Null,
        [DataType::Null, list] | [list, DataType::Null] => item_of(list).ok_or_else(wrong)?.clone(),
        [one, other] => {
            let one = item_of(one).ok_or_else(wrong)?;
            let other = item_of(other).ok_or_else(wrong)?;
            common(one, other).ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
    Ok(vec![list.clone(), list])
}

fn tested(args: &[ArrayRef], takes_all: bool) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let others = args[1].as_list::<i32>();
    let converter = RowConverter::new(vec![SortField::new(lists.value_type())])?;
    let keys = converter.convert_columns(&[Arc::clone(lists.values())])?;
    let wanted = converter.convert_columns(&[Arc::clone(others.values())])?;
    let mut known: Option<KeySet<'_>> = None;
    let mut made = BooleanBuilder::with_capacity(rows_of(args));
    for row in 0..rows_of(args) {
        let of_list = if lists.len() == 1 { 0 } else { row };
        let of_other = if others.len() == 1 { 0 } else { row };
        if lists.is_null(of_list) || others.is_null(of_other) {
            made.append_null();
            continue;
        }
        // That of a constant list serves all rows.
        let keys = match known.take() {
            Some(keys) if lists.len() == 1 => keys,
            _ => KeySet::new(&keys, lists, of_list),
        };
        let has = |item: usize| others.values().is_valid(item) && keys.has(wanted.row(item));
        let mut items = items(others, of_other);
        made.append_value(match takes_all {
            true => items.all(has),
            false => items.any(has),
        });
        known = Some(keys);
    }
    Ok(Arc::new(made.finish()))
}

fn items(lists: &ListArray, row: usize) -> Range<usize> {
    let offsets = lists.value_offsets();
    let place = |offset: i32| usize::try_from(offset).unwrap_or_default();
    place(offsets[row])..place(offsets[row + 1])
}

/// The items of one list that are not null.
enum KeySet<'a> {
    Few(Vec<Row<'a>>),
    Many(HashSet<Row<'a>>),
}

impl<'a> KeySet<'a> {
    fn new(keys: &'a Rows, lists: &ListArray, row: usize) -> Self {
        let items = items(lists, row);
        let count = items.len();
        let valid = items.filter(|item| lists.values().is_valid(*item));
        let found = valid.map(|item| keys.row(item));
        match count {
            0..=SCANNED_ITEMS_MAX => Self::Few(found.collect()),
            _ => Self::Many(found.collect()),
        }
    }

    fn has(&self, item: Row<'_>) -> bool {
        match self {
            Self::Few(keys) => keys.contains(&item),
            Self::Many(keys) => keys.contains(&item),
        }
    }
}
