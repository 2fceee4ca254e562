//! The columns of a table: the schema that the engine sees and the field id of each.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::uuid::with_text;

/// Where Parquet and Arrow keep an Iceberg field id.
const FIELD_ID: &str = "PARQUET:field_id";

/// The field id of a column or nested field.
pub(super) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID)?.parse().ok()
}

#[derive(Debug)]
pub(crate) struct Columns {
    schema: SchemaRef,
    plain: SchemaRef,
    by_name: HashMap<String, (i32, DataType)>,
}

impl Columns {
    pub(super) fn of(schema: &Schema) -> Self {
        let plain: Vec<FieldRef> = schema.fields().iter().map(with_text).collect();
        let fields: Vec<FieldRef> = plain.iter().map(with_view).collect();
        let id = |field: &FieldRef| {
            Some((
                field.name().clone(),
                (field_id(field)?, field.data_type().clone()),
            ))
        };
        let by_name = plain.iter().filter_map(id).collect();
        Self {
            plain: Arc::new(Schema::new_with_metadata(plain, schema.metadata().clone())),
            schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
            by_name,
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The schema with strings as the lake has them; UUIDs are strings.
    pub(super) fn plain(&self) -> &SchemaRef {
        &self.plain
    }

    /// Field id and type, in the plain schema, of a column.
    pub(super) fn find(&self, name: &str) -> Option<(i32, &DataType)> {
        self.by_name.get(name).map(|(id, kind)| (*id, kind))
    }
}

/// Strings are read as views: the reader then copies no bytes.
fn with_view(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => field.clone(),
    }
}
