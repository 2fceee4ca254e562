//! Parts of a pipeline that a file chooses by name: a source, an extractor, a transform, a sink.

use std::fmt;

use forebay_core::{Error, Result};
use schemars::{Schema, SchemaGenerator};

/// The kind of a part, by the key that chooses it.
pub trait Component: fmt::Debug + Send + Sync {
    /// The key in the pipeline file.
    fn name(&self) -> &'static str;
    /// One line for `forebay components`.
    fn summary(&self) -> &'static str;
    /// A whole pipeline file that uses it, for the reference.
    fn example(&self) -> &'static str;
    /// JSON Schema of its configuration.
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;
}

/// The one of this name among the kinds of a stage.
///
/// Errors: `Config` `unknown_component`.
pub fn find_component<'a, K: Component + ?Sized>(
    kinds: &[&'a K],
    stage: &str,
    name: &str,
) -> Result<&'a K> {
    let found = kinds.iter().copied().find(|kind| kind.name() == name);
    found.ok_or_else(|| Error::config("unknown_component", format!("unknown {stage} `{name}`")))
}
