//! Functions whose arguments come to one type: values beside each other, lists beside lists, and values beside the items of a list.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::{common, item_of};
use crate::function::retyped::retyped;

/// What an argument is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// One of the values that come to one type.
    Value,
    /// A list whose items are such values.
    List,
    /// A count or place.
    Other,
}

/// The roles of arguments by their place; `None` for functions whose arguments are of types of their own.
pub(crate) fn roles(name: &str) -> Option<fn(usize) -> Role> {
    Some(match name {
        "coalesce" | "nvl" | "ifnull" | "nullif" | "greatest" | "least" | "make_array" => {
            |_| Role::Value
        }
        "array_concat" | "array_union" | "array_intersect" | "array_except" | "array_has_all"
        | "array_has_any" => |_| Role::List,
        "array_append" | "array_has" | "array_position" | "array_positions" | "array_remove"
        | "array_remove_n" | "array_remove_all" => |at| match at {
            0 => Role::List,
            1 => Role::Value,
            _ => Role::Other,
        },
        "array_prepend" => |at| match at {
            0 => Role::Value,
            _ => Role::List,
        },
        "array_replace" | "array_replace_n" | "array_replace_all" => |at| match at {
            0 => Role::List,
            1 | 2 => Role::Value,
            _ => Role::Other,
        },
        "array_resize" => |at| match at {
            0 => Role::List,
            1 => Role::Other,
            _ => Role::Value,
        },
        _ => return None,
    })
}

/// A function of lists that takes items of other types, as far as they have a common one; others as they are.
pub(crate) fn with_items(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let has_list = |role: fn(usize) -> Role| (0..2).any(|at| role(at) == Role::List);
    match roles(function.name()).is_some_and(has_list) {
        true => retyped(function, own_types),
        false => function,
    }
}

fn own_types(name: &str, types: &[DataType]) -> Result<Option<Vec<DataType>>> {
    let Some(role) = roles(name) else {
        return Ok(None);
    };
    Ok(item_type(types, role).map(|item| {
        let cast = types.iter().enumerate().map(|(at, kind)| match role(at) {
            Role::Value => item.clone(),
            Role::List => DataType::new_list(item.clone(), true),
            Role::Other if kind.is_integer() => DataType::Int64,
            Role::Other => kind.clone(),
        });
        cast.collect()
    }))
}

/// The type of all items and values, where they have several that are no texts.
fn item_type(types: &[DataType], role: fn(usize) -> Role) -> Option<DataType> {
    let mut found: Option<DataType> = None;
    let mut is_mixed = false;
    for (at, kind) in types.iter().enumerate() {
        let kind = match (role(at), kind) {
            (Role::Value, kind) => kind,
            (Role::List, DataType::List(item)) => item.data_type(),
            (Role::List, _) => return None,
            (Role::Other, _) => continue,
        };
        if kind.is_string() || kind.is_null() {
            return None;
        }
        found = match found {
            None => Some(kind.clone()),
            Some(found) if found == *kind => Some(found),
            Some(found) => {
                is_mixed = true;
                Some(common(&found, kind)?)
            }
        };
    }
    // A list beside its items would be a list of lists.
    let has_depth = |kind: &DataType| item_of(kind).is_some();
    let values = types.iter().enumerate();
    let mut values = values.filter(|(at, _)| role(*at) == Role::Value);
    let is_flat = found.as_ref().is_some_and(|found| !has_depth(found));
    let fits = is_flat || values.all(|(_, kind)| has_depth(kind));
    found.filter(|_| is_mixed && fits)
}
