//! Columns of which some files have whole numbers and others doubles: fits a file's column to the existing one.
//!
//! Doubles where the column has whole numbers go to a column beside it, marked as its doubles (see
//! [`crate::doubles`]), so that the table's column may be widened to doubles. Whole numbers where it has doubles
//! go into it, except those without an exact double. Both at every depth. Never decides about a table, and never rounds.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, StructArray, new_null_array,
};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type};
use forebay_core::VARIANT_SEPARATOR;

use super::types::{convert, wider, word};
use crate::doubles::{doubles_of, is_exact};
use crate::learned::{HeldLongs, INSIDE};

/// Field name of list elements.
const ELEMENT: &str = "element";

/// The fit of a column of a file.
#[derive(Debug, Clone)]
pub(super) enum NumberFit {
    /// It has the type of the table's column, or a narrower one.
    Same(DataType),
    /// Doubles, where the table has whole numbers of this type.
    DoublesBeside(DataType),
    /// Whole numbers, where the table has doubles.
    IntoDoubles,
    List(Box<Self>),
    Struct(Vec<(String, Self)>),
}

/// For a column widened to doubles, whether it has whole numbers without an exact double beside it.
pub(super) type HeldBeside<'a> = dyn Fn(&str) -> Option<HeldLongs> + 'a;

/// The columns that a column of a file makes: its own, and one beside it.
#[derive(Debug)]
pub(super) struct Made<T> {
    pub(super) own: T,
    pub(super) beside: Option<T>,
}

impl NumberFit {
    /// How `file` fits a column of type `known`; `None` when their kinds of numbers do not differ, or something else
    /// does not fit.
    pub(super) fn of(known: &DataType, file: &DataType) -> Option<Self> {
        let fit = Self::at(known, file)?;
        fit.has_other_numbers().then_some(fit)
    }

    fn at(known: &DataType, file: &DataType) -> Option<Self> {
        use DataType::{Float64, Int32, Int64, List, Struct};
        match (known, file) {
            (Int32 | Int64, Float64) => Some(Self::DoublesBeside(known.clone())),
            (Float64, Int32 | Int64) => Some(Self::IntoDoubles),
            (List(known), List(file)) => {
                let element = Self::at(known.data_type(), file.data_type())?;
                Some(Self::List(Box::new(element)))
            }
            (Struct(known), Struct(file)) => Self::members(known, file),
            _ => {
                let wide = wider(known, file)?;
                let kind = if file.is_nested() { file.clone() } else { wide };
                Some(Self::Same(kind))
            }
        }
    }

    fn members(known: &Fields, file: &Fields) -> Option<Self> {
        let members = file.iter().map(|member| {
            let name = member.name();
            let same = known.iter().find(|known| known.name() == name);
            let fit = match same {
                Some(known) => Self::at(known.data_type(), member.data_type())?,
                None => Self::Same(member.data_type().clone()),
            };
            Some((name.clone(), fit))
        });
        members.collect::<Option<Vec<_>>>().map(Self::Struct)
    }

    fn has_other_numbers(&self) -> bool {
        match self {
            Self::Same(_) => false,
            Self::DoublesBeside(_) | Self::IntoDoubles => true,
            Self::List(element) => element.has_other_numbers(),
            Self::Struct(members) => members.iter().any(|(_, fit)| fit.has_other_numbers()),
        }
    }

    /// The fields for a column called `name`, without those for whole numbers that have no exact double: whether there are
    /// any is not known before. The doubles beside whole numbers have the type of the file's column.
    pub(super) fn fields(&self, name: &str) -> Made<Field> {
        let alone = |kind| Made::alone(Field::new(name, kind, true));
        match self {
            Self::Same(kind) => alone(kind.clone()),
            Self::DoublesBeside(whole) => {
                let field = Field::new(variant(name, &DataType::Float64), DataType::Float64, true);
                Made {
                    own: doubles_of(field, name),
                    beside: Some(Field::new(name, whole.clone(), true)),
                }
            }
            Self::IntoDoubles => alone(DataType::Float64),
            Self::List(element) => {
                let numbers = element.fields(name);
                let listed = |field: Field| {
                    let element = Field::new(ELEMENT, field.data_type().clone(), true);
                    field.with_data_type(DataType::List(Arc::new(element)))
                };
                Made {
                    own: listed(numbers.own),
                    beside: numbers.beside.map(listed),
                }
            }
            Self::Struct(members) => {
                let fields = members.iter().flat_map(|(name, fit)| {
                    let made = fit.fields(name);
                    [Some(made.own), made.beside].into_iter().flatten()
                });
                alone(DataType::Struct(fields.collect()))
            }
        }
    }

    /// The columns for an array of the file whose column is called `name`.
    pub(super) fn columns(
        &self,
        name: &str,
        array: &ArrayRef,
    ) -> Result<Made<NumberColumn>, String> {
        let arrays = match self {
            Self::Same(kind) => Made::alone(convert(array, kind)?),
            Self::DoublesBeside(whole) => Made {
                own: array.clone(),
                beside: Some(new_null_array(whole, array.len())),
            },
            Self::IntoDoubles => into_doubles(array)?,
            Self::List(element) => {
                let list = array.as_list::<i32>();
                let made = element.columns(name, list.values())?;
                return Ok(Made {
                    own: made.own.listed(list)?,
                    beside: made.beside.map(|made| made.listed(list)).transpose()?,
                });
            }
            Self::Struct(members) => Made::alone(object(members, array)?),
        };
        let fields = self.fields(name);
        let longs = || Field::new(variant(name, &DataType::Int64), DataType::Int64, true);
        let beside = |array| NumberColumn::new(fields.beside.unwrap_or_else(longs), array);
        Ok(Made {
            own: NumberColumn::new(fields.own, arrays.own),
            beside: arrays.beside.map(beside),
        })
    }
}

impl<T> Made<T> {
    fn alone(own: T) -> Self {
        Self { own, beside: None }
    }
}

/// A column with its field.
#[derive(Debug)]
pub(super) struct NumberColumn {
    pub(super) field: Field,
    pub(super) array: ArrayRef,
}

impl NumberColumn {
    fn new(field: Field, array: ArrayRef) -> Self {
        let field = field.with_data_type(array.data_type().clone());
        Self { field, array }
    }

    pub(super) fn parts(self) -> (FieldRef, ArrayRef) {
        (Arc::new(self.field), self.array)
    }

    /// The same lists as `list`, of these elements.
    fn listed(self, list: &ListArray) -> Result<Self, String> {
        let element = Field::new(ELEMENT, self.array.data_type().clone(), true);
        let offsets = list.offsets().clone();
        let nulls = list.nulls().cloned();
        let made = ListArray::try_new(Arc::new(element), offsets, self.array, nulls);
        let made = made.map_err(|error| error.to_string())?;
        Ok(Self::new(self.field, Arc::new(made)))
    }
}

fn object(members: &[(String, NumberFit)], array: &ArrayRef) -> Result<ArrayRef, String> {
    let object = array.as_struct();
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for ((name, fit), column) in members.iter().zip(object.columns()) {
        let made = fit.columns(name, column)?;
        for made in [Some(made.own), made.beside].into_iter().flatten() {
            fields.push(made.field);
            arrays.push(made.array);
        }
    }
    let nulls = object.nulls().cloned();
    let made = StructArray::try_new_with_length(fields.into(), arrays, nulls, object.len());
    Ok(Arc::new(made.map_err(|error| error.to_string())?))
}

/// The columns beside `name` that may have values of a kind; decimals have one for each number of digits after the point,
/// if the first is taken by another.
pub(super) fn variants(name: &str, kind: &DataType) -> Vec<String> {
    let first = variant(name, kind);
    match kind {
        DataType::Decimal128(_, scale) => vec![first.clone(), format!("{first}_{scale}")],
        _ => vec![first],
    }
}

/// The name of the column beside `name` for values of another type.
pub(super) fn variant(name: &str, kind: &DataType) -> String {
    format!("{name}{VARIANT_SEPARATOR}{}", word(kind))
}

fn into_doubles(array: &ArrayRef) -> Result<Made<ArrayRef>, String> {
    let whole = convert(array, &DataType::Int64)?;
    let numbers = whole.as_primitive::<Int64Type>();
    let is_fit = |number: Option<i64>| Some(number.is_none_or(is_exact));
    let exact: BooleanArray = numbers.iter().map(is_fit).collect();
    let own = convert(&whole, &DataType::Float64)?;
    if exact.false_count() == 0 {
        return Ok(Made::alone(own));
    }
    let inexact = arrow::compute::not(&exact).map_err(|error| error.to_string())?;
    let without = |array, rows| nullif(array, rows).map_err(|error| error.to_string());
    Ok(Made {
        own: without(&own, &inexact)?,
        beside: Some(without(&whole, &exact)?),
    })
}

/// The columns of a table in which columns of whole numbers, by the names of those around them and their own joined with
/// [`INSIDE`], are doubles; `beside` returns for one whether it has whole numbers without an exact double.
pub(super) fn widen(fields: &[Field], prefix: &str, beside: &HeldBeside<'_>) -> Vec<Field> {
    let held = |name: &str| beside(&format!("{prefix}{name}"));
    let doubles: Vec<String> = fields
        .iter()
        .filter(|field| is_whole(field.data_type()) && held(field.name()).is_some())
        .map(|field| variant(field.name(), &DataType::Float64))
        .collect();
    let left = fields
        .iter()
        .filter(|field| !doubles.contains(field.name()));
    left.flat_map(|field| {
        let longs = held(field.name()).filter(|_| is_whole(field.data_type()));
        let name = format!("{prefix}{}", field.name());
        let own = match longs {
            Some(_) => retyped(field, &|_| DataType::Float64),
            None => retyped(field, &|kind| match kind {
                DataType::Struct(members) => {
                    let members: Vec<Field> = members.iter().map(|m| m.as_ref().clone()).collect();
                    DataType::Struct(widen(&members, &format!("{name}{INSIDE}"), beside).into())
                }
                kind => kind.clone(),
            }),
        };
        let inexact = (longs == Some(HeldLongs::Beside)).then(|| {
            let longs = retyped(field, &|_| DataType::Int64);
            longs.with_name(variant(field.name(), &DataType::Int64))
        });
        [Some(own), inexact].into_iter().flatten()
    })
    .collect()
}

/// Whether a column, or the elements of its lists, have whole numbers.
fn is_whole(kind: &DataType) -> bool {
    match kind {
        DataType::List(element) => is_whole(element.data_type()),
        kind => matches!(kind, DataType::Int32 | DataType::Int64),
    }
}

/// The field with another type, within its lists.
fn retyped(field: &Field, change: &dyn Fn(&DataType) -> DataType) -> Field {
    let kind = match field.data_type() {
        DataType::List(element) => DataType::List(Arc::new(retyped(element, change))),
        kind => change(kind),
    };
    field.clone().with_data_type(kind)
}
