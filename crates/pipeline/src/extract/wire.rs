//! Messages in Confluent's wire format: which schema each has.
//!
//! The schemas come with the payload, as attributes that the source wrote ([`registry::attribute`]), so that a payload can be
//! extracted again when the registry is long gone.

#[cfg(feature = "kafka")]
use std::sync::Arc;

use forebay_core::Result;
#[cfg(feature = "kafka")]
use forebay_core::{Error, PayloadHead};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "kafka")]
use crate::connect::registry::{self, Schema};
use crate::connect::wire;

/// What stands before the content of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// Nothing.
    #[default]
    Plain,
    /// A zero byte and the id of its schema in the source's `registry` (Confluent's wire format).
    Confluent,
}

/// Why a message cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) code: &'static str,
    pub(super) reason: String,
}

impl Unreadable {
    pub(super) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { code, reason }
    }
}

/// The id of a message's schema, and its content.
pub(super) fn split(message: &[u8]) -> Result<(u32, &[u8]), Unreadable> {
    wire::split(message).ok_or_else(|| {
        Unreadable::new(
            "not_wire_format",
            "the message does not begin with a zero byte and the id of a schema",
        )
    })
}

#[cfg(feature = "kafka")]
/// The schema of an id, as it came with the payload.
pub(super) fn schema(
    head: &PayloadHead,
    id: u32,
    kind: &str,
) -> Result<Result<Arc<Schema>, Unreadable>> {
    let Some(text) = head.attributes.get(&registry::attribute(id)) else {
        let what = format!("the registry knows no schema {id}");
        return Ok(Err(Unreadable::new("unknown_schema", what)));
    };
    let schema: Schema = serde_json::from_str(text).map_err(|error| {
        Error::data(
            "bad_schema_attribute",
            format!(
                "the schema {id} that came with {} cannot be read",
                head.name
            ),
        )
        .with_source(error)
    })?;
    if schema.kind != kind {
        let what = format!("schema {id} is {}, not {kind}", schema.kind);
        return Ok(Err(Unreadable::new("other_schema", what)));
    }
    Ok(Ok(Arc::new(schema)))
}
