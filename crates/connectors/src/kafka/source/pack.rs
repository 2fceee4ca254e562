//! Packs messages into payloads.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use forebay_core::messages::{MESSAGES_BYTES, MESSAGES_MAX};
use forebay_core::{
    Chunk, Clock, Message, MessagesBuilder, PayloadHead, Rejected, Result, Timestamp,
};

use super::batch::{Header, Taken};
use super::position::Place;
use forebay_formats::confluent;

/// Collects messages of a payload, and tracks the position after them.
pub(super) struct Packer {
    /// The offset of the next message of each partition.
    pub(super) place: Place,
    /// Most messages of a payload.
    count_max: usize,
    ordinal: u64,
    /// Partition and offset of the first message.
    first: Option<(i32, i64)>,
    bytes: Vec<u8>,
    messages: MessagesBuilder,
    refused: Vec<Rejected>,
    /// Ids of the schemas of the messages, when they are in the wire format of a registry.
    schemas: Option<BTreeSet<u32>>,
}

impl Packer {
    /// A payload has at most `count_max` messages.
    pub(super) fn new(place: Place, count_max: usize, has_registry: bool) -> Self {
        Self {
            place,
            count_max: count_max.clamp(1, MESSAGES_MAX),
            ordinal: 0,
            first: None,
            bytes: Vec::new(),
            messages: MessagesBuilder::default(),
            refused: Vec::new(),
            schemas: has_registry.then(BTreeSet::new),
        }
    }

    /// Adds a message at or after the position in its partition. Returns whether it was.
    pub(super) fn push<'b>(&mut self, taken: &Taken<'b>, headers: &mut Vec<Header<'b>>) -> bool {
        let partition = taken.partition();
        let offset = taken.offset();
        let next = self.place.next.entry(partition).or_insert(offset);
        if offset < *next {
            return false;
        }
        *next = offset + 1;
        headers.clear();
        let readable = taken.headers(headers);
        let value = taken.value();
        if !readable {
            headers.clear();
            let what = "skipped headers: a name is not UTF-8";
            tracing::warn!(topic = self.place.topic, partition, offset, "{what}");
        }
        if let (Some(schemas), Some((id, _))) =
            (&mut self.schemas, value.and_then(confluent::split))
        {
            schemas.insert(id);
        }
        self.first.get_or_insert((partition, offset));
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.messages.push(&Message {
            partition,
            offset,
            timestamp: taken
                .timestamp()
                .map(|millis| Timestamp(millis.saturating_mul(1000))),
            key: taken.key(),
            headers,
            length: value.map(<[u8]>::len),
        });
        true
    }

    /// Records lost messages, and continues after them.
    pub(super) fn lose(&mut self, partition: i32, from: i64, to: i64, reason: String) {
        self.first.get_or_insert((partition, from));
        self.place.next.insert(partition, to);
        self.refused.push(Rejected {
            payload: Some(self.ordinal),
            extent: None,
            offset: None,
            line: None,
            stage: "source".to_owned(),
            code: "messages_lost".to_owned(),
            reason,
            record: Vec::new(),
        });
    }

    /// Whether there is nothing to pass on.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= MESSAGES_BYTES || self.messages.len() >= self.count_max
    }

    /// Ids of the schemas needed by the payload so far.
    pub(super) fn schemas(&mut self) -> BTreeSet<u32> {
        self.schemas
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The payload so far, if there is one.
    pub(super) fn finish(
        &mut self,
        clock: &dyn Clock,
        attributes: BTreeMap<String, String>,
    ) -> Result<Option<Chunk>> {
        let Some((partition, offset)) = self.first.take() else {
            return Ok(None);
        };
        let messages = self.messages.finish()?;
        let head = PayloadHead {
            ordinal: self.ordinal,
            name: format!("{}/{partition}@{offset}", self.place.topic),
            received_at: clock.now(),
            content_type: None,
            compression: Default::default(),
            attributes,
            messages: Some(messages.into()),
        };
        self.ordinal += 1;
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        self.bytes = Vec::with_capacity(bytes.len());
        let mut chunk = Chunk::whole(head, bytes, Some(self.place.write()?));
        chunk.refused = std::mem::take(&mut self.refused);
        Ok(Some(chunk))
    }
}
