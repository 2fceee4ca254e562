//! The raw zone of another pipeline: each payload as it came, in the order in which it was kept.
//!
//! ```yaml
//! pipeline: orders_out
//! source:
//!   raw: {pipeline: orders}
//! extract:
//!   json: {}
//! load:
//!   stdout: {}
//! ```
//!
//! What was asked for once is loaded as often as it is wanted: into another table, by another extractor, or into a target
//! that is slow or away for a day, while the first pipeline goes on taking what comes. Positions are places in the table
//! `raw.<pipeline>`, read by snapshot as [`table`](super::table) does; a payload that goes on behind a commit is read once all of
//! it is there. The bytes are not kept twice: this pipeline's own raw index names the objects of the first. What the first
//! pipeline has refused, or knew to be lost, is told in its quarantine and not here.

mod reader;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use forebay_core::{Ident, PayloadHead, Position, Result, TableName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::extract::message::{MessageColumns, MessageRules, Tombstones};
use crate::file::Document;
use crate::source::table::{Changes, Start};
use crate::source::{Source, SourceContext, SourceKind, SplitReader};

/// `source: {raw: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads what another pipeline has kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RawSource")]
pub struct Config {
    /// The pipeline that keeps it, on the branch that the run writes to.
    #[schemars(with = "String", regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    pub pipeline: Ident,
    /// What the first run reads.
    #[serde(default)]
    pub start: Start,
    /// What to do when the raw zone has changed in another way than by what was kept.
    #[serde(default)]
    pub changes: Changes,
    /// Where the records of a payload are, such as `data.items`.
    #[serde(default)]
    pub records: Option<String>,
    /// Columns that say what came with a message, where payloads pack messages.
    #[serde(default)]
    pub columns: MessageColumns,
    /// What becomes of a message without a value.
    #[serde(default)]
    pub tombstones: Tombstones,
}

impl SourceKind for Kind {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn summary(&self) -> &'static str {
        "what another pipeline has kept in the raw zone"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Source>> {
        let raw: Config = config.parse()?;
        raw.columns.check(config)?;
        let rules = MessageRules {
            columns: raw.columns.clone(),
            tombstones: raw.tombstones,
            only: false,
        };
        let table = TableName::new("raw".parse()?, raw.pipeline.clone());
        Ok(Box::new(Raw {
            config: raw,
            rules,
            table,
        }))
    }
}

/// A configured raw zone.
#[derive(Debug)]
struct Raw {
    config: Config,
    rules: MessageRules,
    table: TableName,
}

#[async_trait]
impl Source for Raw {
    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let position = position.filter(|_| !context.full);
        let rules = (self.config.start, self.config.changes);
        let wants_messages = self.rules.columns.names().next().is_some();
        let table = self.table.clone();
        let reader = reader::Reader::open(table, rules, wants_messages, position, context)?;
        Ok(Box::new(reader))
    }

    fn is_continuous(&self) -> bool {
        true
    }

    fn messages(&self) -> Option<&MessageRules> {
        Some(&self.rules)
    }

    /// The pipeline whose payloads they are may have one.
    fn has_registry(&self) -> bool {
        true
    }
}

/// The payloads that this very pipeline has kept, in the order in which they were: what a source has taken before.
pub(in crate::source) struct KeptPayloads(reader::Reader);

/// One of them, whole.
pub(in crate::source) struct KeptPayload {
    pub(in crate::source) head: Arc<PayloadHead>,
    /// As they came.
    pub(in crate::source) bytes: Bytes,
}

impl KeptPayloads {
    /// Those that have this attribute with this value.
    pub(in crate::source) fn open(
        context: SourceContext,
        attribute: (String, String),
    ) -> Result<Self> {
        let table = TableName::new("raw".parse()?, context.pipeline.clone());
        let rules = (Start::All, Changes::Full);
        let context = SourceContext {
            follow: false,
            ..context
        };
        let reader = reader::Reader::open(table, rules, false, None, context)?;
        Ok(Self(reader.only(attribute)))
    }

    /// The next one, or `None` behind the last.
    pub(in crate::source) async fn next(&mut self) -> Result<Option<KeptPayload>> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.0.next().await? {
            bytes.extend_from_slice(&chunk.bytes);
            if chunk.last {
                return Ok(Some(KeptPayload {
                    head: chunk.head,
                    bytes: bytes.freeze(),
                }));
            }
        }
        Ok(None)
    }
}
