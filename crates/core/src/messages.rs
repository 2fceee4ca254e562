//! Messages packed together: one payload of many small values, with the metadata of each.
//!
//! Values of a stream often have a few hundred bytes. One payload each would cost more than the values do, so a source packs
//! them: the payload's bytes are the concatenated values, and [`Messages`] holds the end offset and the metadata of each.
//! It never holds the values themselves.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, StructArray, StructBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type, TimeUnit};

use crate::{Error, Result, Timestamp};

/// Metadata of the messages of one payload, in the order of their values.
#[derive(Debug, Clone, PartialEq)]
pub struct Messages {
    rows: StructArray,
    /// Where each value ends in the payload's bytes; a message without a value ends where it begins.
    ends: Arc<[u64]>,
}

// Its columns hold no floats.
impl Eq for Messages {}

/// Most messages of a payload.
pub const MESSAGES_MAX: usize = 1 << 16;

/// Bytes of values at which a payload is full; the message that reaches it is the last.
pub const MESSAGES_BYTES: usize = 1 << 20;

impl Messages {
    /// Columns: `partition` (int), `offset` (long, within its partition), `timestamp` (create time, set by the producer or
    /// broker), `key` (binary), `headers` (list of `name`, `value`), `length` (bytes of its value; null for a tombstone).
    pub fn fields() -> Fields {
        static FIELDS: OnceLock<Fields> = OnceLock::new();
        FIELDS.get_or_init(fields).clone()
    }

    /// Accepts rows of [`Self::fields`].
    ///
    /// # Errors
    /// `Data` `bad_messages` when the columns are others or a length is negative.
    pub fn new(rows: StructArray) -> Result<Self> {
        if rows.fields() != &Self::fields() {
            return Err(bad("it has other columns"));
        }
        let lengths = rows.column(LENGTH).as_primitive::<Int64Type>();
        let mut end = 0u64;
        let ends = lengths.iter().map(|length| {
            let length =
                u64::try_from(length.unwrap_or(0)).map_err(|_| bad("a length is negative"))?;
            end = end
                .checked_add(length)
                .ok_or_else(|| bad("its lengths have no sum"))?;
            Ok(end)
        });
        let ends = ends.collect::<Result<Arc<[u64]>>>()?;
        Ok(Self { rows, ends })
    }

    pub fn rows(&self) -> &StructArray {
        &self.rows
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The byte range of the value of message `n` in the payload; `None` for a message without a value.
    ///
    /// Panics if `n` is out of range.
    pub fn value(&self, n: usize) -> Option<Range<usize>> {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        let is_there = self.rows.column(LENGTH).is_valid(n);
        is_there.then(|| start as usize..self.ends[n] as usize)
    }

    /// The message whose value holds this byte of the payload.
    pub fn at(&self, byte: u64) -> Option<usize> {
        let n = self.ends.partition_point(|end| *end <= byte);
        (n < self.len()).then_some(n)
    }

    /// Partition and offset of message `n`, for people.
    ///
    /// Panics if `n` is out of range.
    pub fn place(&self, n: usize) -> (i32, i64) {
        let partition = self.rows.column(PARTITION).as_primitive::<Int32Type>();
        let offset = self.rows.column(OFFSET).as_primitive::<Int64Type>();
        (partition.value(n), offset.value(n))
    }

    /// A column of [`Self::fields`], by name.
    pub fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.rows.column_by_name(name)
    }
}

const PARTITION: usize = 0;
const OFFSET: usize = 1;
const LENGTH: usize = 5;

fn bad(what: &str) -> Error {
    Error::data(
        "bad_messages",
        format!("a list of messages cannot be read: {what}"),
    )
}

fn fields() -> Fields {
    let required = |name: &str, kind| Field::new(name, kind, false);
    let optional = |name: &str, kind| Field::new(name, kind, true);
    Fields::from(vec![
        required("partition", DataType::Int32),
        required("offset", DataType::Int64),
        optional(
            "timestamp",
            DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        ),
        optional("key", DataType::Binary),
        optional("headers", DataType::List(element())),
        optional("length", DataType::Int64),
    ])
}

const UTC: &str = "+00:00";

fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
    ])
}

fn element() -> Arc<Field> {
    Arc::new(Field::new(
        "element",
        DataType::Struct(header_fields()),
        true,
    ))
}

/// One message, without its value.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<Timestamp>,
    pub key: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Bytes of its value; `None` when it has none.
    pub length: Option<usize>,
}

/// Collects messages, column by column.
#[derive(Debug)]
pub struct MessagesBuilder {
    partitions: Int32Builder,
    offsets: Int64Builder,
    timestamps: TimestampMicrosecondBuilder,
    keys: BinaryBuilder,
    headers: ListBuilder<StructBuilder>,
    lengths: Int64Builder,
}

impl Default for MessagesBuilder {
    fn default() -> Self {
        Self {
            partitions: Int32Builder::new(),
            offsets: Int64Builder::new(),
            timestamps: TimestampMicrosecondBuilder::new().with_timezone(UTC),
            keys: BinaryBuilder::new(),
            headers: ListBuilder::new(StructBuilder::from_fields(header_fields(), 0))
                .with_field(element()),
            lengths: Int64Builder::new(),
        }
    }
}

impl MessagesBuilder {
    pub fn len(&self) -> usize {
        arrow::array::ArrayBuilder::len(&self.offsets)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, message: &Message<'_>) {
        self.partitions.append_value(message.partition);
        self.offsets.append_value(message.offset);
        self.timestamps
            .append_option(message.timestamp.map(Timestamp::micros));
        self.keys.append_option(message.key);
        self.lengths
            .append_option(message.length.map(|length| length as i64));
        self.push_headers(message.headers);
    }

    fn push_headers(&mut self, headers: &[(&str, Option<&[u8]>)]) {
        let element = self.headers.values();
        for (name, value) in headers {
            // The builder was made with these two columns.
            if let Some(names) = element.field_builder::<StringBuilder>(0) {
                names.append_value(name);
            }
            if let Some(values) = element.field_builder::<BinaryBuilder>(1) {
                values.append_option(*value);
            }
            element.append(true);
        }
        self.headers.append(!headers.is_empty());
    }

    /// The collected messages; the builder is empty afterwards.
    ///
    /// # Errors
    /// `Bug` when the columns do not fit together.
    pub fn finish(&mut self) -> Result<Messages> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.partitions.finish()),
            Arc::new(self.offsets.finish()),
            Arc::new(self.timestamps.finish()),
            Arc::new(self.keys.finish()),
            Arc::new(self.headers.finish()),
            Arc::new(self.lengths.finish()),
        ];
        let rows = StructArray::try_new(Messages::fields(), columns, None).map_err(|error| {
            Error::bug("messages", "failed to put messages together").with_source(error)
        })?;
        Messages::new(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(offset: i64, length: Option<usize>) -> Message<'static> {
        Message {
            partition: 3,
            offset,
            timestamp: Some(Timestamp(7)),
            key: None,
            headers: &[],
            length,
        }
    }

    fn messages(lengths: &[Option<usize>]) -> Messages {
        let mut builder = MessagesBuilder::default();
        for (n, length) in lengths.iter().enumerate() {
            builder.push(&message(n as i64, *length));
        }
        builder.finish().unwrap()
    }

    #[test]
    fn values_lie_one_after_the_other() {
        let messages = messages(&[Some(3), None, Some(0), Some(2)]);
        let values: Vec<_> = (0..4).map(|n| messages.value(n)).collect();
        assert_eq!(values, [Some(0..3), None, Some(3..3), Some(3..5)]);
        let at: Vec<_> = (0..6).map(|byte| messages.at(byte)).collect();
        assert_eq!(at, [Some(0), Some(0), Some(0), Some(3), Some(3), None]);
        assert_eq!((messages.bytes(), messages.place(3)), (5, (3, 3)));
    }

    #[test]
    fn what_came_with_a_message_is_kept() {
        let mut builder = MessagesBuilder::default();
        builder.push(&Message {
            key: Some(b"k"),
            headers: &[("a", Some(b"1")), ("a", None)],
            ..message(0, Some(1))
        });
        builder.push(&message(1, None));
        let messages = builder.finish().unwrap();
        assert!(builder.is_empty());
        let again = Messages::new(messages.rows().clone()).unwrap();
        assert_eq!(again, messages);
        let headers = messages.column("headers").unwrap().as_list::<i32>();
        assert_eq!((headers.value_length(0), headers.is_null(1)), (2, true));
    }

    #[test]
    fn other_columns_are_refused() {
        let other = StructArray::new_empty_fields(2, None);
        assert_eq!(Messages::new(other).unwrap_err().code(), "bad_messages");
    }
}
