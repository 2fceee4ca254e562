//! How the bytes of a schema's values are laid out, with names written out, before the decoder sees the schema.
//!
//! The decoder copies a named type wherever it is named, and takes the items of a list one by one also where they have no
//! bytes. Some kilobytes of names that each name another twice fill the memory, and a list of 2^62 nulls never ends. Here names are
//! counted and not copied, and [`Layout::check`] bounds such lists. It also refuses bytes that the decoder would read as a value: any index
//! of a union beside null, and any byte as a boolean. Values are never decoded here.

#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::contract::COLUMNS_MAX;
use crate::wire::Unreadable;

/// Types within each other. A table takes 20 levels, a declared column may have more.
pub(super) const DEPTH_MAX: u32 = 64;

/// Types of a schema, names written out: ten for each column of a table. The decoder has some kilobytes for each.
pub(super) const TYPES_MAX: u64 = 10 * COLUMNS_MAX as u64;

/// Bytes of names, symbols and notes, names written out: the decoder copies them with a type.
pub(super) const NAMES_BYTES_MAX: u64 = 64 << 20;

/// Bytes in memory of the values that are decoded together. One byte of a message may become thousands: a null in place of
/// a record takes a value of each of its fields.
pub(super) const DECODED_BYTES_MAX: u64 = 256 << 20;

/// Bytes in memory of a number, and of a place in a list or a text.
const VALUE_BYTES: u64 = 8;

/// The bytes of a value.
#[derive(Debug)]
enum Shape {
    /// None at all: `null`, `fixed` of no bytes, a record without fields. The decoder takes no list of them.
    Nothing,
    /// None at all, but there are fields.
    EmptyRecord,
    Fixed(u64),
    /// One byte, 0 or 1.
    Boolean,
    /// A number of one to ten bytes, also an enum.
    Number,
    /// A length, and as many bytes.
    Bytes,
    /// An index, and the value of that branch. In memory each branch has a value, as many bytes together.
    Union(Vec<Arc<Shape>>, u64),
    Record(Vec<Arc<Shape>>),
    List(Arc<Shape>),
    Map(Arc<Shape>),
}

impl Shape {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Nothing | Self::EmptyRecord)
    }
}

/// The layout of the values of a schema.
#[derive(Debug)]
pub(super) struct Layout {
    root: Arc<Shape>,
    /// Whether any list has items without bytes.
    has_empty_items: bool,
    /// Whether the decoder reads some damaged bytes as values. Not checked where a name is unknown.
    has_lenient_values: bool,
    /// Whether a message is a block, a list of records.
    is_block: bool,
    /// Most bytes in memory that one byte of a message may become.
    growth: u64,
}

impl Layout {
    /// Errors: `bad_schema` when it expands to more than [`TYPES_MAX`], [`NAMES_BYTES_MAX`] or [`DEPTH_MAX`].
    pub(super) fn new(schema: &Value) -> Result<Self, Unreadable> {
        let mut reading = Reading::default();
        let root = reading.read(schema, "")?;
        Ok(Self {
            root: root.shape,
            has_empty_items: reading.has_empty_items,
            has_lenient_values: reading.has_lenient_values && !reading.has_unknown_names,
            is_block: false,
            growth: root.growth,
        })
    }

    /// The layout of blocks, where `self` is that of a record with a list of records.
    pub(super) fn of_blocks(self) -> Self {
        Self {
            is_block: true,
            ..self
        }
    }

    /// How many of these values to decode together, at least one.
    pub(super) fn together(&self, bytes: impl Iterator<Item = usize>) -> usize {
        let most = |bytes: usize| self.decoded_bytes_max(bytes).min(DECODED_BYTES_MAX);
        let sums = bytes.scan(0_u64, |sum, bytes| {
            *sum = sum.saturating_add(most(bytes));
            Some(*sum)
        });
        sums.take_while(|sum| *sum <= DECODED_BYTES_MAX)
            .count()
            .max(1)
    }

    /// Most bytes in memory that so many bytes of a message may become.
    fn decoded_bytes_max(&self, bytes: usize) -> u64 {
        (bytes as u64).saturating_mul(self.growth)
    }
}

/// A type, names written out.
#[derive(Debug, Clone)]
struct Type {
    shape: Arc<Shape>,
    types: u64,
    bytes: u64,
    depth: u32,
    /// Bytes in memory of a value that is null, without the items of lists.
    width: u64,
    /// Most bytes in memory for one byte of a value.
    growth: u64,
}

impl Type {
    fn plain(shape: Shape) -> Self {
        let width = match shape {
            Shape::Fixed(bytes) => bytes,
            Shape::Boolean => 1,
            Shape::Number | Shape::Bytes => VALUE_BYTES,
            _ => 0,
        };
        Self {
            growth: match shape {
                Shape::Fixed(_) | Shape::Boolean => 1,
                _ => width,
            },
            shape: Arc::new(shape),
            types: 1,
            bytes: 0,
            depth: 1,
            width,
        }
    }

    /// A type of these parts.
    fn of(shape: Shape, parts: &[Self]) -> Self {
        let sum = |of: fn(&Self) -> u64| parts.iter().map(of).fold(0, u64::saturating_add);
        let width = match shape {
            Shape::List(_) | Shape::Map(_) => VALUE_BYTES,
            Shape::Union(..) => union_bytes(parts),
            _ => sum(|part| part.width),
        };
        let growth = parts.iter().map(|part| part.growth).max().unwrap_or(0);
        Self {
            growth: match shape {
                Shape::Union(..) => growth.saturating_add(width),
                // A key has its length, and a value or an item a byte at least.
                Shape::List(_) | Shape::Map(_) => growth.max(VALUE_BYTES),
                _ => growth,
            },
            width,
            shape: Arc::new(shape),
            types: sum(|part| part.types).saturating_add(1),
            bytes: sum(|part| part.bytes),
            depth: 1 + parts.iter().map(|part| part.depth).max().unwrap_or(0),
        }
    }

    fn bounded(self) -> Result<Self, Unreadable> {
        let bad = |what: String| Err(Unreadable::new("bad_schema", what));
        if self.types > TYPES_MAX {
            return bad(format!(
                "the schema has more than {TYPES_MAX} types where its names are written out"
            ));
        }
        if self.bytes > NAMES_BYTES_MAX {
            let most = NAMES_BYTES_MAX >> 20;
            return bad(format!(
                "the names and notes of the schema have more than {most} MiB where they are written out"
            ));
        }
        if self.depth > DEPTH_MAX {
            return bad(format!(
                "the schema is nested more than {DEPTH_MAX} types deep where its names are written out"
            ));
        }
        Ok(self)
    }
}

/// The types named so far, by namespace and name like in the decoder.
#[derive(Default)]
struct Reading {
    named: HashMap<(String, String), Type>,
    has_empty_items: bool,
    has_lenient_values: bool,
    has_unknown_names: bool,
}

impl Reading {
    fn read(&mut self, schema: &Value, namespace: &str) -> Result<Type, Unreadable> {
        let read = match schema {
            Value::String(name) => self.find(name, namespace),
            Value::Array(branches) => {
                let parts = self.read_all(branches.iter(), namespace)?;
                self.has_lenient_values |= is_nullable(&parts);
                union(&parts)
            }
            Value::Object(object) => self.object(object, namespace)?,
            _ => Type::plain(Shape::Nothing),
        };
        read.bounded()
    }

    fn read_all<'a>(
        &mut self,
        schemas: impl Iterator<Item = &'a Value>,
        namespace: &str,
    ) -> Result<Vec<Type>, Unreadable> {
        schemas.map(|schema| self.read(schema, namespace)).collect()
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Type, Unreadable> {
        let none = Value::Null;
        let part = |key: &str| object.get(key).unwrap_or(&none);
        let text = |key: &str| part(key).as_str();
        let namespace = text("namespace").unwrap_or(namespace);
        let mut read = match text("type") {
            Some("record" | "error") => self.record(part("fields"), namespace)?,
            Some("array") => self.list(part("items"), namespace)?,
            Some("map") => {
                let values = self.read(part("values"), namespace)?;
                Type::of(Shape::Map(values.shape.clone()), &[values])
            }
            Some("enum") => Type::plain(Shape::Number),
            Some("fixed") => Type::plain(match part("size").as_u64() {
                Some(0) | None => Shape::Nothing,
                Some(size) => Shape::Fixed(size),
            }),
            Some(name) => self.find(name, namespace),
            None => self.read(part("type"), namespace)?,
        };
        read.bytes = read.bytes.saturating_add(notes(object));
        if let Some(name) = text("name").filter(|_| is_named(text("type"))) {
            let key = (namespace.to_owned(), name.to_owned());
            self.named.insert(key, read.clone());
        }
        Ok(read)
    }

    fn record(&mut self, fields: &Value, namespace: &str) -> Result<Type, Unreadable> {
        let fields = fields.as_array().map(Vec::as_slice).unwrap_or_default();
        let kinds = fields
            .iter()
            .map(|field| field.get("type").unwrap_or(field));
        let parts = self.read_all(kinds, namespace)?;
        let shape = match parts.iter().all(|part| part.shape.is_empty()) {
            true if parts.is_empty() => Shape::Nothing,
            true => Shape::EmptyRecord,
            false => Shape::Record(shapes(&parts)),
        };
        let mut record = Type::of(shape, &parts);
        let objects = fields.iter().filter_map(Value::as_object);
        record.bytes = objects.map(notes).fold(record.bytes, u64::saturating_add);
        Ok(record)
    }

    fn list(&mut self, items: &Value, namespace: &str) -> Result<Type, Unreadable> {
        let items = self.read(items, namespace)?;
        self.has_empty_items |= items.shape.is_empty();
        Ok(Type::of(Shape::List(items.shape.clone()), &[items]))
    }

    /// A plain type, or one by its name; the decoder refuses a name that was not before.
    fn find(&mut self, name: &str, namespace: &str) -> Type {
        self.has_lenient_values |= name == "boolean";
        let shape = match name {
            "null" => Shape::Nothing,
            "boolean" => Shape::Boolean,
            "int" | "long" => Shape::Number,
            "float" => Shape::Fixed(4),
            "double" => Shape::Fixed(8),
            "bytes" | "string" => Shape::Bytes,
            name => {
                let (namespace, name) = name.rsplit_once('.').unwrap_or((namespace, name));
                let key = (namespace.to_owned(), name.to_owned());
                let found = self.named.get(&key).cloned();
                self.has_unknown_names |= found.is_none();
                return found.unwrap_or_else(|| Type::plain(Shape::Nothing));
            }
        };
        Type::plain(shape)
    }
}

/// A type beside null is one to the decoder.
fn union(branches: &[Type]) -> Type {
    let shape = Shape::Union(shapes(branches), union_bytes(branches));
    let union = Type::of(shape, branches);
    let saved = if is_nullable(branches) { 2 } else { 0 };
    Type {
        types: union.types - saved,
        ..union
    }
}

fn is_nullable(branches: &[Type]) -> bool {
    branches.len() == 2 && branches.iter().any(|part| part.shape.is_empty())
}

/// Bytes in memory of a value of each branch, and which one it is.
fn union_bytes(branches: &[Type]) -> u64 {
    let widths = branches.iter().map(|branch| branch.width);
    widths.fold(VALUE_BYTES, u64::saturating_add)
}

fn is_named(kind: Option<&str>) -> bool {
    matches!(kind, Some("record" | "error" | "enum" | "fixed"))
}

fn shapes(parts: &[Type]) -> Vec<Arc<Shape>> {
    parts.iter().map(|part| part.shape.clone()).collect()
}

/// Bytes of an object, without the types in it.
fn notes(object: &Map<String, Value>) -> u64 {
    let is_type = |key: &str| ["type", "items", "values", "fields"].contains(&key);
    let own = object.iter().filter(|(key, _)| !is_type(key));
    own.map(|(key, value)| key.len() as u64 + value.to_string().len() as u64)
        .sum()
}
