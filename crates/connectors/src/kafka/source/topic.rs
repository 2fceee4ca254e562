//! Metadata of a topic in the cluster: its partitions, and their offsets.

use std::collections::BTreeMap;

use forebay_core::{Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::config::Start;
use super::topic_id::read_topic_id;
use crate::kafka::client::{ASK_TIMEOUT, Listener, failed};

/// The offsets that a partition has: the first, and the one after the last.
pub(super) type Extent = (i64, i64);

/// Queries the cluster. Blocks.
pub(super) struct Topic<'c> {
    pub(super) consumer: &'c BaseConsumer<Listener>,
    /// Whether partitions are already read: then messages wait in the consumer's queue.
    pub(super) is_read: bool,
    pub(super) name: &'c str,
}

impl Topic<'_> {
    pub(super) fn failed(&self, what: &str, error: rdkafka::error::KafkaError) -> Error {
        // Errors of the library wait in the queue until it is polled. Polling also takes a message, if there is one,
        // which would be lost.
        if !self.is_read {
            self.consumer.poll(std::time::Duration::ZERO);
        }
        failed(
            &format!("{what} of topic `{}`", self.name),
            error,
            self.consumer.context().trouble(),
        )
    }

    fn partitions(&self) -> Result<Vec<i32>> {
        let what = "read the partitions";
        let metadata = self.consumer.fetch_metadata(Some(self.name), ASK_TIMEOUT);
        let metadata = metadata.map_err(|error| self.failed(what, error))?;
        let topic = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == self.name);
        if let Some(error) = topic.and_then(|topic| topic.error()) {
            let error = rdkafka::error::KafkaError::MetadataFetch(error.into());
            return Err(self.failed(what, error));
        }
        let partitions: Vec<i32> = topic
            .map(|topic| {
                topic
                    .partitions()
                    .iter()
                    .map(|partition| partition.id())
                    .collect()
            })
            .unwrap_or_default();
        if partitions.is_empty() {
            let what = format!("topic `{}` has no partitions", self.name);
            return Err(Error::not_found("kafka_no_topic", what)
                .with_hint("create the topic, or correct `topic`"));
        }
        Ok(partitions)
    }

    /// The id of the topic, where the cluster has ids.
    pub(super) fn id(&self) -> Result<Option<String>> {
        let id = read_topic_id(self.consumer.client(), self.name, ASK_TIMEOUT);
        id.map_err(|error| self.failed("read the id", error))
    }

    pub(super) fn extent(&self, partition: i32) -> Result<Extent> {
        let extent = self
            .consumer
            .fetch_watermarks(self.name, partition, ASK_TIMEOUT);
        extent.map_err(|error| {
            self.failed(&format!("read the offsets of partition {partition}"), error)
        })
    }

    /// The extents of the selected partitions.
    pub(super) fn extents(&self, is_wanted: impl Fn(i32) -> bool) -> Result<BTreeMap<i32, Extent>> {
        let wanted = self.partitions()?.into_iter();
        let wanted = wanted.filter(|partition| is_wanted(*partition));
        wanted
            .map(|partition| Ok((partition, self.extent(partition)?)))
            .collect()
    }

    /// The start offsets of partitions without a position.
    pub(super) fn starts(
        &self,
        start: Start,
        extents: &BTreeMap<i32, Extent>,
    ) -> Result<BTreeMap<i32, i64>> {
        let by = |place: fn(&Extent) -> i64| {
            extents
                .iter()
                .map(|(partition, extent)| (*partition, place(extent)))
                .collect()
        };
        match start {
            Start::Earliest => Ok(by(|extent| extent.0)),
            Start::Latest => Ok(by(|extent| extent.1)),
            Start::At(time) => self.starts_at(time.millis(), extents),
        }
    }

    fn starts_at(
        &self,
        millis: i64,
        extents: &BTreeMap<i32, Extent>,
    ) -> Result<BTreeMap<i32, i64>> {
        let mut times = TopicPartitionList::new();
        for partition in extents.keys() {
            let added = times.add_partition_offset(self.name, *partition, Offset::Offset(millis));
            added.map_err(|error| self.failed("look up the start time", error))?;
        }
        let found = self.consumer.offsets_for_times(times, ASK_TIMEOUT);
        let found = found
            .map_err(|error| self.failed("look up the start time in the partitions", error))?;
        let mut starts = BTreeMap::new();
        for element in found.elements() {
            element
                .error()
                .map_err(|error| self.failed("look up the start time in a partition", error))?;
            let partition = element.partition();
            let end = extents.get(&partition).map_or(0, |extent| extent.1);
            // No message is that new: start after the last.
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                _ => end,
            };
            starts.insert(partition, offset);
        }
        Ok(starts)
    }
}
