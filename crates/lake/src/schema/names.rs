//! Names of table columns that differ from the names in the data.
//!
//! Iceberg finds a column by its dotted path, and many engines ignore case. Data has `id` beside `ID`, and
//! a key `n.x` beside an object `n` with a member `x`. The column that comes first has the plain name; a later one whose path
//! would be the same, whatever the case, gets a number: `ID_2`. Its name in the data is kept as the column's comment, so it is
//! the same column in every later batch. Also limits the depth of types. Never inspects values.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema};
use forebay_core::data_type::{list_element, type_depth};
use forebay_core::{Error, Result};
use iceberg::spec::{NestedField, NestedFieldRef, Schema, Type};

use super::arrow::check_names;
use super::chosen::choose_names;

/// Deepest type of a column: structs, lists and maps within each other, the value itself included. A level takes at most three
/// levels of JSON in the table's metadata, and readers stop at 128.
pub const TYPE_DEPTH_MAX: usize = 32;

/// Key in the metadata of an Arrow field: the name in the data of a column that has another name in the table.
const SOURCE_NAME: &str = "forebay.source_name";

/// Begins the comment of such a column; the name follows.
const COMMENT: &str = "name in the data: ";

/// The name in the data of a table column: the name that it has in batches that are written.
pub fn source_name(field: &Field) -> &str {
    field
        .metadata()
        .get(SOURCE_NAME)
        .map_or(field.name(), String::as_str)
}

/// The schema with the names that its columns have in the data, at every depth: as [`crate::Draft::evolve`] finds them.
pub fn data_schema(schema: &ArrowSchema) -> ArrowSchema {
    let fields = schema.fields().iter().map(|field| data_field(field));
    ArrowSchema::new(fields.collect::<Vec<_>>())
}

fn data_field(field: &Field) -> Field {
    let kind = match field.data_type() {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| data_field(field)).collect())
        }
        DataType::List(element) => DataType::List(Arc::new(data_field(element))),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(data_field(entries)), *sorted),
        other => other.clone(),
    };
    Field::new(source_name(field), kind, field.is_nullable())
}

/// The metadata with the name of a column in the data.
pub(super) fn source_entry(field: &NestedField) -> Option<(String, String)> {
    let name = field.doc.as_deref()?.strip_prefix(COMMENT)?;
    Some((SOURCE_NAME.to_owned(), name.to_owned()))
}

/// The comment of a column that the data calls otherwise.
pub(super) fn comment(field: &Field) -> Option<String> {
    let name = field.metadata().get(SOURCE_NAME)?;
    Some(format!("{COMMENT}{name}"))
}

/// Whether the comment of a column is its name in the data.
pub(super) fn has_source_comment(field: &NestedField) -> bool {
    let doc = field.doc.as_deref();
    doc.is_some_and(|doc| doc.starts_with(COMMENT))
}

fn stored_source_name(field: &NestedField) -> &str {
    let doc = field.doc.as_deref();
    doc.and_then(|doc| doc.strip_prefix(COMMENT))
        .unwrap_or(&field.name)
}

/// The incoming columns under the names that they have, or get, in the table. New ones are named in the order in which they
/// were learned, whatever their level, so that names do not depend on how many come at once.
///
/// Errors: `Config` `duplicate_column` when two have one name, `type_too_deep` when a new one is deeper than
/// [`TYPE_DEPTH_MAX`].
pub(crate) fn assign(current: Option<&Schema>, incoming: &ArrowSchema) -> Result<ArrowSchema> {
    let current = current.map_or(&[][..], |schema| schema.as_struct().fields());
    let chosen = choose_names(current, incoming.fields());
    let place = Place {
        path: "",
        source: "",
        depth: 0,
    };
    let mut names = Names { chosen: &chosen };
    Ok(ArrowSchema::new(names.fields(
        current,
        incoming.fields(),
        &place,
    )?))
}

/// Location of fields: the path of the enclosing types in the table and in the data, and their number.
struct Place<'p> {
    path: &'p str,
    source: &'p str,
    depth: usize,
}

/// Gives the incoming columns their names.
struct Names<'c> {
    /// Names of new columns, by their path in the data.
    chosen: &'c HashMap<String, String>,
}

impl Names<'_> {
    fn fields(
        &mut self,
        current: &[NestedFieldRef],
        incoming: &Fields,
        place: &Place<'_>,
    ) -> Result<Fields> {
        check_names(incoming)?;
        let index = index_known(current);
        incoming
            .iter()
            .map(|field| match index.get(field.name().as_str()) {
                Some(known) => self.known(known, field, place),
                None => self.new_field(field, place),
            })
            .collect()
    }

    fn known(&mut self, known: &NestedField, field: &Field, place: &Place<'_>) -> Result<FieldRef> {
        let place = Place {
            path: &join(place.path, &known.name),
            source: &source_path(place.source, field.name()),
            depth: place.depth + 1,
        };
        let kind = self.kind(Some(&known.field_type), field.data_type(), &place)?;
        Ok(Arc::new(Field::new(&known.name, kind, field.is_nullable())))
    }

    fn new_field(&mut self, field: &Field, place: &Place<'_>) -> Result<FieldRef> {
        let depth = place.depth + type_depth(field.data_type());
        if depth > TYPE_DEPTH_MAX {
            return Err(too_deep(&join(place.path, field.name()), depth));
        }
        let source = source_path(place.source, field.name());
        let name = self.chosen.get(&source).unwrap_or(field.name());
        let inner = Place {
            path: &join(place.path, name),
            source: &source,
            depth: place.depth + 1,
        };
        let made = Field::new(name, DataType::Null, field.is_nullable());
        let kind = self.kind(None, field.data_type(), &inner)?;
        let made = made.with_data_type(kind);
        if made.name() == field.name() {
            return Ok(Arc::new(made));
        }
        let entry = (SOURCE_NAME.to_owned(), field.name().clone());
        Ok(Arc::new(made.with_metadata([entry].into())))
    }

    fn kind(
        &mut self,
        current: Option<&Type>,
        incoming: &DataType,
        place: &Place<'_>,
    ) -> Result<DataType> {
        Ok(match incoming {
            DataType::Struct(fields) => {
                let current = match current {
                    Some(Type::Struct(members)) => members.fields(),
                    _ => &[],
                };
                DataType::Struct(self.fields(current, fields, place)?)
            }
            DataType::Map(entries, sorted) => {
                DataType::Map(self.entries(current, entries, place)?, *sorted)
            }
            DataType::List(element) => DataType::List(self.element(current, element, place)?),
            DataType::LargeList(element) => {
                DataType::LargeList(self.element(current, element, place)?)
            }
            DataType::ListView(element) => {
                DataType::ListView(self.element(current, element, place)?)
            }
            DataType::LargeListView(element) => {
                DataType::LargeListView(self.element(current, element, place)?)
            }
            DataType::FixedSizeList(element, length) => {
                DataType::FixedSizeList(self.element(current, element, place)?, *length)
            }
            other => other.clone(),
        })
    }

    fn element(
        &mut self,
        current: Option<&Type>,
        element: &Field,
        place: &Place<'_>,
    ) -> Result<FieldRef> {
        let known = match current {
            Some(Type::List(list)) => Some(list.element_field.field_type.as_ref()),
            _ => None,
        };
        self.below(known, element, "element", place)
    }

    fn entries(
        &mut self,
        current: Option<&Type>,
        entries: &Field,
        place: &Place<'_>,
    ) -> Result<FieldRef> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Ok(Arc::new(entries.clone()));
        };
        let (key, value) = match current {
            Some(Type::Map(map)) => (
                Some(map.key_field.field_type.as_ref()),
                Some(map.value_field.field_type.as_ref()),
            ),
            _ => (None, None),
        };
        let pair = fields
            .iter()
            .zip([(key, "key"), (value, "value")])
            .map(|(field, (known, name))| self.below(known, field, name, place));
        let pair: Fields = pair.collect::<Result<_>>()?;
        Ok(Arc::new(Field::new(
            entries.name(),
            DataType::Struct(pair),
            entries.is_nullable(),
        )))
    }

    /// An element, a key or a value: the format gives it its name.
    fn below(
        &mut self,
        current: Option<&Type>,
        field: &Field,
        name: &str,
        place: &Place<'_>,
    ) -> Result<FieldRef> {
        let place = Place {
            path: &join(place.path, name),
            source: &source_path(place.source, name),
            depth: place.depth + 1,
        };
        let kind = self.kind(current, field.data_type(), &place)?;
        Ok(Arc::new(Field::new(
            field.name(),
            kind,
            field.is_nullable(),
        )))
    }
}

/// Paths below a column of this type that the format names: `.element`, `.key`, `.value`.
pub(super) fn unnamed(kind: &DataType) -> Vec<String> {
    let under = |name: &str, kind: &DataType| {
        let own = std::iter::once(format!(".{name}"));
        let deeper = unnamed(kind)
            .into_iter()
            .map(move |below| format!(".{name}{below}"));
        own.chain(deeper).collect::<Vec<_>>()
    };
    match kind {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => pair
                .iter()
                .zip(["key", "value"])
                .flat_map(|(field, name)| under(name, field.data_type()))
                .collect(),
            _ => Vec::new(),
        },
        kind => list_element(kind)
            .map(|element| under("element", element.data_type()))
            .unwrap_or_default(),
    }
}

/// The path in the data; names have no line feed.
pub(super) fn source_path(path: &str, name: &str) -> String {
    format!("{path}\n{name}")
}

/// The fields of a type by their names in the data; a table may have thousands.
pub(super) fn index_known(current: &[NestedFieldRef]) -> HashMap<&str, &NestedFieldRef> {
    let mut known = HashMap::with_capacity(current.len());
    for field in current {
        known.entry(stored_source_name(field)).or_insert(field);
    }
    known
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn too_deep(path: &str, depth: usize) -> Error {
    let what = format!(
        "column {path} is nested {depth} levels deep, a table holds at most {TYPE_DEPTH_MAX}"
    );
    Error::config("type_too_deep", what).with_hint(
        "keep the value as text: declare the column as `type: json` under `schema.columns`",
    )
}
