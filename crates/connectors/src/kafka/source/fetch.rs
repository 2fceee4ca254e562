//! The fetching thread: receives messages from the client library and passes payloads on, with backpressure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::messages::MESSAGES_MAX;
use forebay_core::{Chunk, Error, ErrorKind, Position, Result};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::mpsc;

use super::batch::{Queue, Taken};
use super::config::{Config, Lost};
use super::output::{Output, recreated};
use super::pack::Packer;
use super::position::Place;
use super::share::{Share, Starts};
use super::topic::{Extent, Topic};
use super::unreadable::{Probe, is_unreadable};
use crate::kafka::client::{Listener, at};
use crate::source::SourceContext;

/// Payloads between the thread and the run.
pub(super) const CHUNKS_MAX: usize = 2;

/// Messages of one call to the client library, and how long it may wait for them.
const TAKEN_MAX: usize = 8192;
const LINGER: Duration = Duration::from_millis(20);

/// How often the cluster is asked for new partitions.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

pub(super) struct Fetch {
    config: Config,
    share: Share,
    context: SourceContext,
    queue: Queue,
    output: Output,
    /// Partitions that are read, and the end offset of each in a run that does not follow.
    ends: BTreeMap<i32, i64>,
    looked: Duration,
}

impl Fetch {
    /// Queries the cluster and starts to read. Blocks.
    pub(super) fn open(
        config: Config,
        share: Share,
        position: Option<&Position>,
        context: SourceContext,
        chunks: mpsc::Sender<Result<Chunk>>,
    ) -> Result<Self> {
        let consumer = Arc::new(consumer(&config, &context)?);
        let place = match position.filter(|_| !context.full) {
            Some(position) => Place::read(position, &config.topic)?,
            None => Place::new(&config.topic),
        };
        let is_new = context.full || position.is_none();
        let queue = Queue::new(consumer.clone(), TAKEN_MAX)
            .ok_or_else(|| Error::bug("kafka_queue", "the client library has no queue"))?;
        let packer = Packer::new(place, messages_max(&context), config.registry.is_some());
        let mut fetch = Self {
            output: Output::new(packer, consumer, &config, &context, chunks)?,
            looked: context.clock.monotonic(),
            config,
            share,
            context,
            queue,
            ends: BTreeMap::new(),
        };
        fetch.begin(is_new)?;
        Ok(fetch)
    }

    fn topic(&self) -> Topic<'_> {
        Topic {
            consumer: self.queue.consumer(),
            is_read: !self.ends.is_empty(),
            name: &self.config.topic,
        }
    }

    /// Starts to read the partitions that are not read yet.
    fn begin(&mut self, is_new: bool) -> Result<()> {
        // Before the offsets: whatever is created after it is found when the first messages are passed on.
        let is_another = self.is_another_topic()?;
        let is_unread =
            |partition| self.share.has(partition) && !self.ends.contains_key(&partition);
        let extents = self.topic().extents(is_unread)?;
        if extents.is_empty() {
            return Ok(());
        }
        // A partition added later is read from its first message: it was empty before.
        let starts = match is_new {
            true => self.topic().starts(self.config.start, &extents)?,
            false => extents
                .iter()
                .map(|(partition, extent)| (*partition, extent.0))
                .collect(),
        };
        for (partition, extent) in &extents {
            match self.output.packer.place.next.get(partition) {
                Some(next) if is_another => self.start_again(*partition, *next, *extent)?,
                Some(next) => self.check_extent(*partition, *next, *extent)?,
                None => {
                    let start = starts.get(partition).copied().unwrap_or(extent.0);
                    self.output.packer.place.next.insert(*partition, start);
                }
            }
            self.ends.insert(*partition, extent.1);
        }
        self.assign(extents.keys().copied())
    }

    /// Whether the topic of the position was deleted, and this one created under its name. Notes the id.
    ///
    /// Errors: `Conflict` `topic_recreated` when partitions of the other are being read.
    fn is_another_topic(&mut self) -> Result<bool> {
        let id = self.topic().id()?;
        let known = &mut self.output.packer.place.topic_id;
        let is_another = known.is_some() && id.is_some() && *known != id;
        if is_another && !self.ends.is_empty() {
            return Err(recreated(&self.config.topic));
        }
        *known = id.or(known.take());
        Ok(is_another)
    }

    /// The offsets of another topic mean nothing here: reads the partition from its beginning, if losses are accepted.
    fn start_again(&mut self, partition: i32, next: i64, (first, _): Extent) -> Result<()> {
        let topic = &self.config.topic;
        let what = format!("{topic}/{partition} was read to {next}, then the topic was recreated");
        self.lose(partition, next, first, what)
    }

    fn assign(&self, partitions: impl Iterator<Item = i32>) -> Result<()> {
        let next = &self.output.packer.place.next;
        let places =
            partitions.map(|partition| (partition, next.get(&partition).copied().unwrap_or(0)));
        let list = at(&self.config.topic, places)?;
        let assigned = self.queue.consumer().incremental_assign(&list);
        assigned.map_err(|error| self.topic().failed("read partitions", error))
    }

    /// Checks that the position is inside the offsets of the partition.
    fn check_extent(&mut self, partition: i32, next: i64, (first, end): Extent) -> Result<()> {
        let topic = &self.config.topic;
        if next < first {
            let what = format!(
                "messages {next} to {} of {topic}/{partition} are lost: the topic deleted them before they were read",
                first - 1
            );
            self.lose(partition, next, first, what)
        } else if next > end {
            let what = format!(
                "{topic}/{partition} ends at {end}, but was read to {next} before: the topic was recreated or truncated"
            );
            self.lose(partition, next, first, what)
        } else {
            Ok(())
        }
    }

    fn lose(&mut self, partition: i32, from: i64, to: i64, what: String) -> Result<()> {
        if self.config.lost == Lost::Stop {
            return Err(Error::data("messages_lost", what)
                .with_hint("to continue after them and record the loss in the quarantine table, set `lost: continue`"));
        }
        tracing::warn!("{what}");
        self.output.packer.lose(partition, from, to, what);
        Ok(())
    }

    /// Starts the thread.
    pub(super) fn start(self) -> Result<()> {
        let thread = std::thread::Builder::new().name("kafka-fetch".to_owned());
        thread.spawn(move || self.run()).map(drop).map_err(|error| {
            Error::unavailable("no_thread", "failed to start a thread").with_source(error)
        })
    }

    /// Reads until the end, or until the receiver is dropped.
    fn run(mut self) {
        if let Err(error) = self.read() {
            self.output.fail(error);
        }
    }

    fn read(&mut self) -> Result<()> {
        while !self.output.is_closed() && !self.context.cancel.is_cancelled() {
            if !self.take()? || (!self.context.follow && self.ends.is_empty()) {
                break;
            }
            self.report()?;
            self.look_again()?;
        }
        Ok(())
    }

    /// Receives one batch and passes its payloads on; `false` when the receiver is dropped.
    fn take(&mut self) -> Result<bool> {
        let mut stopped = Vec::new();
        let mut gone = false;
        {
            let batch = self.queue.take(LINGER);
            let mut headers = Vec::new();
            for taken in batch.iter() {
                // Messages after an unreadable batch are read again later: here they would move the position past the batch.
                if stopped.iter().any(|stop: &Stop| stop.hides(&taken)) {
                    continue;
                }
                match taken.error() {
                    None => {
                        self.output.packer.push(&taken, &mut headers);
                        finish_reached(
                            &mut self.ends,
                            self.context.follow,
                            taken.partition(),
                            taken.offset() + 1,
                        );
                    }
                    Some(RDKafkaErrorCode::PartitionEOF) if !self.context.follow => {
                        self.ends.remove(&taken.partition());
                    }
                    Some(RDKafkaErrorCode::PartitionEOF) => {}
                    Some(code) => stopped.push(Stop::of(&taken, code)),
                }
                if self.output.packer.is_full() && !self.output.hand_on()? {
                    gone = true;
                    break;
                }
            }
        }
        for stop in stopped {
            self.stopped(stop)?;
        }
        Ok(!gone && self.output.hand_on()?)
    }

    /// Handles an error in place of a message.
    fn stopped(&mut self, stop: Stop) -> Result<()> {
        match stop.code {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                self.out_of_range(stop.partition)
            }
            code if is_unreadable(code) => self.unreadable(&stop),
            code if is_passing(code) => {
                tracing::warn!(
                    topic = self.config.topic,
                    "Kafka: {}; the client retries",
                    stop.text
                );
                Ok(())
            }
            code => Err(self.topic().failed(
                "read messages",
                rdkafka::error::KafkaError::MessageConsumption(code),
            )),
        }
    }

    /// The cluster has no message at the position.
    fn out_of_range(&mut self, partition: i32) -> Result<()> {
        let extent = self.topic().extent(partition)?;
        let next = self
            .output
            .packer
            .place
            .next
            .get(&partition)
            .copied()
            .unwrap_or(extent.0);
        self.check_extent(partition, next, extent)?;
        self.read_anew(partition)
    }

    /// A batch cannot be read: all of it is lost, and nothing else.
    fn unreadable(&mut self, stop: &Stop) -> Result<()> {
        let topic = self.config.topic.clone();
        let partition = stop.partition;
        let next = &self.output.packer.place.next;
        let next = next.get(&partition).copied().unwrap_or(stop.offset);
        let end = self.topic().extent(partition)?.1;
        let asking = consumer(&self.config, &self.context)?;
        let clock = self.context.clock.clone();
        let mut probe = Probe::new(asking, clock.as_ref(), &topic, partition)
            .ok_or_else(|| Error::bug("kafka_queue", "the client library has no queue"))?;
        match probe.unreadable(next, end)? {
            Some(gone) => {
                let what = format!(
                    "messages {} to {} of {topic}/{partition} cannot be read: {}",
                    gone.from,
                    gone.to - 1,
                    gone.text
                );
                self.lose(partition, gone.from, gone.to, what)?;
            }
            // The error was from a lost place in the client library, or from the transport.
            None => tracing::warn!(
                topic,
                partition,
                next,
                "Kafka: {}; reading the partition again",
                stop.text
            ),
        }
        self.read_anew(partition)
    }

    /// Reads a partition again from the position; discards the messages of it in the client library.
    fn read_anew(&mut self, partition: i32) -> Result<()> {
        let list = at(&self.config.topic, [(partition, 0)])?;
        let left = self.queue.consumer().incremental_unassign(&list);
        left.map_err(|error| self.topic().failed("restart reading a partition", error))?;
        self.assign(std::iter::once(partition))
    }

    /// Checks for added partitions.
    fn look_again(&mut self) -> Result<()> {
        let now = self.context.clock.monotonic();
        if !self.context.follow || now.saturating_sub(self.looked) < LOOK_AGAIN {
            return Ok(());
        }
        self.looked = now;
        match self.begin(false) {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "failed to check for new partitions");
                Ok(())
            }
            done => done,
        }
    }

    /// Reports the committed position to the consumer group for lag monitors.
    fn report(&mut self) -> Result<()> {
        if self.config.report_to.is_none() || !self.context.committed.has_changed().unwrap_or(false)
        {
            return Ok(());
        }
        let Some(position) = self.context.committed.borrow_and_update().clone() else {
            return Ok(());
        };
        let place = Place::read(&position, &self.config.topic)?;
        let list = at(&self.config.topic, place.next)?;
        if let Err(error) = self.queue.consumer().commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "failed to report the position to the consumer group");
        }
        Ok(())
    }
}

/// An error in place of a message.
struct Stop {
    code: RDKafkaErrorCode,
    partition: i32,
    offset: i64,
    text: String,
}

impl Stop {
    fn of(taken: &Taken<'_>, code: RDKafkaErrorCode) -> Self {
        Self {
            code,
            partition: taken.partition(),
            offset: taken.offset(),
            text: taken.error_text(),
        }
    }

    /// Whether a message comes after an unreadable batch.
    fn hides(&self, taken: &Taken<'_>) -> bool {
        is_unreadable(self.code) && self.partition == taken.partition()
    }
}

/// Errors that the client library handles itself.
fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::Resolve
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError
            | Code::ReplicaNotAvailable
    )
}

/// Messages of a payload: a commit can only follow a payload.
fn messages_max(context: &SourceContext) -> usize {
    match context.packs {
        true => context.chunk_records.unwrap_or(MESSAGES_MAX),
        false => 1,
    }
}

fn finish_reached(ends: &mut BTreeMap<i32, i64>, follow: bool, partition: i32, next: i64) {
    if !follow && ends.get(&partition).is_some_and(|end| next >= *end) {
        ends.remove(&partition);
    }
}

fn consumer(config: &Config, context: &SourceContext) -> Result<BaseConsumer<Listener>> {
    let group = config
        .report_to
        .clone()
        .unwrap_or_else(|| format!("forebay-{}", context.pipeline));
    let mut properties = config.cluster.properties();
    for (name, value) in [
        ("group.id", group.as_str()),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "error"),
        ("isolation.level", config.isolation.name()),
        ("check.crcs", "true"),
    ] {
        properties.set(name, value);
    }
    for (name, value) in [
        // Memory: limits the messages and bytes queued in the client library.
        ("queued.min.messages", "10000"),
        ("queued.max.messages.kbytes", "16384"),
        // The wait before it fetches again when the queue is full; its default of one second starves the reader.
        ("fetch.queue.backoff.ms", "20"),
        ("fetch.wait.max.ms", "100"),
    ] {
        if !config.cluster.options.contains_key(name) {
            properties.set(name, value);
        }
    }
    properties
        .create_with_context(Listener::default())
        .map_err(|error| {
            Error::config(
                "kafka_client",
                format!("the client library rejected the settings: {error}"),
            )
        })
}

/// The start offsets of a topic that has not been read, in every partition. Blocks.
pub(super) fn starts(config: &Config, context: &SourceContext) -> Result<Starts> {
    let consumer = consumer(config, context)?;
    let topic = Topic {
        consumer: &consumer,
        is_read: false,
        name: &config.topic,
    };
    let topic_id = topic.id()?;
    let next = topic.starts(config.start, &topic.extents(|_| true)?)?;
    Ok(Starts { next, topic_id })
}
