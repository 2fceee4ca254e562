//! How the bytes of a schema's values are laid out (Avro 1.12, "Schema Declaration" and "Binary Encoding").

use std::collections::HashMap;

use forebay_core::{Error, Result};
use serde_json::{Map, Value};

/// A type by its number in [`Shapes`], so that a named type may contain itself.
pub(super) type ShapeId = usize;

#[derive(Debug)]
pub(super) enum Shape {
    Nothing,
    /// A fixed number of bytes.
    Fixed(u64),
    /// A number of variable length.
    Number,
    /// Bytes or text after their length.
    Bytes,
    Union(Vec<ShapeId>),
    Record(Vec<ShapeId>),
    List(ShapeId),
    Map(ShapeId),
}

/// The types of one schema.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    all: Vec<Shape>,
    named: HashMap<String, ShapeId>,
}

impl Shapes {
    /// The types of a schema, and the one of its records. The nesting of JSON is bounded by its reader.
    ///
    /// Errors: `Data` `bad_manifest`.
    pub(super) fn read(schema: &[u8]) -> Result<(Self, ShapeId)> {
        let schema: Value = serde_json::from_slice(schema)
            .map_err(|error| bad(&format!("its schema is not JSON: {error}")))?;
        let mut shapes = Self::default();
        let root = shapes.add(&schema, "")?;
        Ok((shapes, root))
    }

    pub(super) fn get(&self, id: ShapeId) -> &Shape {
        self.all.get(id).unwrap_or(&Shape::Nothing)
    }

    fn push(&mut self, shape: Shape) -> ShapeId {
        self.all.push(shape);
        self.all.len() - 1
    }

    fn add(&mut self, schema: &Value, namespace: &str) -> Result<ShapeId> {
        match schema {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.add(branch, namespace));
                let branches = branches.collect::<Result<Vec<_>>>()?;
                Ok(self.push(Shape::Union(branches)))
            }
            Value::Object(schema) => self.add_object(schema, namespace),
            _ => Err(bad("its schema has a type that is not one")),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<ShapeId> {
        let shape = match name {
            "null" => Shape::Nothing,
            "boolean" => Shape::Fixed(1),
            "int" | "long" => Shape::Number,
            "float" => Shape::Fixed(4),
            "double" => Shape::Fixed(8),
            "bytes" | "string" => Shape::Bytes,
            name => {
                let known = self.named.get(&full_name(name, namespace));
                let known = known.or_else(|| self.named.get(name)).copied();
                return known.ok_or_else(|| bad("its schema names a type that it does not have"));
            }
        };
        Ok(self.push(shape))
    }

    fn add_object(&mut self, schema: &Map<String, Value>, namespace: &str) -> Result<ShapeId> {
        let part = |key: &str| {
            let part = schema.get(key);
            part.ok_or_else(|| bad("its schema has an incomplete type"))
        };
        match part("type")?.as_str() {
            Some("record" | "error") => self.add_record(schema, namespace),
            Some("array") => {
                let items = self.add(part("items")?, namespace)?;
                Ok(self.push(Shape::List(items)))
            }
            Some("map") => {
                let values = self.add(part("values")?, namespace)?;
                Ok(self.push(Shape::Map(values)))
            }
            Some("enum") => {
                let id = self.push(Shape::Number);
                self.name(schema, namespace, id);
                Ok(id)
            }
            Some("fixed") => {
                let size = part("size")?.as_u64();
                let size = size.ok_or_else(|| bad("its schema has a type of no size"))?;
                let id = self.push(Shape::Fixed(size));
                self.name(schema, namespace, id);
                Ok(id)
            }
            _ => self.add(part("type")?, namespace),
        }
    }

    fn add_record(&mut self, schema: &Map<String, Value>, namespace: &str) -> Result<ShapeId> {
        let id = self.push(Shape::Nothing);
        let inner = self.name(schema, namespace, id);
        let fields = schema.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| bad("its schema has a record without fields"))?;
        let fields = fields.iter().map(|field| {
            let kind = field.get("type");
            let kind = kind.ok_or_else(|| bad("its schema has a field without a type"))?;
            self.add(kind, &inner)
        });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        self.all[id] = Shape::Record(fields);
        Ok(id)
    }

    /// Remembers a named type; gives the namespace of the names in it.
    fn name(&mut self, schema: &Map<String, Value>, namespace: &str, id: ShapeId) -> String {
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        let namespace = text("namespace").unwrap_or(namespace);
        let full = full_name(text("name").unwrap_or_default(), namespace);
        let inner = full.rsplit_once('.').map_or("", |(space, _)| space);
        let inner = inner.to_owned();
        self.named.insert(full, id);
        inner
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

pub(super) fn bad(why: &str) -> Error {
    Error::data(
        "bad_manifest",
        format!("an Avro file cannot be read: {why}"),
    )
}
