//! Batches that cannot be read (a wrong checksum, an unknown codec), and where they end.
//!
//! A broker returns whole batches. The client library reports where an unreadable one begins but not where it ends;
//! after it, it loses its place in the broker's response, and then requests the same batch forever
//! (`rd_kafka_msgset_reader_v2` of librdkafka 2.12). So messages after such an error are not trusted: the end of the
//! batch is found by requesting later offsets — the broker returns the batch that contains them — and the partition is
//! read again from there. This module never decides whether messages may be lost.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::batch::Queue;
use crate::kafka::client::{ASK_TIMEOUT, Listener, at, failed};

/// How long one call waits for the broker's answer.
const WAIT: Duration = Duration::from_millis(200);

/// The wait for one assignment before it is repeated.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Whether the error means that a batch cannot be read.
pub(super) fn is_unreadable(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BadMessage | Code::BadCompression | Code::NotImplemented
    )
}

/// The offsets lost to one unreadable batch, half open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) text: String,
}

/// Requests single offsets of a partition. Blocks.
pub(super) struct Probe<'p> {
    pub(super) queue: Queue,
    pub(super) clock: &'p dyn Clock,
    pub(super) topic: &'p str,
    pub(super) partition: i32,
}

impl<'p> Probe<'p> {
    /// `None` when the consumer has no queue.
    pub(super) fn new(
        consumer: BaseConsumer<Listener>,
        clock: &'p dyn Clock,
        topic: &'p str,
        partition: i32,
    ) -> Option<Self> {
        // The first result decides.
        let queue = Queue::new(Arc::new(consumer), 1)?;
        Some(Self {
            queue,
            clock,
            topic,
            partition,
        })
    }

    /// The unreadable batch that contains `next`, or is the next one after it; `None` when the next batch can be read.
    /// `end` is the end of the partition.
    ///
    /// Errors: as for every request to the cluster.
    pub(super) fn unreadable(&mut self, next: i64, end: i64) -> Result<Option<Unreadable>> {
        let Some((base, text)) = self.ask(next)? else {
            return Ok(None);
        };
        let from = next.max(base);
        let to = self.end(base, from, end)?;
        Ok(Some(Unreadable { from, to, text }))
    }

    /// The first offset after the batch that begins at `base` and contains `inside`.
    fn end(&mut self, base: i64, mut inside: i64, end: i64) -> Result<i64> {
        let mut step = 1;
        let mut outside = loop {
            let further = inside.saturating_add(step);
            if further >= end {
                break end.max(inside.saturating_add(1));
            }
            if !self.is_of(base, further)? {
                break further;
            }
            (inside, step) = (further, step.saturating_mul(2));
        };
        while outside - inside > 1 {
            let middle = inside + (outside - inside) / 2;
            match self.is_of(base, middle)? {
                true => inside = middle,
                false => outside = middle,
            }
        }
        Ok(outside)
    }

    fn is_of(&mut self, base: i64, offset: i64) -> Result<bool> {
        Ok(self.ask(offset)?.is_some_and(|(found, _)| found == base))
    }

    /// The beginning and the error of the batch returned for this offset; `None` when it can be read.
    fn ask(&mut self, offset: i64) -> Result<Option<(i64, String)>> {
        let give_up = self.clock.monotonic() + ASK_TIMEOUT;
        while self.clock.monotonic() < give_up {
            let list = at(self.topic, [(self.partition, offset)])?;
            let assigned = self.queue.consumer().assign(&list);
            assigned.map_err(|error| self.failed(error))?;
            if let Some(answer) = self.answer() {
                return Ok(answer);
            }
            tracing::debug!(
                self.topic,
                self.partition,
                offset,
                "requesting the offset again"
            );
        }
        let timeout = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        Err(self.failed(timeout))
    }

    /// The result within [`ANSWER_TIME`]. The client library sometimes reports nothing more of a batch that it could not read.
    fn answer(&mut self) -> Option<Option<(i64, String)>> {
        let give_up = self.clock.monotonic() + ANSWER_TIME;
        while self.clock.monotonic() < give_up {
            let batch = self.queue.take(WAIT);
            let first = batch.iter().next();
            let Some(taken) = first.filter(|taken| taken.partition() == self.partition) else {
                continue;
            };
            match taken.error() {
                None | Some(RDKafkaErrorCode::PartitionEOF) => return Some(None),
                Some(code) if is_unreadable(code) => {
                    return Some(Some((taken.offset(), taken.error_text())));
                }
                // The library retries.
                Some(_) => {}
            }
        }
        None
    }

    fn failed(&self, error: KafkaError) -> Error {
        let what = format!(
            "find the end of a batch that cannot be read, in {}/{}",
            self.topic, self.partition
        );
        failed(&what, error, self.queue.consumer().context().trouble())
    }
}
