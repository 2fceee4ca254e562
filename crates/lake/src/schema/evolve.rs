//! Growing a table's schema so that incoming rows fit.

use std::collections::HashSet;

use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
use forebay_core::data_type::list_element;
use forebay_core::{Error, Result};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};

use crate::error::from_iceberg;

use super::arrow::{Ids, check_names, index_names, map_fields, primitive};
use super::names::source_name;

/// The most digits of a decimal in Iceberg.
const PRECISION_MAX: u32 = 38;

/// The schema that holds old and incoming rows, and the changes, for people; without changes it is `current`.
///
/// `last_column_id` is the highest field id that the table ever used.
///
/// Errors: `Config` `incompatible_type`, `unsupported_type`, `duplicate_column`.
pub(crate) fn evolve(
    current: &Schema,
    last_column_id: i32,
    incoming: &ArrowSchema,
) -> Result<(Schema, Vec<String>)> {
    let mut growth = Growth {
        ids: Ids::after(last_column_id),
        changes: Vec::new(),
    };
    let fields = growth.fields("", current.as_struct().fields(), incoming.fields())?;
    let builder = Schema::builder()
        .with_schema_id(current.schema_id())
        .with_fields(fields);
    let keys: HashSet<i32> = current.identifier_field_ids().collect();
    let grown = builder.with_identifier_field_ids(keys).build();
    Ok((
        grown.map_err(|e| from_iceberg("grow the table's schema", e))?,
        growth.changes,
    ))
}

struct Growth {
    ids: Ids,
    changes: Vec<String>,
}

impl Growth {
    /// `prefix` names the struct that holds the fields, with its dot: `items[].`.
    fn fields(
        &mut self,
        prefix: &str,
        current: &[NestedFieldRef],
        incoming: &Fields,
    ) -> Result<Vec<NestedFieldRef>> {
        check_names(incoming)?;
        let mut fields = Vec::with_capacity(incoming.len());
        let names = index_names(incoming);
        for field in current {
            let path = format!("{prefix}{}", field.name);
            let found = names.get(field.name.as_str()).copied();
            fields.push(self.merged(&path, field, found.map(AsRef::as_ref))?);
        }
        let known: HashSet<&str> = current.iter().map(|field| field.name.as_str()).collect();
        for new in incoming
            .iter()
            .filter(|new| !known.contains(new.name().as_str()))
        {
            let field = self.ids.field(new, false)?;
            let called = match source_name(new) {
                same if same == new.name() => String::new(),
                other => format!(" (`{}` in the data)", printable(other)),
            };
            self.changes.push(format!(
                "added column {}: {}{called}",
                printable(&format!("{prefix}{}", field.name)),
                named(&field.field_type)
            ));
            fields.push(field);
        }
        Ok(fields)
    }

    fn merged(
        &mut self,
        path: &str,
        field: &NestedFieldRef,
        incoming: Option<&Field>,
    ) -> Result<NestedFieldRef> {
        let kind = match incoming {
            Some(incoming) => self.kind(path, &field.field_type, incoming.data_type())?,
            None => Type::clone(&field.field_type),
        };
        // A map's key is always required.
        let nullable = incoming.is_none_or(Field::is_nullable);
        let required = field.required && !nullable;
        if field.required && nullable {
            self.changes.push(format!("made column {path} optional"));
        }
        Ok(NestedField {
            required,
            field_type: Box::new(kind),
            ..NestedField::clone(field)
        }
        .into())
    }

    fn kind(&mut self, path: &str, current: &Type, incoming: &DataType) -> Result<Type> {
        match (current, incoming) {
            // Only nulls: they fit every type.
            (_, DataType::Null) => Ok(current.clone()),
            (_, DataType::Dictionary(_, values)) => self.kind(path, current, values),
            (_, DataType::RunEndEncoded(_, values)) => self.kind(path, current, values.data_type()),
            (Type::Struct(fields), DataType::Struct(new)) => Ok(Type::Struct(StructType::new(
                self.fields(&format!("{path}."), fields.fields(), new)?,
            ))),
            (Type::Map(map), DataType::Map(entries, _)) => self.map(path, map, entries),
            (Type::Primitive(kind), incoming) => self.primitive(path, kind, incoming),
            (Type::List(list), incoming) => match list_element(incoming) {
                Some(element) => {
                    let element =
                        self.merged(&format!("{path}[]"), &list.element_field, Some(element))?;
                    Ok(Type::List(ListType::new(element)))
                }
                None => Err(incompatible(path, current, incoming)),
            },
            _ => Err(incompatible(path, current, incoming)),
        }
    }

    fn map(&mut self, path: &str, map: &MapType, entries: &Field) -> Result<Type> {
        let (key, value) = map_fields(entries)?;
        let held = self.kind(
            &format!("{path}.key"),
            &map.key_field.field_type,
            key.data_type(),
        )?;
        // Values are found by their key, so a key's type does not change.
        if held != *map.key_field.field_type {
            return Err(incompatible(
                &format!("{path}.key"),
                &map.key_field.field_type,
                key.data_type(),
            ));
        }
        let value = self.merged(&format!("{path}.value"), &map.value_field, Some(value))?;
        Ok(Type::Map(MapType::new(map.key_field.clone(), value)))
    }

    fn primitive(
        &mut self,
        path: &str,
        current: &PrimitiveType,
        incoming: &DataType,
    ) -> Result<Type> {
        let fail = || incompatible(path, &Type::Primitive(current.clone()), incoming);
        let wanted = primitive(incoming).map_err(|_| fail())?;
        let wide = widened(current, &wanted).ok_or_else(fail)?;
        if wide != *current {
            self.changes
                .push(format!("widened column {path} from {current} to {wide}"));
        }
        Ok(Type::Primitive(wide))
    }
}

/// The type that a column of `current` gets so that it holds values of both exactly; only Iceberg's promotions.
fn widened(current: &PrimitiveType, incoming: &PrimitiveType) -> Option<PrimitiveType> {
    use PrimitiveType::{Binary, Double, Fixed, Float, Int, Long};
    match (current, incoming) {
        (same, other) if same == other => Some(same.clone()),
        (Int | Long, Int | Long) => Some(Long),
        (Float, Double) => Some(Double),
        // Not every `long` is a double: the writer refuses rows with one that is not.
        (Double, Float | Int | Long) => Some(Double),
        (Binary, Fixed(_)) => Some(Binary),
        (PrimitiveType::Decimal { precision, scale }, other) => {
            let (incoming_precision, incoming_scale) = digits(other)?;
            let fraction = scale.checked_sub(incoming_scale)?;
            let precision = *precision.max(&(incoming_precision + fraction));
            (precision <= PRECISION_MAX).then_some(PrimitiveType::Decimal {
                precision,
                scale: *scale,
            })
        }
        _ => None,
    }
}

/// Precision and scale of an exact number.
fn digits(kind: &PrimitiveType) -> Option<(u32, u32)> {
    match kind {
        PrimitiveType::Int => Some((10, 0)),
        PrimitiveType::Long => Some((19, 0)),
        PrimitiveType::Decimal { precision, scale } => Some((*precision, *scale)),
        _ => None,
    }
}

/// Code of the error for a column that cannot hold the values of another type.
pub const INCOMPATIBLE_TYPE: &str = "incompatible_type";

fn incompatible(path: &str, current: &Type, incoming: &DataType) -> Error {
    let current = named(current);
    let incoming = incoming_name(incoming);
    Error::config(
        INCOMPATIBLE_TYPE,
        format!("column {path} is {current} and cannot hold {incoming}"),
    )
    .with_hint(
        "declare its type under `schema: columns`, so that records that do not fit are refused, or give it another name in `transform`",
    )
}

fn incoming_name(kind: &DataType) -> String {
    match kind {
        DataType::Struct(_) => "struct".to_owned(),
        DataType::List(element) => format!("list of {}", incoming_name(element.data_type())),
        DataType::Map(..) => "map".to_owned(),
        other => primitive(other).map_or_else(|_| other.to_string(), |kind| kind.to_string()),
    }
}

/// The name of a type in messages; members of a struct are left out.
fn named(kind: &Type) -> String {
    match kind {
        Type::Primitive(kind) => kind.to_string(),
        Type::Struct(_) => "struct".to_owned(),
        Type::List(list) => format!("list of {}", named(&list.element_field.field_type)),
        Type::Map(map) => {
            format!(
                "map of {} to {}",
                named(&map.key_field.field_type),
                named(&map.value_field.field_type)
            )
        }
    }
}

/// A name on one line, whatever is in it.
fn printable(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}
