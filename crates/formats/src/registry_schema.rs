//! A schema of a schema registry, as it is stored with the payloads that need it.
//!
//! Never asks a registry: a payload can be extracted again when that is long gone.

use serde::{Deserialize, Serialize};

/// A schema with all its references, as stored with the payloads that need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// `AVRO`, `JSON` or `PROTOBUF`.
    #[serde(rename = "type")]
    pub kind: String,
    pub schema: String,
    /// By the name under which it is referred to; dependencies come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub schema: String,
}

/// The attribute of a payload that holds the schema of an id, as JSON of [`Schema`].
pub fn attribute(id: u32) -> String {
    format!("schema.{id}")
}
