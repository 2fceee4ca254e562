//! A target outside of the lake that keeps its own position, in memory, and broken ones.

use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use forebay_connectors::sink::{Delivered, Sink, SinkContext, Standing, Target};
use forebay_core::{Batch, Error, Rejected, Result};

use super::fate::Life;

/// A mistake that a sink could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    None,
    /// Every process may write, whoever has taken the split since.
    NoFence,
    /// The position is a transaction of its own, after the rows.
    LatePosition,
    /// The position comes first.
    EarlyPosition,
    /// The lake's part of the last commit is not kept.
    NoOutbox,
}

/// What is durable.
#[derive(Debug, Default)]
pub(super) struct Content {
    epoch: i64,
    sequence: Option<i64>,
    last: Option<Delivered>,
    /// Numbers of the records.
    pub(super) rows: Vec<u64>,
}

/// The target, as every process sees it.
#[derive(Debug, Clone)]
pub(super) struct MemoryTarget {
    pub(super) content: Arc<Mutex<Content>>,
    pub(super) mistake: Mistake,
    pub(super) life: Arc<Life>,
}

impl MemoryTarget {
    pub(super) fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    fn fence(&self, epoch: i64) -> Result<()> {
        if self.lock().epoch > epoch && self.mistake != Mistake::NoFence {
            let what = "another process has taken the split";
            return Err(Error::conflict("stale_epoch", what));
        }
        Ok(())
    }
}

#[async_trait]
impl Target for MemoryTarget {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn is_transactional(&self) -> bool {
        true
    }

    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        self.life.event().await?;
        self.fence(context.epoch)?;
        let standing = {
            let mut content = self.lock();
            content.epoch = context.epoch;
            Standing {
                sequence: content.sequence,
                last: content.last.clone(),
            }
        };
        self.life.event().await?;
        Ok(Box::new(MemorySink {
            target: self.clone(),
            epoch: context.epoch,
            standing: Some(standing),
            rows: Vec::new(),
        }))
    }
}

struct MemorySink {
    target: MemoryTarget,
    epoch: i64,
    standing: Option<Standing>,
    rows: Vec<u64>,
}

impl MemorySink {
    /// Errors: `Conflict` when the target has another position.
    fn check(&self, sequence: i64) -> Result<()> {
        self.target.fence(self.epoch)?;
        let has = self.target.lock().sequence;
        if has.is_some_and(|has| has != sequence) && self.target.mistake != Mistake::NoFence {
            let what = format!("the target has {has:?} commits, not {sequence}");
            return Err(Error::conflict("stale_epoch", what));
        }
        Ok(())
    }

    fn move_position(&self, sequence: i64, mut delivered: Delivered) {
        if self.target.mistake == Mistake::NoOutbox {
            delivered.outbox = Vec::new();
        }
        let mut content = self.target.lock();
        content.sequence = Some(sequence + 1);
        content.last = Some(delivered);
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn write(&mut self, batch: Batch) -> Result<Vec<Rejected>> {
        self.target.life.event().await?;
        if batch.child.is_empty()
            && let Some(ids) = batch.records.column_by_name("id")
        {
            let ids = ids.as_primitive::<Int64Type>().values().iter();
            self.rows.extend(ids.map(|id| u64::try_from(*id).unwrap()));
        }
        Ok(Vec::new())
    }

    async fn commit(&mut self, sequence: i64, delivered: Delivered) -> Result<()> {
        self.target.life.event().await?;
        self.check(sequence)?;
        let rows = std::mem::take(&mut self.rows);
        match self.target.mistake {
            Mistake::LatePosition => {
                self.target.lock().rows.extend(rows);
                self.target.life.event().await?;
                self.move_position(sequence, delivered);
            }
            Mistake::EarlyPosition => {
                self.move_position(sequence, delivered);
                self.target.life.event().await?;
                self.target.lock().rows.extend(rows);
            }
            _ => {
                self.target.lock().rows.extend(rows);
                self.move_position(sequence, delivered);
            }
        }
        self.target.life.event().await
    }

    fn standing(&mut self) -> Option<Standing> {
        self.standing.take()
    }

    async fn adopt(&mut self, sequence: i64) -> Result<()> {
        self.target.life.event().await?;
        self.target.fence(self.epoch)?;
        self.target.lock().sequence = Some(sequence);
        Ok(())
    }
}
