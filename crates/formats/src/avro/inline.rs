//! A schema that refers to others of the registry, as one text: each is inlined where it is first named, names are split
//! for the decoder, and a schema other than a record is wrapped in one.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::registry_schema::Schema;
use crate::wire::Unreadable;

/// Deepest nesting of a schema, references written out.
const DEPTH_MAX: usize = 128;

pub(super) fn inline(schema: &Schema) -> Result<Value, Unreadable> {
    let parse = |text: &str| -> Result<Value, Unreadable> {
        let bad = |error: serde_json::Error| {
            Unreadable::new("bad_schema", format!("the schema is not JSON: {error}"))
        };
        serde_json::from_str(text).map_err(bad)
    };
    let mut named = HashMap::new();
    for reference in &schema.references {
        named.insert(reference.name.clone(), parse(&reference.schema)?);
    }
    let mut whole = parse(&schema.schema)?;
    write_out(&mut whole, &mut named, DEPTH_MAX)?;
    Ok(in_record(whole))
}

/// The column of a message that is not a record.
const VALUE: &str = "value";

/// Wraps a schema other than a record (a union of records, a text) as the only field of one: a record adds nothing to the
/// bytes of its fields.
fn in_record(schema: Value) -> Value {
    if schema.get("type").and_then(Value::as_str) == Some("record") {
        return schema;
    }
    let fields = json!([{"name": VALUE, "type": schema}]);
    json!({"type": "record", "name": "MessageThatIsNoRecord", "fields": fields})
}

/// A name with dots is a namespace and a name; the decoder wants them apart.
fn qualify(object: &mut Map<String, Value>) {
    let named = matches!(object.get("type"), Some(Value::String(kind)) if ["record", "enum", "fixed"].contains(&kind.as_str()));
    let name = object.get("name").and_then(Value::as_str).filter(|_| named);
    let Some((namespace, name)) = name.and_then(|name| name.rsplit_once('.')) else {
        return;
    };
    let namespace = namespace.to_owned();
    let name = name.to_owned();
    object.insert("namespace".to_owned(), Value::String(namespace));
    object.insert("name".to_owned(), Value::String(name));
}

/// Inlines the first mention of each name; inlined schemas are removed from `named`.
fn write_out(
    value: &mut Value,
    named: &mut HashMap<String, Value>,
    depth: usize,
) -> Result<(), Unreadable> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Unreadable::new(
            "bad_schema",
            "the schema is nested too deep",
        ));
    };
    match value {
        Value::String(name) => {
            if let Some(mut definition) = named.remove(name.as_str()) {
                write_out(&mut definition, named, depth)?;
                *value = definition;
            }
            Ok(())
        }
        Value::Array(branches) => branches
            .iter_mut()
            .try_for_each(|branch| write_out(branch, named, depth)),
        Value::Object(object) => {
            qualify(object);
            // Only these hold types; names, defaults and docs may be any text.
            for key in ["type", "items", "values"] {
                if let Some(inner) = object.get_mut(key) {
                    write_out(inner, named, depth)?;
                }
            }
            match object.get_mut("fields") {
                Some(Value::Array(fields)) => fields
                    .iter_mut()
                    .try_for_each(|field| write_out(field, named, depth)),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
