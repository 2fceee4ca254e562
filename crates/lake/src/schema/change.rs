//! Columns that are renamed or dropped, by their field ids: files stay as they are.
//!
//! A field keeps its id under another name, and the id of a dropped one is never used again, so a column that comes later under the same
//! name never reads its values. Earlier states of the table keep the schema that they had.

use std::collections::BTreeSet;

use forebay_core::{Error, Result};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, Schema, StructType, TableMetadata, Type,
};

use super::reserved::check_name;
use crate::error::from_iceberg;

/// Code of the error for a column that is not there.
pub const NO_SUCH_COLUMN: &str = "no_such_column";

/// Most bytes of a name, as for the columns of data.
const NAME_BYTES_MAX: usize = 255;
/// A table with this property has files without field ids, whose columns are found by name.
const NAME_MAPPING_PROPERTY: &str = "schema.name-mapping.default";

/// What happens to one column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ColumnChange<'a> {
    Rename(&'a str),
    Drop,
}

/// The current schema of a table with one column changed. `path` are the names of the column and of the structs around it, outermost first; a
/// list of structs is one of them.
///
/// Errors: `Config` `no_such_column`, `column_in_use` for one that partitions, sorts or identifies the rows, `bad_new_name`,
/// `reserved_column_name`, `duplicate_column`, `last_column`; `Unsupported` `names_only`.
pub(crate) fn changed(
    metadata: &TableMetadata,
    path: &[String],
    change: ColumnChange<'_>,
) -> Result<Schema> {
    if metadata.properties().contains_key(NAME_MAPPING_PROPERTY) {
        let what = "files of the table may have no field ids, their columns are found by name";
        return Err(Error::unsupported("names_only", what).with_hint(
            "write the table again with CREATE TABLE t AS SELECT …, which has field ids in all files",
        ));
    }
    let current = metadata.current_schema();
    let fields = current.as_struct().fields();
    let target = find(fields, path)?;
    check_free(metadata, target, path)?;
    if let ColumnChange::Rename(to) = change {
        check_new_column(to)?;
        if path.len() == 1 {
            check_name(to)?;
        }
    }
    let fields = within(fields, path, change)?;
    let built = Schema::builder()
        .with_schema_id(current.schema_id())
        .with_fields(fields)
        .with_identifier_field_ids(current.identifier_field_ids().collect::<Vec<_>>())
        .build();
    built.map_err(|e| from_iceberg("change a column of the table", e))
}

fn find<'f>(fields: &'f [NestedFieldRef], path: &[String]) -> Result<&'f NestedFieldRef> {
    let missing = || {
        let what = format!("the table has no column {}", path.join("."));
        Error::config(NO_SUCH_COLUMN, what)
            .with_hint("`forebay tables describe` lists the columns of a table")
    };
    let (name, rest) = path.split_first().ok_or_else(missing)?;
    let field = fields.iter().find(|field| field.name == *name);
    let field = field.ok_or_else(missing)?;
    match rest {
        [] => Ok(field),
        rest => find(members(&field.field_type).ok_or_else(missing)?, rest).map_err(|_| missing()),
    }
}

/// The fields of a struct, or of the structs in a list.
fn members(kind: &Type) -> Option<&[NestedFieldRef]> {
    match kind {
        Type::Struct(fields) => Some(fields.fields()),
        Type::List(list) => members(&list.element_field.field_type),
        _ => None,
    }
}

/// The fields with the one at `path` changed, which is there.
fn within(
    fields: &[NestedFieldRef],
    path: &[String],
    change: ColumnChange<'_>,
) -> Result<Vec<NestedFieldRef>> {
    let Some((name, rest)) = path.split_first() else {
        return Ok(fields.to_vec());
    };
    let mut made = Vec::with_capacity(fields.len());
    for field in fields {
        if field.name != *name {
            made.push(field.clone());
            continue;
        }
        if !rest.is_empty() {
            let kind = inside(&field.field_type, rest, change)?;
            made.push(with_type(field, kind));
            continue;
        }
        match change {
            ColumnChange::Drop if fields.len() == 1 => return Err(last_column(name)),
            ColumnChange::Drop => {}
            ColumnChange::Rename(to) => {
                check_unique(fields, field, to)?;
                made.push(renamed(field, to));
            }
        }
    }
    Ok(made)
}

fn inside(kind: &Type, path: &[String], change: ColumnChange<'_>) -> Result<Type> {
    Ok(match kind {
        Type::Struct(fields) => {
            Type::Struct(StructType::new(within(fields.fields(), path, change)?))
        }
        Type::List(list) => {
            let element = inside(&list.element_field.field_type, path, change)?;
            Type::List(ListType::new(with_type(&list.element_field, element)))
        }
        Type::Map(map) => Type::Map(MapType::new(map.key_field.clone(), map.value_field.clone())),
        Type::Primitive(kind) => Type::Primitive(kind.clone()),
    })
}

fn with_type(field: &NestedFieldRef, kind: Type) -> NestedFieldRef {
    let field = NestedField {
        field_type: Box::new(kind),
        ..NestedField::clone(field)
    };
    field.into()
}

/// The field under a new name, which is its name in the data from here on.
fn renamed(field: &NestedFieldRef, to: &str) -> NestedFieldRef {
    let doc = match super::names::has_source_comment(field) {
        true => None,
        false => field.doc.clone(),
    };
    let field = NestedField {
        name: to.to_owned(),
        doc,
        ..NestedField::clone(field)
    };
    field.into()
}

/// Errors: `Config` `column_in_use` for a column that the rows are laid out by.
fn check_free(metadata: &TableMetadata, field: &NestedFieldRef, path: &[String]) -> Result<()> {
    let mut ids = BTreeSet::new();
    add_ids(field, &mut ids);
    let specs = metadata.partition_specs_iter();
    let partitions = specs.flat_map(|spec| spec.fields().iter().map(|field| field.source_id));
    let orders = metadata.sort_orders_iter();
    let orders = orders.flat_map(|order| order.fields.iter().map(|field| field.source_id));
    let keys = metadata.current_schema().identifier_field_ids();
    let use_of = |mut used: Box<dyn Iterator<Item = i32> + '_>| used.any(|id| ids.contains(&id));
    let what = if use_of(Box::new(partitions)) {
        "partitions the table, or has done so"
    } else if use_of(Box::new(orders)) {
        "sorts the files of the table"
    } else if use_of(Box::new(keys)) {
        "identifies the rows of the table"
    } else {
        return Ok(());
    };
    let what = format!("column {} {what}", path.join("."));
    Err(Error::config("column_in_use", what)
        .with_hint("write the rows into another table: CREATE TABLE t AS SELECT …"))
}

fn add_ids(field: &NestedField, ids: &mut BTreeSet<i32>) {
    ids.insert(field.id);
    match field.field_type.as_ref() {
        Type::Struct(fields) => fields.fields().iter().for_each(|field| add_ids(field, ids)),
        Type::List(list) => add_ids(&list.element_field, ids),
        Type::Map(map) => {
            add_ids(&map.key_field, ids);
            add_ids(&map.value_field, ids);
        }
        Type::Primitive(_) => {}
    }
}

/// The rule for every name that a statement gives a column, at any depth.
///
/// Errors: `Config` `bad_new_name`.
pub fn check_new_column(name: &str) -> Result<()> {
    let fault = match name.len() {
        0 => "is empty",
        1..=NAME_BYTES_MAX if name.chars().any(char::is_control) => "has a control character",
        // It would be the path of a field within.
        1..=NAME_BYTES_MAX if name.contains('.') => "has a dot",
        1..=NAME_BYTES_MAX => return Ok(()),
        _ => "has more than 255 bytes",
    };
    let what = format!("the new name of a column {fault}: {name:?}");
    Err(Error::config("bad_new_name", what).with_hint("choose another name"))
}

/// Many engines ignore case.
fn check_unique(fields: &[NestedFieldRef], field: &NestedFieldRef, to: &str) -> Result<()> {
    let lower = to.to_lowercase();
    let mut others = fields.iter().filter(|other| other.id != field.id);
    match others.find(|other| other.name.to_lowercase() == lower) {
        None => Ok(()),
        Some(other) => {
            let what = format!("the table has a column {} already", other.name);
            Err(Error::config("duplicate_column", what)
                .with_hint("choose a name that differs in more than case"))
        }
    }
}

fn last_column(name: &str) -> Error {
    let what = format!("column {name} is the only one at its place");
    Error::config("last_column", what)
        .with_hint("add another one before, or drop the table, or the struct around it")
}
