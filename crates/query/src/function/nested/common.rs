//! The type that lists, structs and maps have in common: found leaf by leaf, by the rule for scalars, at any depth.
//!
//! The engine has rules of its own for leaves: it takes doubles beside decimals to a decimal that cuts, dates beside timestamps to
//! nanoseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::logical_expr::binary::comparison_coercion;

use super::item_of;

/// The common type of leaves where it is not the engine's.
pub(crate) type LeafRule<'a> = &'a dyn Fn(&[DataType]) -> Option<DataType>;

/// The common type of several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CommonType {
    pub(crate) kind: DataType,
    /// Whether the rule for leaves has decided a part of it.
    pub(crate) is_own: bool,
}

/// The common type; `None` where there is none.
pub(crate) fn common_type(kinds: &[DataType], leaf: LeafRule<'_>) -> Option<CommonType> {
    let known = kinds.iter().filter(|kind| !kind.is_null());
    let known: Vec<DataType> = known.cloned().collect();
    let first = known.first()?;
    if known.iter().all(|kind| kind == first) {
        let kind = first.clone();
        return Some(CommonType {
            kind,
            is_own: false,
        });
    }
    match first {
        _ if !known.iter().any(DataType::is_nested) => of_leaves(&known, leaf),
        DataType::Struct(_) => of_structs(&known, leaf),
        DataType::Map(..) => of_maps(&known, leaf),
        _ => of_lists(&known, leaf),
    }
}

fn of_leaves(kinds: &[DataType], leaf: LeafRule<'_>) -> Option<CommonType> {
    if let Some(kind) = leaf(kinds) {
        return Some(CommonType { kind, is_own: true });
    }
    let mut kinds = kinds.iter();
    let first = kinds.next()?.clone();
    let kind = kinds.try_fold(first, |found, kind| comparison_coercion(&found, kind))?;
    Some(CommonType {
        kind,
        is_own: false,
    })
}

fn of_lists(kinds: &[DataType], leaf: LeafRule<'_>) -> Option<CommonType> {
    let items = kinds.iter().map(|kind| item_of(kind).cloned());
    let item = common_type(&items.collect::<Option<Vec<_>>>()?, leaf)?;
    let field = Arc::new(Field::new_list_field(item.kind, true));
    let is_large = |kind: &DataType| matches!(kind, DataType::LargeList(_));
    Some(CommonType {
        kind: match kinds.iter().any(is_large) {
            true => DataType::LargeList(field),
            false => DataType::List(field),
        },
        is_own: item.is_own,
    })
}

fn of_structs(kinds: &[DataType], leaf: LeafRule<'_>) -> Option<CommonType> {
    let all = kinds.iter().map(|kind| match kind {
        DataType::Struct(fields) => Some(fields),
        _ => None,
    });
    let all = all.collect::<Option<Vec<&Fields>>>()?;
    let (first, others) = all.split_first()?;
    let mut is_own = false;
    let mut made = Vec::with_capacity(first.len());
    for (at, field) in first.iter().enumerate() {
        let peers = others.iter().map(|other| peer_field(first, at, other));
        let peers = peers.collect::<Option<Vec<&FieldRef>>>()?;
        let all = std::iter::once(field).chain(peers.iter().copied());
        let kinds: Vec<DataType> = all.map(|field| field.data_type().clone()).collect();
        let kind = match kinds.iter().all(DataType::is_null) {
            true => DataType::Null,
            false => {
                let common = common_type(&kinds, leaf)?;
                is_own |= common.is_own;
                common.kind
            }
        };
        let is_nullable = field.is_nullable() || peers.iter().any(|field| field.is_nullable());
        made.push(Field::new(field.name(), kind, is_nullable));
    }
    Some(CommonType {
        kind: DataType::Struct(made.into()),
        is_own,
    })
}

/// The field that belongs to one of another struct: the one of its name where both have the same names, else that of its place.
pub(crate) fn peer_field<'a>(
    fields: &Fields,
    at: usize,
    others: &'a Fields,
) -> Option<&'a FieldRef> {
    if fields.len() != others.len() {
        return None;
    }
    let has_names = fields
        .iter()
        .all(|field| others.find(field.name()).is_some());
    match has_names {
        true => others.find(fields[at].name()).map(|(_, field)| field),
        false => others.get(at),
    }
}

fn of_maps(kinds: &[DataType], leaf: LeafRule<'_>) -> Option<CommonType> {
    let entries = kinds.iter().map(|kind| match kind {
        DataType::Map(entry, _) => Some(entry.data_type().clone()),
        _ => None,
    });
    let entries = common_type(&entries.collect::<Option<Vec<_>>>()?, leaf)?;
    let DataType::Map(entry, is_sorted) = &kinds[0] else {
        return None;
    };
    let entry = entry.as_ref().clone().with_data_type(entries.kind);
    // The engine knows no common type of two maps.
    Some(CommonType {
        kind: DataType::Map(Arc::new(entry), *is_sorted),
        is_own: true,
    })
}
