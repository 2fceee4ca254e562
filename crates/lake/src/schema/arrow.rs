//! Arrow to Iceberg and back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit,
};
use forebay_core::data_type::list_element;
use forebay_core::{Context, Error, Result};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::names::{comment, source_entry};
use crate::error::from_iceberg;

/// The schema of a new table, with fresh field ids.
///
/// Errors: `Config` when a type has no place in a table or two columns have one name.
pub(crate) fn to_iceberg(schema: &ArrowSchema) -> Result<Schema> {
    let fields = Ids::after(0).fields(schema.fields())?;
    Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|e| from_iceberg("make the table's schema", e))
}

/// Gives out field ids that were never used in a table.
pub(super) struct Ids(i32);

impl Ids {
    pub(super) fn after(last: i32) -> Self {
        Self(last)
    }

    fn next(&mut self) -> i32 {
        self.0 += 1;
        self.0
    }

    fn fields(&mut self, fields: &Fields) -> Result<Vec<NestedFieldRef>> {
        check_names(fields)?;
        fields
            .iter()
            .map(|field| self.field(field, !field.is_nullable()))
            .collect()
    }

    /// A new field of the incoming type.
    pub(super) fn field(&mut self, field: &Field, required: bool) -> Result<NestedFieldRef> {
        let id = self.next();
        let kind = self
            .kind(field.data_type())
            .context("column", field.name())?;
        let made = NestedField::new(id, field.name(), kind, required);
        Ok(match comment(field) {
            Some(comment) => made.with_doc(comment),
            None => made,
        }
        .into())
    }

    fn kind(&mut self, kind: &DataType) -> Result<Type> {
        Ok(match kind {
            DataType::Struct(fields) => Type::Struct(StructType::new(self.fields(fields)?)),
            DataType::Map(entries, _) => self.map(entries)?,
            DataType::Dictionary(_, values) => self.kind(values)?,
            DataType::RunEndEncoded(_, values) => self.kind(values.data_type())?,
            kind => match list_element(kind) {
                Some(element) => self.list(element)?,
                None => Type::Primitive(primitive(kind)?),
            },
        })
    }

    fn list(&mut self, element: &Field) -> Result<Type> {
        let id = self.next();
        let kind = self.kind(element.data_type())?;
        Ok(Type::List(ListType::new(
            NestedField::list_element(id, kind, !element.is_nullable()).into(),
        )))
    }

    fn map(&mut self, entries: &Field) -> Result<Type> {
        let (key, value) = map_fields(entries)?;
        let key_id = self.next();
        let value_id = self.next();
        let key = NestedField::map_key_element(key_id, self.kind(key.data_type())?);
        let value = NestedField::map_value_element(
            value_id,
            self.kind(value.data_type())?,
            !value.is_nullable(),
        );
        Ok(Type::Map(MapType::new(key.into(), value.into())))
    }
}

/// Errors: `Config` `duplicate_column` when two columns side by side have one name.
pub(super) fn check_names(fields: &Fields) -> Result<()> {
    let mut seen = HashSet::new();
    match fields.iter().find(|field| !seen.insert(field.name())) {
        None => Ok(()),
        Some(twice) => Err(Error::config(
            "duplicate_column",
            format!("two columns are called {:?}", twice.name()),
        )
        .with_hint("Rename one of them in `transform`.")),
    }
}

/// Fields by name, which [`check_names`] has checked; a table may have thousands.
pub(super) fn index_names(fields: &Fields) -> HashMap<&str, &FieldRef> {
    let named = fields.iter().map(|field| (field.name().as_str(), field));
    named.collect()
}

pub(super) fn map_fields(entries: &Field) -> Result<(&FieldRef, &FieldRef)> {
    match entries.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => Ok((&fields[0], &fields[1])),
        _ => Err(Error::bug(
            "bad_map",
            "an Arrow map does not have a key and a value",
        )),
    }
}

/// The table type for an Arrow type. It holds every value but times with a part below one microsecond, the precision of
/// every table: the writer refuses those, an extractor quarantines their rows before.
///
/// Errors: `Config` `unsupported_type`.
pub(super) fn primitive(kind: &DataType) -> Result<PrimitiveType> {
    Ok(match kind {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            PrimitiveType::Int
        }
        DataType::Int64 | DataType::UInt32 => PrimitiveType::Long,
        DataType::UInt64 => PrimitiveType::Decimal {
            precision: 20,
            scale: 0,
        },
        DataType::Float16 | DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        DataType::FixedSizeBinary(bytes) => {
            PrimitiveType::Fixed(u64::try_from(*bytes).unwrap_or(0))
        }
        DataType::Date32 | DataType::Date64 => PrimitiveType::Date,
        DataType::Time32(_) | DataType::Time64(_) => PrimitiveType::Time,
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s)
            if *p <= 38 && *s >= 0 =>
        {
            PrimitiveType::Decimal {
                precision: u32::from(*p),
                scale: u32::from(s.unsigned_abs()),
            }
        }
        other => return Err(unsupported(other)),
    })
}

fn unsupported(kind: &DataType) -> Error {
    let hint = match kind {
        DataType::Null => "A column of nulls only has no type: cast it to one.",
        _ => "Cast the column to a type that Iceberg has.",
    };
    Error::config(
        "unsupported_type",
        format!("a table cannot hold the type {kind}"),
    )
    .with_hint(hint)
}

/// The note of an Arrow field that holds UUIDs, which are 16 bytes like others: Arrow's canonical extension type.
pub const UUID_MARK: (&str, &str) = ("ARROW:extension:name", "arrow.uuid");

/// Whether a column of a table, or a field of one, holds UUIDs.
pub fn is_uuid(field: &Field) -> bool {
    let mark = field.metadata().get(UUID_MARK.0);
    mark.is_some_and(|mark| mark == UUID_MARK.1)
}

/// The Arrow schema that a table is read and written with, ids in the metadata of every field.
pub(crate) fn to_arrow(schema: &Schema) -> Result<SchemaRef> {
    let fields: Result<Fields> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| arrow_field(field))
        .collect();
    Ok(Arc::new(ArrowSchema::new(fields?)))
}

/// The field with an Iceberg id.
pub(crate) fn with_field_id(field: Field, id: i32) -> Field {
    let id = (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
    field.with_metadata(HashMap::from([id]))
}

fn arrow_field(field: &NestedField) -> Result<FieldRef> {
    let kind = arrow_type(&field.field_type).context("column", &field.name)?;
    let id = (PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string());
    let is_uuid = matches!(
        field.field_type.as_ref(),
        Type::Primitive(PrimitiveType::Uuid)
    );
    let mark = is_uuid.then(|| (UUID_MARK.0.to_owned(), UUID_MARK.1.to_owned()));
    let notes = std::iter::once(id).chain(source_entry(field)).chain(mark);
    let notes: HashMap<_, _> = notes.collect();
    Ok(Arc::new(
        Field::new(&field.name, kind, !field.required).with_metadata(notes),
    ))
}

fn arrow_type(kind: &Type) -> Result<DataType> {
    Ok(match kind {
        Type::Primitive(kind) => arrow_primitive(kind)?,
        Type::Struct(fields) => DataType::Struct(
            fields
                .fields()
                .iter()
                .map(|field| arrow_field(field))
                .collect::<Result<Fields>>()?,
        ),
        Type::List(list) => DataType::List(arrow_field(&list.element_field)?),
        Type::Map(map) => {
            let entries = Fields::from(vec![
                arrow_field(&map.key_field)?,
                arrow_field(&map.value_field)?,
            ]);
            DataType::Map(
                Arc::new(Field::new("key_value", DataType::Struct(entries), false)),
                false,
            )
        }
    })
}

fn arrow_primitive(kind: &PrimitiveType) -> Result<DataType> {
    let utc = || Some("+00:00".into());
    Ok(match kind {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => decimal(*precision, *scale)?,
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
        PrimitiveType::Fixed(bytes) => match i32::try_from(*bytes) {
            Ok(bytes) => DataType::FixedSizeBinary(bytes),
            Err(_) => DataType::LargeBinary,
        },
        PrimitiveType::Binary => DataType::Binary,
    })
}

fn decimal(precision: u32, scale: u32) -> Result<DataType> {
    let bad = || {
        Error::data(
            "bad_decimal",
            format!("decimal({precision}, {scale}) is not a decimal type"),
        )
    };
    let precision = u8::try_from(precision)
        .ok()
        .filter(|p| (1..=38).contains(p))
        .ok_or_else(bad)?;
    let scale = i8::try_from(scale).map_err(|_| bad())?;
    Ok(DataType::Decimal128(precision, scale))
}
