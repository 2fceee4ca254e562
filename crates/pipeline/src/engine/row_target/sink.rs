//! A sink of a connector as the target.

use forebay_connectors::sink::{Delivered, Sink};
use forebay_core::{Batch, Rejected, Result};
use tokio::runtime::Handle;

use super::RowTarget;
use crate::engine::commit::CommitUnit;
use crate::engine::steps::Steps;

pub(super) struct SinkTarget {
    sink: Box<dyn Sink>,
    runtime: Handle,
}

impl SinkTarget {
    pub(super) fn new(sink: Box<dyn Sink>, runtime: Handle) -> Self {
        Self { sink, runtime }
    }
}

impl RowTarget for SinkTarget {
    fn write(&mut self, _: &mut CommitUnit, _: &mut Steps, batch: Batch) -> Result<Vec<Rejected>> {
        self.runtime.block_on(self.sink.write(batch))
    }

    fn flush(&mut self) -> Result<Vec<Rejected>> {
        self.runtime.block_on(self.sink.flush())
    }

    fn mark(&mut self) -> Result<()> {
        self.runtime.block_on(self.sink.mark())
    }

    fn undo(&mut self) -> Result<()> {
        self.runtime.block_on(self.sink.undo())
    }

    fn deliver(&mut self, sequence: i64, delivered: Delivered) -> Result<()> {
        self.runtime.block_on(self.sink.commit(sequence, delivered))
    }

    fn withdraw(&mut self) -> Result<()> {
        self.runtime.block_on(self.sink.withdraw())
    }

    fn end(&mut self, _: &mut CommitUnit, _: &mut Steps) -> Result<bool> {
        self.runtime.block_on(self.sink.end())?;
        Ok(false)
    }
}
