//! The raw zone of another pipeline: each payload as received, in the order in which it was stored.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! Data that was fetched once can be loaded any number of times: into another table, by another extractor, or into a
//! target that is slow or unavailable for a day, while the first pipeline continues to ingest. Positions are places in
//! the table `raw.<pipeline>`, read by snapshot as [`table`](super::table) does; a payload that continues in a later
//! commit is read once it is complete. The bytes are not stored twice: this pipeline's own raw index names the objects
//! of the first. Records that the first pipeline rejected, or recorded as lost, are reported in its quarantine and not
//! here.

mod reader;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use forebay_core::{Ident, Position, Result, SqlEngine, TableName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::platform::table::{Changes, Start};
use crate::platform::{PlatformContext, PlatformSource, PlatformSourceKind};
use forebay_config::{Component, Document};
use forebay_connectors::source::{
    PayloadReader, SourceCapabilities, SplitReader, StoredPayload, StoredPayloads,
};
use forebay_formats::message::{MessageColumns, MessageRules, Tombstones};

/// `source: {raw: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads the payloads of another pipeline.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RawSource")]
pub struct Config {
    /// The pipeline whose raw zone is read, on the branch that the run writes to.
    #[schemars(with = "String", regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    pub pipeline: Ident,
    /// Start position of the first run.
    #[serde(default)]
    pub start: Start,
    /// What to do when the raw zone has changed in another way than by new payloads.
    #[serde(default)]
    pub changes: Changes,
    /// Where the records of a payload are, such as `data.items`.
    #[serde(default)]
    pub records: Option<String>,
    /// Columns for message metadata, when payloads pack messages.
    #[serde(default)]
    pub columns: MessageColumns,
    /// How messages without a value are handled.
    #[serde(default)]
    pub tombstones: Tombstones,
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn summary(&self) -> &'static str {
        "the payloads of another pipeline in the raw zone"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }
}

impl PlatformSourceKind for Kind {
    fn build(&self, config: &Document, _: &Arc<dyn SqlEngine>) -> Result<Box<dyn PlatformSource>> {
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
impl PlatformSource for Raw {
    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Box<dyn SplitReader>> {
        let position = position.filter(|_| !context.full);
        let rules = (self.config.start, self.config.changes);
        let wants_messages = self.rules.columns.names().next().is_some();
        let table = self.table.clone();
        let reader = reader::Reader::open(table, rules, wants_messages, position, context)?;
        Ok(Box::new(reader))
    }

    fn capabilities(&self) -> SourceCapabilities<'_> {
        SourceCapabilities {
            is_continuous: true,
            messages: Some(&self.rules),
            // The pipeline that stored the payloads may have one.
            has_registry: true,
            ..SourceCapabilities::default()
        }
    }
}

/// The payloads that a pipeline has stored itself.
pub(crate) struct OwnPayloads(pub(crate) PlatformContext);

#[async_trait]
impl StoredPayloads for OwnPayloads {
    async fn with_attribute(&self, name: &str, value: &str) -> Result<Box<dyn PayloadReader>> {
        let context = self.0.clone().following(false);
        let table = TableName::new("raw".parse()?, context.pipeline.clone());
        let rules = (Start::All, Changes::Full);
        let reader = reader::Reader::open(table, rules, false, None, context)?;
        let attribute = (name.to_owned(), value.to_owned());
        Ok(Box::new(WholePayloads(reader.only(attribute))))
    }
}

/// Joins the chunks of each payload.
struct WholePayloads(reader::Reader);

#[async_trait]
impl PayloadReader for WholePayloads {
    async fn next(&mut self) -> Result<Option<StoredPayload>> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.0.next().await? {
            bytes.extend_from_slice(&chunk.bytes);
            if chunk.last {
                return Ok(Some(StoredPayload {
                    head: chunk.head,
                    bytes: bytes.freeze(),
                }));
            }
        }
        Ok(None)
    }
}
