//! The JSON Schema of a pipeline file, put together from the tables of components.

use forebay_config::Document;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::checks::ChecksSpec;
use super::components::{Stage, components, own_extractor};
use super::{RawSpec, ScheduleSpec};
use crate::buffer::BufferSpec;
use forebay_formats::contract::ContractPolicy;

/// A pipeline file with every section, for the reference.
pub const PIPELINE_EXAMPLE: &str = include_str!("example.yaml");

/// JSON Schema (2020-12) of a pipeline file, for editors and for the check. Its properties are in flow order.
pub fn pipeline_schema() -> Schema {
    let mut generator = SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator();
    let properties = properties(&mut generator);
    let mut schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pipeline",
        "description": "A Forebay pipeline: from a source to a committed table.",
        "type": "object",
        "properties": properties,
        "required": ["pipeline", "source", "load"],
        "additionalProperties": false,
    });
    schema.insert(
        "$defs".to_owned(),
        Value::Object(generator.take_definitions(true)),
    );
    schema
}

/// The schema of this file: a source that brings no extractor along needs one.
pub(super) fn schema_of(document: &Document) -> Schema {
    let source = document.get("source").and_then(|source| source.single());
    let own = source.and_then(|(name, _)| own_extractor(&name));
    let mut schema = pipeline_schema();
    if own.is_none() {
        let required = json!(["pipeline", "source", "extract", "load"]);
        schema.insert("required".to_owned(), required);
    }
    schema
}

fn properties(generator: &mut SchemaGenerator) -> Value {
    let [sources, extractors, transforms, sinks] = Stage::ALL.map(|stage| {
        let kinds = components(stage).into_iter();
        let kinds = kinds.map(|kind| (kind.name(), kind.summary(), kind.schema(generator)));
        kinds.collect::<Vec<_>>()
    });
    let step = choice("One step.", transforms);
    json!({
        "pipeline": {
            "description": "Name of the pipeline: lower-case letters, digits and `_`, a letter first.",
            "type": "string",
            "pattern": "^[a-z][a-z0-9_]*$",
            "maxLength": forebay_core::name::IDENT_BYTES_MAX,
        },
        "schedule": described(generator.subschema_for::<ScheduleSpec>(), "When `forebay serve` runs it."),
        "source": choice("Source of the payloads.", sources),
        "raw": described(generator.subschema_for::<RawSpec>(), "How payloads are kept in the raw zone."),
        "extract": choice("How payloads become rows.", extractors),
        "schema": described(generator.subschema_for::<ContractPolicy>(), "Columns of the rows, and the handling of others."),
        "transform": {
            "description": "Steps that change the rows, in order.",
            "type": "array",
            "items": step,
        },
        "buffer": described(generator.subschema_for::<BufferSpec>(), "When a commit is made: when the first of the limits is reached."),
        "load": choice("Target of the rows.", sinks),
        "checks": described(
            generator.subschema_for::<ChecksSpec>(),
            "Statements that must give no row before a run is published, by name.",
        ),
    })
}

fn described(schema: Schema, description: &str) -> Value {
    let mut schema = schema;
    schema.insert("description".to_owned(), description.into());
    schema.to_value()
}

/// A mapping of one key, which chooses the component.
fn choice(description: &str, kinds: Vec<(&str, &str, Schema)>) -> Value {
    let branches = kinds.into_iter().map(|(name, summary, schema)| {
        let mut properties = Map::new();
        properties.insert(name.to_owned(), described(schema, summary));
        json!({ "type": "object", "properties": properties, "required": [name], "additionalProperties": false })
    });
    json!({ "description": description, "oneOf": branches.collect::<Vec<Value>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `visit` for each schema below `schema`, with its path.
    fn walk(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Map<String, Value>)) {
        let Some(keywords) = schema.as_object() else {
            return;
        };
        visit(path, keywords);
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("properties" | "$defs", Value::Object(inner)) => {
                    inner
                        .iter()
                        .for_each(|(name, schema)| walk(&format!("{path}/{name}"), schema, visit));
                }
                ("oneOf" | "anyOf" | "allOf" | "prefixItems", Value::Array(inner)) => {
                    inner
                        .iter()
                        .enumerate()
                        .for_each(|(i, schema)| walk(&format!("{path}/{i}"), schema, visit));
                }
                ("items" | "additionalProperties", schema) => {
                    walk(&format!("{path}/{keyword}"), schema, visit);
                }
                _ => {}
            }
        }
    }

    fn faults(mut fault: impl FnMut(&str, &Map<String, Value>, &mut Vec<String>)) -> Vec<String> {
        let schema = pipeline_schema();
        let mut found = Vec::new();
        walk("", schema.as_value(), &mut |path, keywords| {
            fault(path, keywords, &mut found);
        });
        found
    }

    #[test]
    fn every_property_has_a_description() {
        let schema = pipeline_schema();
        let defined = |target: &str| {
            schema
                .pointer(target.trim_start_matches('#'))
                .and_then(|def| def.get("description"))
        };
        let found = faults(|path, keywords, found| {
            for (name, property) in keywords
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                let target = property.get("$ref").and_then(Value::as_str);
                if property.get("description").is_none() && target.and_then(defined).is_none() {
                    found.push(format!("{path}/{name}"));
                }
            }
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn the_check_knows_every_keyword_of_the_schema() {
        const KNOWN: &[&str] = &[
            "$schema",
            "$defs",
            "$ref",
            "title",
            "description",
            "default",
            "examples",
            "type",
            "format",
            "enum",
            "const",
            "oneOf",
            "anyOf",
            "allOf",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "prefixItems",
            "pattern",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
        ];
        let found = faults(|path, keywords, found| {
            found.extend(
                keywords
                    .keys()
                    .filter(|key| !KNOWN.contains(&key.as_str()))
                    .map(|key| format!("{path}: {key}")),
            );
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn every_pattern_is_a_regular_expression_and_every_mapping_is_closed() {
        let found = faults(|path, keywords, found| {
            let pattern = keywords.get("pattern").and_then(Value::as_str);
            found.extend(
                pattern
                    .filter(|pattern| regex::Regex::new(pattern).is_err())
                    .map(str::to_owned),
            );
            if keywords.contains_key("properties")
                && keywords.get("additionalProperties") != Some(&Value::Bool(false))
            {
                found.push(format!("{path} takes unknown keys"));
            }
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn keys_stand_in_flow_order() {
        let schema = pipeline_schema();
        let keys: Vec<&str> = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(k, _)| k.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "pipeline",
                "schedule",
                "source",
                "raw",
                "extract",
                "schema",
                "transform",
                "buffer",
                "load",
                "checks"
            ]
        );
    }
}
