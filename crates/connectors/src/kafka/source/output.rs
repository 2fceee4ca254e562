//! Passes payloads on to the run: the messages so far, with the schemas that they need.
//!
//! A topic that was deleted and created again under the same name has other messages at the same offsets. So the id of the
//! topic is read after the messages, and before they are passed on: no id is ever given twice, so an unchanged one shows
//! that all of them are of the topic whose offsets the position has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_core::{Chunk, Clock, Error, Result};
use forebay_formats::registry_schema;
use rdkafka::consumer::BaseConsumer;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::config::Config;
use super::pack::Packer;
use super::topic::Topic;
use crate::kafka::client::Listener;
use crate::schema_registry::Registry;
use crate::source::SourceContext;

/// The payload that is being packed, and where finished ones go.
pub(super) struct Output {
    pub(super) packer: Packer,
    schemas: Schemas,
    consumer: Arc<BaseConsumer<Listener>>,
    clock: Arc<dyn Clock>,
    chunks: mpsc::Sender<Result<Chunk>>,
}

impl Output {
    pub(super) fn new(
        packer: Packer,
        consumer: Arc<BaseConsumer<Listener>>,
        config: &Config,
        context: &SourceContext,
        chunks: mpsc::Sender<Result<Chunk>>,
    ) -> Result<Self> {
        Ok(Self {
            packer,
            schemas: Schemas::new(config, context)?,
            consumer,
            clock: context.clock.clone(),
            chunks,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.chunks.is_closed()
    }

    /// Passes on what is packed. Returns `false` when the receiver is dropped. Blocks.
    ///
    /// Errors: as [`Self::check_topic_id`]; then nothing of it is passed on.
    pub(super) fn hand_on(&mut self) -> Result<bool> {
        if self.packer.is_empty() {
            return Ok(true);
        }
        self.check_topic_id()?;
        let attributes = self.schemas.attributes(self.packer.schemas())?;
        match self.packer.finish(self.clock.as_ref(), attributes)? {
            Some(chunk) => Ok(self.chunks.blocking_send(Ok(chunk)).is_ok()),
            None => Ok(true),
        }
    }

    /// Passes on an error in place of a payload.
    pub(super) fn fail(&self, error: Error) {
        // Fails only when the receiver is dropped.
        let _ = self.chunks.blocking_send(Err(error));
    }

    /// Errors: `Conflict` `topic_recreated` when the topic of that name is not the one of the position, or is gone: the next
    /// run finds out what that means.
    fn check_topic_id(&self) -> Result<()> {
        let place = &self.packer.place;
        let Some(known) = &place.topic_id else {
            return Ok(());
        };
        let topic = Topic {
            consumer: &self.consumer,
            is_read: true,
            name: &place.topic,
        };
        match topic.id()? {
            Some(id) if id == *known => Ok(()),
            Some(_) => Err(recreated(&place.topic)),
            None => {
                let what = format!("topic `{}` was deleted while it was read", place.topic);
                Err(Error::conflict("topic_deleted", what))
            }
        }
    }
}

/// The topic is not the one that was begun.
pub(super) fn recreated(topic: &str) -> Error {
    let what = format!("topic `{topic}` was recreated while it was read");
    Error::conflict("topic_recreated", what)
        .with_hint("the next run tells what is lost, and goes on as `lost` says")
}

/// The schemas that go with payloads.
struct Schemas {
    registry: Option<Registry>,
    runtime: Handle,
}

impl Schemas {
    fn new(config: &Config, context: &SourceContext) -> Result<Self> {
        let registry = config
            .registry
            .clone()
            .map(|registry| Registry::new(registry, context.clock.clone()));
        Ok(Self {
            registry: registry.transpose()?,
            runtime: Handle::current(),
        })
    }

    /// An id unknown to the registry has none: the extractor rejects its messages.
    fn attributes(&mut self, ids: BTreeSet<u32>) -> Result<BTreeMap<String, String>> {
        let mut attributes = BTreeMap::new();
        let Some(registry) = &mut self.registry else {
            return Ok(attributes);
        };
        for id in ids {
            if let Some(schema) = self.runtime.block_on(registry.schema(id))? {
                attributes.insert(registry_schema::attribute(id), schema.to_string());
            }
        }
        Ok(attributes)
    }
}
