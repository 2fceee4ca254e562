//! Columns of whole numbers that become doubles.
//!
//! Iceberg promotes no `long` to `double`: files keep their bytes, and readers would take them for another number. So the column
//! gets a new field under its name, and the table's files are written again with it (see `rewrite.rs`). Earlier snapshots
//! keep the schema and the files that they had.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Fields, Schema as ArrowSchema};
use forebay_core::Result;
use forebay_core::data_type::list_element;
use iceberg::spec::{
    ListType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};

use super::arrow::index_names;
use crate::error::from_iceberg;

/// A schema in which columns of whole numbers are doubles.
#[derive(Debug)]
pub(crate) struct WidenedSchema {
    pub(crate) schema: Schema,
    /// The field that each new field replaces.
    pub(crate) fields: WidenedFields,
    /// For people.
    pub(crate) changes: Vec<String>,
}

/// Fields of doubles by id, each with the id of the field of whole numbers that it replaces.
pub(crate) type WidenedFields = BTreeMap<i32, i32>;

/// `current` with a double for every whole number over which `incoming` has a double, at every depth but in the keys and values
/// of maps; `None` when there is none. `last_column_id` is the highest field id that the table ever used.
pub(crate) fn widen(
    current: &Schema,
    last_column_id: i32,
    incoming: &ArrowSchema,
) -> Result<Option<WidenedSchema>> {
    let mut widening = Widening {
        last_id: last_column_id,
        fields: WidenedFields::new(),
        changes: Vec::new(),
    };
    let fields = widening.fields("", current.as_struct().fields(), incoming.fields());
    if widening.fields.is_empty() {
        return Ok(None);
    }
    let builder = Schema::builder()
        .with_schema_id(current.schema_id())
        .with_fields(fields)
        .with_identifier_field_ids(current.identifier_field_ids().collect::<Vec<_>>());
    Ok(Some(WidenedSchema {
        schema: builder
            .build()
            .map_err(|e| from_iceberg("widen columns of the table", e))?,
        fields: widening.fields,
        changes: widening.changes,
    }))
}

struct Widening {
    last_id: i32,
    fields: WidenedFields,
    changes: Vec<String>,
}

impl Widening {
    /// `prefix` names the struct that holds the fields, with its dot.
    fn fields(
        &mut self,
        prefix: &str,
        current: &[NestedFieldRef],
        incoming: &Fields,
    ) -> Vec<NestedFieldRef> {
        let names = index_names(incoming);
        let merged = current
            .iter()
            .map(|field| match names.get(field.name.as_str()) {
                Some(other) => {
                    let path = format!("{prefix}{}", field.name);
                    self.field(&path, field, other.data_type())
                }
                None => field.clone(),
            });
        merged.collect()
    }

    fn field(&mut self, path: &str, field: &NestedFieldRef, incoming: &DataType) -> NestedFieldRef {
        let kind = match (field.field_type.as_ref(), incoming) {
            (
                Type::Primitive(kind @ (PrimitiveType::Int | PrimitiveType::Long)),
                DataType::Float64,
            ) => return self.double(path, field, kind),
            (Type::Struct(members), DataType::Struct(new)) => Type::Struct(StructType::new(
                self.fields(&format!("{path}."), members.fields(), new),
            )),
            (Type::List(list), incoming) => match list_element(incoming) {
                Some(element) => Type::List(ListType::new(self.field(
                    &format!("{path}[]"),
                    &list.element_field,
                    element.data_type(),
                ))),
                None => return field.clone(),
            },
            _ => return field.clone(),
        };
        let field_type = Box::new(kind);
        NestedField {
            field_type,
            ..NestedField::clone(field)
        }
        .into()
    }

    fn double(&mut self, path: &str, field: &NestedField, kind: &PrimitiveType) -> NestedFieldRef {
        self.last_id += 1;
        self.fields.insert(self.last_id, field.id);
        let change = format!("widened column {path} from {kind} to double");
        self.changes.push(change);
        NestedField {
            id: self.last_id,
            field_type: Box::new(Type::Primitive(PrimitiveType::Double)),
            ..field.clone()
        }
        .into()
    }
}
