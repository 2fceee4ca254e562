//! The transactional producer: begins, sends and commits on the calling thread, which may block.

use std::time::Duration;

use forebay_core::{Error, Result};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};

use crate::kafka::client::{Cluster, Listener, failed};
use crate::sink::TARGET_GONE;

/// How long the cluster may take to begin or end a transaction.
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the end of a transaction is retried, each with that timeout; after that the positions topic decides.
const ENDS_MAX: u32 = 5;
/// How long a transaction may stay open; the default maximum of brokers.
const OPEN_MAX: &str = "900000";
/// Pause while the queue of the client library is full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Receives delivery reports.
#[derive(Debug, Default)]
struct Deliveries {
    listener: Listener,
    /// The first delivery error.
    refused: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.listener.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            tracing::debug!(topic = message.topic(), %error, "a message was not delivered");
            let mut refused = self.refused.lock();
            refused.get_or_insert_with(|| error.clone());
        }
    }
}

/// A producer of one split. At most one can commit: a newer one of the same id fences the earlier ones.
pub(super) struct Producer {
    inner: ThreadedProducer<Deliveries>,
    is_open: bool,
}

impl Producer {
    /// Creates the producer, aborts the open transaction of an earlier one, and fences it. Blocks.
    pub(super) fn new(cluster: &Cluster, id: &str) -> Result<Self> {
        let mut properties = cluster.properties();
        for (name, value) in [
            ("transactional.id", id),
            ("enable.idempotence", "true"),
            ("transaction.timeout.ms", OPEN_MAX),
        ] {
            properties.set(name, value);
        }
        for (name, value) in [
            ("linger.ms", "20"),
            ("compression.type", "lz4"),
            ("queue.buffering.max.kbytes", "65536"),
        ] {
            if !cluster.options.contains_key(name) {
                properties.set(name, value);
            }
        }
        let inner: ThreadedProducer<Deliveries> = properties
            .create_with_context(Deliveries::default())
            .map_err(|error| {
                Error::config(
                    "kafka_client",
                    format!("the client library rejected the settings: {error}"),
                )
            })?;
        let producer = Self {
            inner,
            is_open: false,
        };
        producer
            .inner
            .init_transactions(END_TIMEOUT)
            .map_err(|error| producer.failed("begin to write", error))?;
        Ok(producer)
    }

    /// Adds a message to the transaction, which starts with its first. Blocks while the queue is full.
    pub(super) fn send(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&str>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        if !self.is_open {
            self.inner
                .begin_transaction()
                .map_err(|error| self.failed("begin a transaction", error))?;
            self.is_open = true;
        }
        let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic);
        record.partition = partition;
        record.key = key;
        record.payload = value;
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
                {
                    record = back;
                    std::thread::sleep(FULL_PAUSE);
                }
                Err((error, _)) => {
                    return Err(self.failed(&format!("send to topic `{topic}`"), error));
                }
            }
        }
    }

    /// Commits the transaction. Blocks.
    pub(super) fn commit(&mut self) -> Result<()> {
        let mut asked = 1;
        while let Err(error) = self.inner.commit_transaction(END_TIMEOUT) {
            match &error {
                // A retry returns the result of the same commit.
                KafkaError::Transaction(passing) if passing.is_retriable() && asked < ENDS_MAX => {
                    tracing::warn!(error = %passing, "commit timed out, retrying");
                    asked += 1;
                }
                _ => {
                    let mut refused = self.inner.context().refused.lock();
                    let cause = refused.take().unwrap_or(error);
                    drop(refused);
                    return Err(self.failed("commit a transaction", cause));
                }
            }
        }
        self.is_open = false;
        Ok(())
    }

    fn failed(&self, what: &str, error: KafkaError) -> Error {
        let code = match &error {
            KafkaError::Transaction(error) => Some(error.code()),
            error => error.rdkafka_error_code(),
        };
        match code {
            Some(
                RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::InvalidProducerEpoch
                | RDKafkaErrorCode::ProducerFenced,
            ) => {
                let what = format!(
                    "failed to {what}: fenced by another process that writes for this split"
                );
                Error::conflict("stale_epoch", what).with_source(error)
            }
            _ => {
                let error = failed(what, error, self.inner.context().listener.trouble());
                match error.kind().is_retryable() {
                    true => Error::unavailable(TARGET_GONE, error.message().to_owned())
                        .with_source(error),
                    false => error,
                }
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.is_open {
            // Uncommitted messages are discarded; if this fails, the next producer of the split aborts them.
            let _ = self.inner.abort_transaction(Duration::from_secs(5));
        }
    }
}
