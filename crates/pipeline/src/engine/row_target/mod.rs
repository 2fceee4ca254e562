//! Where the rows of a run or a replay go: the lake itself, or a sink of a connector.
//!
//! Both are a [`RowTarget`], so that the stages know neither. The lake's rows become part of the [`CommitUnit`]; a sink keeps
//! its rows to itself until [`RowTarget::deliver`].

mod lake;
pub(crate) mod misfits;
mod sink;

use arrow::array::RecordBatch;
use forebay_connectors::sink::{Delivered, Sink};
use forebay_core::{Batch, Error, Position, Rejected, Result};
use tokio::runtime::Handle;

use super::commit::CommitUnit;
use super::steps::Steps;
use crate::platform::iceberg::IcebergTarget;
use crate::spec::PipelineSpec;

/// Takes the rows of commits. Blocks.
pub(in crate::engine) trait RowTarget: Send {
    /// Takes rows, in extractor order. Rejected records may be returned now or by [`Self::flush`].
    fn write(
        &mut self,
        unit: &mut CommitUnit,
        steps: &mut Steps,
        batch: Batch,
    ) -> Result<Vec<Rejected>>;

    /// Returns the rejected records of everything written so far; after it nothing else of that is rejected.
    fn flush(&mut self) -> Result<Vec<Rejected>> {
        Ok(Vec::new())
    }

    /// Marks a position among the uncommitted rows; [`Self::undo`] takes back the rows written after it, unless all of them
    /// were rejected.
    fn mark(&mut self) -> Result<()> {
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes an empty target with the columns of a result that has no rows, unless it is there.
    fn create(&mut self, unit: &mut CommitUnit, records: &RecordBatch) -> Result<()> {
        let _ = (unit, records);
        Ok(())
    }

    /// The next commit has the rows of everything up to this position of a source that reads by passes.
    fn note_read(&mut self, unit: &mut CommitUnit, position: &Position) {
        let _ = (unit, position);
    }

    /// Writes that into the target, where its rows stay.
    fn set_noted(&mut self, unit: &mut CommitUnit) -> Result<()> {
        let _ = unit;
        Ok(())
    }

    /// Makes the rows durable, before the catalog does the rest.
    fn deliver(&mut self, sequence: i64, delivered: Delivered) -> Result<()> {
        let _ = (sequence, delivered);
        Ok(())
    }

    /// Takes back the rows of the last [`Self::deliver`], where a target can: the catalog has refused them.
    fn withdraw(&mut self) -> Result<()> {
        Ok(())
    }

    /// The source has been read to its end, and all of it is committed. Returns whether there is something more to commit.
    fn end(&mut self, unit: &mut CommitUnit, steps: &mut Steps) -> Result<bool>;
}

/// The target of a pipeline. `sink` is the one of a pipeline that does not load into the lake.
pub(in crate::engine) fn row_target(
    spec: &PipelineSpec,
    sink: Option<Box<dyn Sink>>,
    runtime: &Handle,
) -> Result<Box<dyn RowTarget>> {
    Ok(match sink {
        Some(sink) => Box::new(sink::SinkTarget::new(sink, runtime.clone())),
        None => Box::new(lake::LakeTarget::new(spec)?),
    })
}

/// The table that the pipeline loads.
///
/// Errors: `Unsupported` for any other target.
pub(in crate::engine) fn lake_target(spec: &PipelineSpec) -> Result<IcebergTarget> {
    spec.load
        .lake()
        .cloned()
        .ok_or_else(|| not_in_the_lake(spec))
}

pub(in crate::engine) fn not_in_the_lake(spec: &PipelineSpec) -> Error {
    let name = &spec.name;
    let sink = spec.load.describe();
    Error::unsupported(
        "not_in_the_lake",
        format!("{name} loads into {sink}, not into a table of the lake"),
    )
}
