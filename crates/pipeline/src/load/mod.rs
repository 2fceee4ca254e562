//! Sinks: where rows end.
//!
//! Promise of a sink: what [`Sink::commit`] returned Ok for is durable and visible; what it returned an error for is
//! not, except `Unavailable` `unknown`. The `iceberg` sink moves the position in the same commit; other sinks say so
//! when they give less.

pub mod file;
pub mod iceberg;
pub mod stdout;

use std::fmt;

use async_trait::async_trait;
use forebay_core::{Batch, Error, Result};
use schemars::Schema;

use crate::file::Document;

/// Every sink there is, in the order of the reference.
pub const SINKS: &[&dyn SinkKind] = &[&iceberg::Kind, &stdout::Kind, &file::Kind];

/// A kind of sink: what a pipeline file may write under `load:`.
pub trait SinkKind: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> Schema;
    fn build(&self, config: &Document) -> Result<Box<dyn Target>>;
}

/// A configured sink.
pub trait Target: fmt::Debug + Send + Sync {
    /// Where rows go, for people: `quakes.events`.
    fn describe(&self) -> String;

    /// The lake table that the rows are appended to, when the sink is the lake itself: the run then puts rows,
    /// position, quarantine and raw index in one commit.
    fn lake(&self) -> Option<&iceberg::IcebergTarget> {
        None
    }

    /// Opens the sink for a run (not called when [`Self::lake`] is given).
    fn open(&self, project: &std::path::Path) -> Result<Box<dyn Sink>> {
        let _ = project;
        Err(Error::bug("no_sink", "this target writes through the lake"))
    }
}

/// Takes batches and makes them durable at each commit.
#[async_trait]
pub trait Sink: Send {
    async fn write(&mut self, batch: Batch) -> Result<()>;
    async fn commit(&mut self) -> Result<()>;
}

/// The kind of this name.
pub fn find(name: &str) -> Result<&'static dyn SinkKind> {
    SINKS
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| Error::config("unknown_component", format!("there is no sink `{name}`")))
}
