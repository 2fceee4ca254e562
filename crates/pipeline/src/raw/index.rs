//! The index of a raw object: one row per payload.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use forebay_core::{
    Compression, Error, Ident, Kept, Messages, PayloadHead, Position, Result, Timestamp,
};
use object_store::path::Path;
use ulid::Ulid;

use crate::raw::PART_ATTRIBUTE;
use crate::raw::packed::{self, Packed};

/// One payload in a raw object, or one part of it when a commit fell inside it (see
/// [`PART_ATTRIBUTE`]).
#[derive(Debug, Clone, PartialEq)]
pub struct RawEntry {
    /// Unique over all payloads of the pipeline: `<object ulid>-<n>`.
    pub id: String,
    pub split: Ident,
    /// Path of the object below the workspace.
    pub object: String,
    /// Offset of the payload in the decompressed object, in bytes.
    pub offset: u64,
    /// Bytes of the payload as received.
    pub length: u64,
    /// Offset of the zstd frame with its first byte in the object file, and of the frame's content in the decompressed
    /// object: a reader may start there instead of at 0.
    pub frame: u64,
    pub frame_offset: u64,
    /// [`forebay_core::PayloadHead::ordinal`] in the run that took it.
    pub ordinal: u64,
    pub name: String,
    pub received_at: Timestamp,
    /// The position right after it, when the source gave one.
    pub position: Option<Position>,
    pub content_type: Option<String>,
    /// Compression of the payload itself, as received.
    pub compression: Compression,
    pub attributes: BTreeMap<String, String>,
    /// Lower-case hex of the payload's bytes.
    pub sha256: String,
    /// The packed messages of the payload, if any.
    pub messages: Option<Arc<Messages>>,
}

impl RawEntry {
    /// The entry of a payload, or of a part of it, that is stored there; the inverse of [`Self::head`] and [`Self::kept`].
    pub(super) fn new(id: String, split: &Ident, head: &PayloadHead, kept: Kept) -> Self {
        let mut attributes = head.attributes.clone();
        if let Some(part) = kept.part {
            attributes.insert(PART_ATTRIBUTE.to_owned(), part);
        }
        Self {
            id,
            split: split.clone(),
            object: kept.object,
            offset: kept.offset,
            length: kept.length,
            frame: kept.frame,
            frame_offset: kept.frame_offset,
            ordinal: head.ordinal,
            name: head.name.clone(),
            received_at: head.received_at,
            position: None,
            content_type: head.content_type.clone(),
            compression: head.compression,
            attributes,
            sha256: kept.sha256,
            messages: head.messages.clone(),
        }
    }

    /// Path of an object's index: beside it, under the same name.
    pub(super) fn index_path(folder: &str, ulid: Ulid) -> Path {
        Path::from(format!("{folder}/{ulid}.index.parquet"))
    }

    /// The head of the payload as received, with a new number.
    pub fn head(&self, ordinal: u64) -> PayloadHead {
        let mut attributes = self.attributes.clone();
        attributes.remove(PART_ATTRIBUTE);
        PayloadHead {
            ordinal,
            name: self.name.clone(),
            received_at: self.received_at,
            content_type: self.content_type.clone(),
            compression: self.compression,
            attributes,
            messages: self.messages.clone(),
        }
    }

    /// Location of its bytes.
    pub fn kept(&self) -> Kept {
        Kept {
            object: self.object.clone(),
            offset: self.offset,
            length: self.length,
            frame: self.frame,
            frame_offset: self.frame_offset,
            sha256: self.sha256.clone(),
            part: self.attributes.get(PART_ATTRIBUTE).cloned(),
        }
    }
}

const UTC: &str = "+00:00";

/// Columns of `raw.<pipeline>`: `id, split, object, offset, length, frame, frame_offset, ordinal, name, received_at,
/// position, content_type, compression, attributes (JSON text), sha256`, and `messages` (a list of [`Messages::fields`])
/// where payloads pack any. In SQL a column `payload` (binary) is added by `query`.
pub fn index_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let received_at = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        text("id"),
        text("split"),
        text("object"),
        number("offset"),
        number("length"),
        number("frame"),
        number("frame_offset"),
        number("ordinal"),
        text("name"),
        Field::new("received_at", received_at, false),
        Field::new("position", DataType::Utf8, true),
        Field::new("content_type", DataType::Utf8, true),
        text("compression"),
        text("attributes"),
        text("sha256"),
    ]))
}

/// Entries to rows of [`index_schema`].
pub fn to_batch(entries: &[RawEntry]) -> Result<RecordBatch> {
    let text = |value: &dyn Fn(&RawEntry) -> Option<String>| -> ArrayRef {
        Arc::new(entries.iter().map(value).collect::<StringArray>())
    };
    let number = |value: fn(&RawEntry) -> u64| -> Result<ArrayRef> {
        let values = entries.iter().map(|entry| i64::try_from(value(entry)));
        let values: Vec<i64> = values.collect::<Result<_, _>>().map_err(|error| {
            Error::bug("raw_index", "a raw entry has a length over 2^63").with_source(error)
        })?;
        Ok(Arc::new(Int64Array::from(values)))
    };
    let received: TimestampMicrosecondArray = entries
        .iter()
        .map(|entry| Some(entry.received_at.micros()))
        .collect();
    let mut columns = vec![
        text(&|entry| Some(entry.id.clone())),
        text(&|entry| Some(entry.split.to_string())),
        text(&|entry| Some(entry.object.clone())),
        number(|entry| entry.offset)?,
        number(|entry| entry.length)?,
        number(|entry| entry.frame)?,
        number(|entry| entry.frame_offset)?,
        number(|entry| entry.ordinal)?,
        text(&|entry| Some(entry.name.clone())),
        Arc::new(received.with_timezone(UTC)),
        text(&|entry| entry.position.as_ref().map(ToString::to_string)),
        text(&|entry| entry.content_type.clone()),
        text(&|entry| Some(compression_name(entry.compression).to_owned())),
        text(&|entry| serde_json::to_string(&entry.attributes).ok()),
        text(&|entry| Some(entry.sha256.clone())),
    ];
    let mut schema = index_schema();
    if let Some(messages) = packed::to_list(entries)? {
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new(
            "messages",
            messages.data_type().clone(),
            true,
        )));
        schema = Arc::new(Schema::new(fields));
        columns.push(messages);
    }
    RecordBatch::try_new(schema, columns).map_err(|error| {
        Error::bug("raw_index", "failed to build the raw index").with_source(error)
    })
}

/// Rows of `raw.<pipeline>` to entries. Columns are found by name; others are ignored.
pub(super) fn from_batch(batch: &RecordBatch) -> Result<Vec<RawEntry>> {
    let columns = Columns(batch);
    let [id, split, object, name, compression, attributes, sha256] = [
        "id",
        "split",
        "object",
        "name",
        "compression",
        "attributes",
        "sha256",
    ]
    .map(|name| columns.text(name));
    let id = id?;
    let split = split?;
    let object = object?;
    let name = name?;
    let compression = compression?;
    let attributes = attributes?;
    let sha256 = sha256?;
    let position = columns.text("position")?;
    let content_type = columns.text("content_type")?;
    let [offset, length, frame, frame_offset, ordinal] =
        ["offset", "length", "frame", "frame_offset", "ordinal"].map(|name| columns.numbers(name));
    let offset = offset?;
    let length = length?;
    let frame = frame?;
    let frame_offset = frame_offset?;
    let ordinal = ordinal?;
    let received = columns.get(
        "received_at",
        &DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
    )?;
    let received = received.as_primitive::<TimestampMicrosecondType>();
    let packed = Packed::new(batch)?;
    let optional =
        |array: &StringArray, row: usize| array.is_valid(row).then(|| array.value(row).to_owned());
    (0..batch.num_rows())
        .map(|row| {
            Ok(RawEntry {
                id: id.value(row).to_owned(),
                split: split.value(row).parse()?,
                object: object.value(row).to_owned(),
                offset: offset[row],
                length: length[row],
                frame: frame[row],
                frame_offset: frame_offset[row],
                ordinal: ordinal[row],
                name: name.value(row).to_owned(),
                received_at: Timestamp(received.value(row)),
                position: optional(&position, row)
                    .map(|text| json(&text))
                    .transpose()?
                    .map(Position),
                content_type: optional(&content_type, row),
                compression: compression_of(compression.value(row))?,
                attributes: json(attributes.value(row))?,
                sha256: sha256.value(row).to_owned(),
                messages: packed.of(row)?,
            })
        })
        .collect()
}

/// Columns by name, of any string or integer type.
struct Columns<'a>(&'a RecordBatch);

impl Columns<'_> {
    fn get(&self, name: &str, kind: &DataType) -> Result<ArrayRef> {
        let column = self
            .0
            .column_by_name(name)
            .ok_or_else(|| bad_index(format!("it has no column `{name}`")))?;
        cast(column, kind).map_err(|error| {
            bad_index(format!("column `{name}` has the wrong type")).with_source(error)
        })
    }

    fn text(&self, name: &str) -> Result<StringArray> {
        Ok(self.get(name, &DataType::Utf8)?.as_string::<i32>().clone())
    }

    fn numbers(&self, name: &str) -> Result<Vec<u64>> {
        let column = self.get(name, &DataType::Int64)?;
        let values = column.as_primitive::<Int64Type>().values().iter();
        values
            .map(|value| {
                u64::try_from(*value).map_err(|_| bad_index(format!("`{name}` is negative")))
            })
            .collect()
    }
}

fn bad_index(what: String) -> Error {
    Error::data("raw_index", format!("the raw index cannot be read: {what}"))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| bad_index("invalid JSON value".to_owned()).with_source(error))
}

fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

fn compression_of(name: &str) -> Result<Compression> {
    [Compression::None, Compression::Gzip, Compression::Zstd]
        .into_iter()
        .find(|compression| compression_name(*compression) == name)
        .ok_or_else(|| bad_index(format!("unknown compression {name:?}")))
}
