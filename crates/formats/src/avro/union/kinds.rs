//! Groups the branches of a union into columns, and merges their values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UnionArray, new_null_array};
use arrow::compute::{interleave, is_not_null, kernels::zip::zip};
use arrow::datatypes::{DataType, Field};

use super::{Piece, Why, pieces};
use crate::parquet::plan::exactly;
use crate::parquet::types::{convert, normal, wider, word};

/// Branches of a union that are one column.
struct Group {
    kind: DataType,
    /// Whether other branches may join it: it is one kind, and neither a record with a name nor a part of a list.
    is_open: bool,
    suffix: String,
    branches: Vec<(i8, ArrayRef)>,
}

/// The kinds of a union, each a column of as many rows.
pub(super) fn kinds(array: &UnionArray) -> Result<Vec<Piece>, Why> {
    let groups = groups(array)?.into_iter();
    let gathered = groups.map(|group| {
        Ok(Piece {
            array: gather(array, &group)?,
            is_kind: group.is_open,
            suffix: group.suffix,
        })
    });
    gathered.collect()
}

fn groups(array: &UnionArray) -> Result<Vec<Group>, Why> {
    let DataType::Union(branches, _) = array.data_type() else {
        return Err(Why::new("unsupported_type", "not a union".to_owned()));
    };
    let is = |field: &Field, kind: DataType| field.data_type() == &kind;
    let has_long = branches.iter().any(|(_, field)| is(field, DataType::Int64));
    let mut groups = Vec::new();
    for (id, field) in branches
        .iter()
        .filter(|(_, field)| !is(field, DataType::Null))
    {
        let is_first = groups.is_empty();
        let record = record(branches.iter().map(|(_, field)| field.as_ref()), field);
        for piece in pieces(array.child(id))? {
            let kind = match kind(&piece.array)? {
                DataType::Int32 if has_long => DataType::Int64,
                kind => kind,
            };
            let group = Group {
                is_open: record.is_none() && piece.suffix.is_empty(),
                suffix: suffix(record.as_deref(), is_first, &kind, &piece.suffix),
                kind,
                branches: vec![(id, piece.array)],
            };
            join(&mut groups, group);
        }
    }
    Ok(groups)
}

fn kind(array: &ArrayRef) -> Result<DataType, Why> {
    normal(array.data_type()).ok_or_else(|| {
        let what = format!("a table cannot hold the type {}", array.data_type());
        Why::new("unsupported_type", what)
    })
}

/// The suffix after the plain name; `inner` is the suffix within the branch.
fn suffix(record: Option<&str>, is_first: bool, kind: &DataType, inner: &str) -> String {
    match record {
        Some(name) => format!("__v_{name}{inner}"),
        None if is_first => inner.to_owned(),
        None => format!("__v_{}{inner}", word(kind)),
    }
}

/// Adds a branch to the group that is of its kind, or as a new one.
fn join(groups: &mut Vec<Group>, new: Group) {
    let open = groups
        .iter_mut()
        .filter(|group| group.is_open && new.is_open);
    let mut same = open.filter_map(|group| Some((one_kind(&group.kind, &new.kind)?, group)));
    match same.next() {
        Some((wide, group)) => {
            group.kind = wide;
            group.branches.extend(new.branches);
        }
        None => groups.push(new),
    }
}

/// The name of a record, where there are several: as short as possible while unique.
fn record<'f>(branches: impl Iterator<Item = &'f Field>, branch: &Field) -> Option<String> {
    let is_record = |field: &Field| matches!(field.data_type(), DataType::Struct(_));
    let short = |field: &'_ Field| field.name().rsplit('.').next().map(str::to_owned);
    let others = branches.filter(|other| is_record(other) && other.name() != branch.name());
    let others: Vec<&Field> = others.collect();
    if others.is_empty() || !is_record(branch) {
        return None;
    }
    let is_told_apart = others.iter().all(|other| short(other) != short(branch));
    match is_told_apart {
        true => short(branch),
        false => Some(branch.name().replace('.', "_")),
    }
}

/// The kind that holds the values of both exactly; `None` for values that are of different kinds.
fn one_kind(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as D;
    match (a, b) {
        (D::Int32, D::Float32 | D::Float64) | (D::Float32 | D::Float64, D::Int32) => {
            Some(D::Float64)
        }
        (a, b) if a.is_nested() || b.is_nested() => None,
        (a, b) => wider(a, b),
    }
}

/// The values of some branches at their rows, null elsewhere.
fn gather(array: &UnionArray, group: &Group) -> Result<ArrayRef, Why> {
    let branches = match &group.branches[..] {
        [(_, only)] => vec![Arc::clone(only)],
        several => several
            .iter()
            .map(|(_, branch)| convert(branch, &group.kind))
            .collect::<Result<_, _>>()
            .map_err(|why| Why::new("value_does_not_fit", why))?,
    };
    let none = new_null_array(branches[0].data_type(), 1);
    let mut arrays: Vec<&dyn Array> = vec![none.as_ref()];
    arrays.extend(branches.iter().map(AsRef::as_ref));
    let place = |row: usize| {
        let id = array.type_id(row);
        match group.branches.iter().position(|(branch, _)| *branch == id) {
            Some(at) => (at + 1, array.value_offset(row)),
            None => (0, 0),
        }
    };
    let places: Vec<(usize, usize)> = (0..array.len()).map(place).collect();
    Ok(interleave(&arrays, &places)?)
}

/// Kinds of one union as one column of a declared type.
pub(super) fn together(kinds: &[Piece], declared: &DataType) -> Result<Piece, Why> {
    let mut all: Option<ArrayRef> = None;
    for kind in kinds {
        let next = exactly(&kind.array, declared);
        let next = next.map_err(|why| Why::new("value_does_not_fit", why))?;
        all = Some(match all {
            None => next,
            Some(before) => zip(&is_not_null(&next)?, &next, &before)?,
        });
    }
    let array = all.unwrap_or_else(|| new_null_array(declared, 0));
    Ok(Piece {
        suffix: String::new(),
        is_kind: false,
        array,
    })
}
