//! Transforms: from batches to batches, in the order a pipeline file lists them.
//!
//! Transforms see the main table only; child tables pass unchanged. A transform does no I/O besides SQL through
//! [`SqlEngine`], and never drops a row silently: a row it refuses becomes a [`Rejected`].

pub mod cast;
pub mod check;
pub mod rename;
pub mod sql;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Batch, Error, Rejected, Result, SqlEngine};
use schemars::Schema;

use crate::file::Document;

/// Every transform there is, in the order of the reference.
pub const TRANSFORMS: &[&dyn TransformKind] = &[&sql::Kind, &rename::Kind, &cast::Kind, &check::Kind];

/// A kind of transform: what an element of `transform:` may be.
pub trait TransformKind: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> Schema;
    fn build(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>>;
}

/// One configured step.
#[async_trait]
pub trait Transform: fmt::Debug + Send + Sync {
    /// `stage` is its place, such as `transform[1]`, for what it rejects.
    async fn apply(&self, batch: Batch, stage: &str) -> Result<Transformed>;
}

#[derive(Debug)]
pub struct Transformed {
    pub batch: Batch,
    pub rejected: Vec<Rejected>,
}

/// The kind of this name.
pub fn find(name: &str) -> Result<&'static dyn TransformKind> {
    TRANSFORMS
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| Error::config("unknown_component", format!("there is no transform `{name}`")))
}
