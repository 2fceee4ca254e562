//! The sink of one split: messages in a transaction, ended by the position.

use std::collections::BTreeSet;

use async_trait::async_trait;
use forebay_core::{Batch, Error, Origins, Rejected, Result};

use super::Config;
use super::encode::Encoded;
use super::positions::{self, Found};
use super::producer::Producer;
use crate::sink::{Delivered, STAGE, Sink, SinkContext, Standing};

/// Largest message, key and value, unless the cluster's options raise it: the default limit of brokers, less the overhead
/// of the frame.
const MESSAGE_BYTES_MAX: usize = 1_000_000 - 1_024;

pub(super) struct KafkaSink {
    config: Config,
    epoch: i64,
    /// Key of this split's positions.
    key: String,
    producer: Producer,
    standing: Option<Found>,
    message_bytes_max: usize,
    /// Topics that are known to exist.
    topics: BTreeSet<String>,
    /// Messages after a mark, which may be taken back.
    marked: Option<Vec<Prepared>>,
}

/// Messages of a batch.
struct Prepared {
    topic: String,
    encoded: Encoded,
    /// Those that are not rejected.
    rows: Vec<usize>,
}

impl KafkaSink {
    pub(super) async fn open(config: Config, context: SinkContext) -> Result<Self> {
        let SinkContext {
            pipeline,
            branch,
            split,
            epoch,
            ..
        } = &context;
        let key = format!("{}/{pipeline}/{branch}/{split}", config.topic);
        positions::ensure(&config.cluster, &config.positions, true).await?;
        let id = format!("forebay-{}", key.replace('/', "-"));
        let opened = config.clone();
        let read = key.clone();
        let opening = tokio::task::spawn_blocking(move || {
            // The topic's content is final only after every other producer is fenced.
            let producer = Producer::new(&opened.cluster, &id)?;
            let standing = positions::read(&opened.cluster, &opened.positions, &read)?;
            Ok::<_, Error>((producer, standing))
        });
        let (producer, standing) = opening.await.map_err(|error| {
            Error::bug("kafka_task", "opening a topic panicked").with_source(error)
        })??;
        if let Some(found) = standing.as_ref().filter(|found| found.epoch > *epoch) {
            let what = format!(
                "epoch {} has written to topic `{}` after epoch {epoch} started",
                found.epoch, config.topic
            );
            return Err(Error::conflict("stale_epoch", what));
        }
        let set = config
            .cluster
            .options
            .get("message.max.bytes")
            .and_then(|bytes| bytes.parse::<usize>().ok());
        Ok(Self {
            message_bytes_max: set.map_or(MESSAGE_BYTES_MAX, |bytes| bytes.saturating_sub(1_024)),
            epoch: *epoch,
            config,
            key,
            producer,
            standing,
            topics: BTreeSet::new(),
            marked: None,
        })
    }

    /// Makes messages of a batch; oversized ones are rejected.
    async fn prepare(&mut self, batch: &Batch) -> Result<(Prepared, Vec<Rejected>)> {
        let topic = match batch.child.as_str() {
            "" => self.config.topic.clone(),
            child => format!("{}.{child}", self.config.topic),
        };
        if !self.topics.contains(&topic) {
            positions::ensure(&self.config.cluster, &topic, false).await?;
            self.topics.insert(topic.clone());
        }
        let key = self
            .config
            .key
            .as_deref()
            .filter(|_| batch.child.is_empty());
        let encoded = Encoded::new(&batch.records, key)?;
        let mut rows = Vec::with_capacity(encoded.len());
        let mut refused = Vec::new();
        for row in 0..encoded.len() {
            let value = encoded.value(row);
            if value.len() + encoded.key(row).map_or(0, str::len) > self.message_bytes_max {
                refused.push(self.too_large(batch.origins.as_ref(), row, value)?);
            } else {
                rows.push(row);
            }
        }
        Ok((
            Prepared {
                topic,
                encoded,
                rows,
            },
            refused,
        ))
    }

    fn send(&mut self, prepared: &Prepared) -> Result<()> {
        let Prepared {
            topic,
            encoded,
            rows,
        } = prepared;
        for row in rows {
            self.producer
                .send(topic, None, encoded.key(*row), Some(encoded.value(*row)))?;
        }
        Ok(())
    }

    fn too_large(&self, origins: Option<&Origins>, row: usize, value: &[u8]) -> Result<Rejected> {
        let what = format!(
            "the row's message has {} bytes, more than the {} allowed",
            value.len(),
            self.message_bytes_max
        );
        let hint = "raise `message.max.bytes` of the topic and under `cluster.options`";
        let Some(origins) = origins else {
            return Err(Error::data("message_too_large", what).with_hint(hint));
        };
        Ok(Rejected {
            payload: Some(origins.payloads[row]),
            extent: Some(origins.extent(row)),
            offset: Some(origins.offsets[row]),
            line: origins.line(row),
            stage: STAGE.to_owned(),
            code: "message_too_large".to_owned(),
            reason: format!("{what}: {hint}"),
            record: value[..value.len().min(forebay_core::quarantine::RECORD_BYTES_MAX)].to_vec(),
        })
    }

    /// Keeps the messages after the mark.
    fn settle(&mut self) -> Result<()> {
        for prepared in self.marked.take().unwrap_or_default() {
            self.send(&prepared)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn write(&mut self, batch: Batch) -> Result<Vec<Rejected>> {
        let (prepared, refused) = self.prepare(&batch).await?;
        match &mut self.marked {
            Some(marked) => marked.push(prepared),
            None => self.send(&prepared)?,
        }
        Ok(refused)
    }

    async fn commit(&mut self, sequence: i64, delivered: Delivered) -> Result<()> {
        self.settle()?;
        let place = (self.epoch, sequence + 1);
        positions::write(
            &mut self.producer,
            &self.config.positions,
            &self.key,
            place,
            Some(&delivered),
        )?;
        self.producer.commit()
    }

    fn standing(&mut self) -> Option<Standing> {
        let found = self.standing.take();
        Some(Standing {
            sequence: found.as_ref().map(|found| found.sequence),
            last: found.and_then(|found| found.last),
        })
    }

    async fn adopt(&mut self, sequence: i64) -> Result<()> {
        positions::write(
            &mut self.producer,
            &self.config.positions,
            &self.key,
            (self.epoch, sequence),
            None,
        )?;
        self.producer.commit()
    }

    async fn mark(&mut self) -> Result<()> {
        self.settle()?;
        self.marked = Some(Vec::new());
        Ok(())
    }

    async fn undo(&mut self) -> Result<()> {
        self.marked = Some(Vec::new());
        Ok(())
    }
}
