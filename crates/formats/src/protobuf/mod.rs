//! `extract: protobuf`: messages of a registry, each a Protobuf message.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! A message becomes what its JSON is (<https://protobuf.dev/programming-guides/json/>), with 64-bit integers as numbers and fields
//! under their own names, and then a row as [`crate::json`] makes it: bytes are base64, enums their names, timestamps
//! RFC 3339. Fields without presence that are not set have their default. The schema is compiled when its id first comes.

mod bounded;
mod nesting;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use forebay_core::{Error, PayloadHead, Result};
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::bounded::Bounded;
use self::schema::Compiled;
use super::contract::{Contract, ContractPolicy};
use super::json::{self, Json, Nested};
use super::wire::{self, Unreadable};
use super::{Extracted, Extraction, Extractor, ExtractorKind, Value};
use crate::framing::Framing;
use forebay_config::{Component, Document};

/// Largest JSON of a message, in bytes. Each message in it has all its fields there, though an empty one takes two bytes.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Bytes of JSON that are handed on together, about.
const TOGETHER_BYTES: usize = 16 << 20;

/// `extract: {protobuf: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads Protobuf messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProtobufConfig {
    /// Handling of messages and repeated fields inside a message.
    pub nested: Nested,
}

#[derive(Debug)]
struct Protobuf {
    json: Json,
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "protobuf"
    }

    fn summary(&self) -> &'static str {
        "Protobuf messages whose schemas are in a registry"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<ProtobufConfig>()
    }
}

impl ExtractorKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>> {
        let ProtobufConfig { nested } = config.parse()?;
        let json = Json::new(json::Config {
            lines: Some(false),
            nested,
            ..json::Config::default()
        })?;
        Ok(Box::new(Protobuf { json }))
    }
}

impl Extractor for Protobuf {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn takes_messages(&self) -> bool {
        true
    }

    fn needs_registry(&self) -> bool {
        true
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        _records: Option<&str>,
    ) -> Result<Box<dyn Extraction>> {
        Ok(Box::new(ProtobufExtraction {
            json: self.json.start(contract, policy, None)?,
            known: wire::Known::new(),
        }))
    }
}

struct ProtobufExtraction {
    json: Box<dyn Extraction>,
    known: wire::Known<Compiled>,
}

impl ProtobufExtraction {
    fn compiled(&mut self, head: &PayloadHead, id: u32) -> Result<Result<&Compiled, Unreadable>> {
        let known = self.known.of(id, || {
            let schema = wire::schema(head, id, "PROTOBUF")?;
            Ok(schema.and_then(|schema| Compiled::new(&schema)))
        })?;
        Ok(known.map(|compiled| &*compiled))
    }

    /// Adds the message's JSON to `text`.
    fn convert(
        &mut self,
        head: &PayloadHead,
        message: &[u8],
        text: &mut Vec<u8>,
    ) -> Result<Result<(), Unreadable>> {
        let (id, body) = match wire::split(message) {
            Ok(parts) => parts,
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        let found = self
            .compiled(head, id)?
            .and_then(|compiled| compiled.message(body));
        Ok(found.and_then(|(kind, content)| to_json(kind, content, text)))
    }
}

fn to_json(kind: MessageDescriptor, content: &[u8], text: &mut Vec<u8>) -> Result<(), Unreadable> {
    let bad = |what: String| Unreadable::new("bad_protobuf", what);
    let message = DynamicMessage::decode(kind, content).map_err(|error| bad(error.to_string()))?;
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let from = text.len();
    let mut bounded = Bounded::new(&mut *text, TEXT_BYTES_MAX);
    let mut serializer = serde_json::Serializer::new(&mut bounded);
    let written = message.serialize_with_options(&mut serializer, &options);
    let is_full = bounded.is_full();
    written.map_err(|error| {
        text.truncate(from);
        match is_full {
            true => Unreadable::new("too_large", too_large()),
            false => bad(error.to_string()),
        }
    })
}

fn too_large() -> String {
    let most = TEXT_BYTES_MAX >> 20;
    format!("the message has more than {most} MiB as JSON, with the defaults of its fields")
}

impl Extraction for ProtobufExtraction {
    fn push(&mut self, _: &Arc<PayloadHead>, _: &[u8], _: &mut Extracted) -> Result<()> {
        let what =
            "the extractor `protobuf` reads messages of a registry, but the source reads files";
        Err(Error::config("needs_messages", what))
    }

    fn end(&mut self, _: &Arc<PayloadHead>, _: Option<Error>, _: &mut Extracted) -> Result<()> {
        Ok(())
    }

    fn messages(
        &mut self,
        head: &Arc<PayloadHead>,
        bytes: &[u8],
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        let mut text = Vec::new();
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            let message = &bytes[value.bytes.clone()];
            let from = text.len();
            match self.convert(head, message, &mut text)? {
                Ok(()) => texts.push(Value {
                    bytes: from..text.len(),
                    at: value.at,
                }),
                Err(unreadable) => out.rejected.push(unreadable.refuse(head, value, message)),
            }
            if text.len() >= TOGETHER_BYTES {
                self.json.messages(head, &text, &texts, out)?;
                text.clear();
                texts.clear();
            }
        }
        self.json.messages(head, &text, &texts, out)
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        self.json.flush(out)
    }

    fn pending_rows(&self) -> u64 {
        self.json.pending_rows()
    }

    fn contract(&self) -> Contract {
        self.json.contract()
    }
}
