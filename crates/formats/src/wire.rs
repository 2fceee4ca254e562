//! Messages in Confluent's wire format: finds the schema of each.
//!
//! The schemas come with the payload, as attributes that the source wrote ([`registry_schema::attribute`]), so that a payload can be
//! extracted again when the registry is long gone.

#[cfg(feature = "kafka")]
use std::collections::HashMap;
#[cfg(feature = "kafka")]
use std::collections::hash_map::Entry;
#[cfg(feature = "kafka")]
use std::sync::Arc;

use forebay_core::Result;
#[cfg(feature = "kafka")]
use forebay_core::quarantine::{Extent, RECORD_BYTES_MAX};
#[cfg(feature = "kafka")]
use forebay_core::{Error, PayloadHead, Rejected};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "kafka")]
use crate::Value;
use crate::confluent;
#[cfg(feature = "kafka")]
use crate::registry_schema::{self, Schema};

/// Schemas that are kept ready.
#[cfg(feature = "kafka")]
const SCHEMAS_MAX: usize = 1_000;

/// The header before the content of a message.
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[cfg(feature = "kafka")]
impl Unreadable {
    /// The message as refused.
    pub(super) fn refuse(self, head: &PayloadHead, value: &Value, message: &[u8]) -> Rejected {
        Rejected {
            payload: Some(head.ordinal),
            extent: Some(Extent::document(value.at, value.bytes.len() as u64)),
            offset: Some(value.at),
            line: None,
            stage: "extract".to_owned(),
            code: self.code.to_owned(),
            reason: self.reason,
            record: message[..message.len().min(RECORD_BYTES_MAX)].to_vec(),
        }
    }
}

/// Compiled schemas, by their ids: bounded by the number in use.
#[cfg(feature = "kafka")]
pub(super) struct Known<T>(HashMap<u32, T>);

#[cfg(feature = "kafka")]
impl<T> Known<T> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    /// The value for this id; `make` is called once, and again for schemas that cannot be read.
    pub(super) fn of(
        &mut self,
        id: u32,
        make: impl FnOnce() -> Result<Result<T, Unreadable>>,
    ) -> Result<Result<&mut T, Unreadable>> {
        if self.0.len() >= SCHEMAS_MAX && !self.0.contains_key(&id) {
            self.0.clear();
        }
        Ok(Ok(match self.0.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match make()? {
                Ok(made) => place.insert(made),
                Err(unreadable) => return Ok(Err(unreadable)),
            },
        }))
    }
}

/// The id of a message's schema, and its content.
pub(super) fn split(message: &[u8]) -> Result<(u32, &[u8]), Unreadable> {
    confluent::split(message).ok_or_else(|| {
        Unreadable::new(
            "not_wire_format",
            "the message does not begin with a zero byte and the id of a schema",
        )
    })
}

#[cfg(feature = "kafka")]
/// The schema of an id, stored with the payload.
pub(super) fn schema(
    head: &PayloadHead,
    id: u32,
    kind: &str,
) -> Result<Result<Arc<Schema>, Unreadable>> {
    let Some(text) = head.attributes.get(&registry_schema::attribute(id)) else {
        let what = format!("schema {id} not found in the registry");
        return Ok(Err(Unreadable::new("unknown_schema", what)));
    };
    let schema: Schema = serde_json::from_str(text).map_err(|error| {
        Error::data(
            "bad_schema_attribute",
            format!("schema {id} stored with {} cannot be read", head.name),
        )
        .with_source(error)
    })?;
    if schema.kind != kind {
        let what = format!("schema {id} is {}, not {kind}", schema.kind);
        return Ok(Err(Unreadable::new("other_schema", what)));
    }
    Ok(Ok(Arc::new(schema)))
}
