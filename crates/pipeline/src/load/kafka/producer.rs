//! The transactional producer: begins, sends and commits on the calling thread, which may block.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forebay_core::{Error, Result};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};

use crate::connect::kafka::{Cluster, Listener, failed};
use crate::load::TARGET_GONE;

/// How long the cluster may take to begin or end a transaction.
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the cluster is asked for the end of a transaction, so long each time; after that the positions topic tells.
const ENDS_MAX: u32 = 5;
/// How long a transaction may stay open; the most that brokers allow unless they are told otherwise.
const OPEN_MAX: &str = "900000";
/// Pause while the queue of the client library is full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Listens to deliveries.
#[derive(Debug, Default)]
struct Deliveries {
    listener: Listener,
    /// Why the first message that could not be delivered was not.
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
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.get_or_insert_with(|| error.clone());
        }
    }
}

/// A producer of one split. One at most can commit: a newer one of the same id fences those before it.
pub(super) struct Producer {
    inner: ThreadedProducer<Deliveries>,
    is_open: bool,
}

impl Producer {
    /// Makes it, ends what an earlier one has left open, and fences that one. Blocks.
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
                    format!("the client library refuses the settings: {error}"),
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

    /// Adds a message to the transaction, which begins with its first. Blocks while the queue is full.
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
                // Asked again, the answer is that of the same commit.
                KafkaError::Transaction(passing) if passing.is_retriable() && asked < ENDS_MAX => {
                    tracing::warn!(error = %passing, "the cluster has not answered a commit; asking again");
                    asked += 1;
                }
                _ => {
                    let mut refused = self
                        .inner
                        .context()
                        .refused
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
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
                let what =
                    format!("another process writes for this split now; this one may not {what}");
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
            // What is not committed goes; if this fails, the next producer of the split aborts it.
            let _ = self.inner.abort_transaction(Duration::from_secs(5));
        }
    }
}
