//! A pipeline as its file describes it, typed.

use std::path::Path;
use std::sync::Arc;

use forebay_core::unit::{Size, Span};
use forebay_core::{Ident, SqlEngine};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extract::Extractor;
use crate::extract::contract::ContractPolicy;
use crate::file::{Diagnostics, Variables};
use crate::load::Target;
use crate::source::Source;
use crate::transform::Transform;

/// `raw:` in a pipeline file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSpec {
    /// A raw object is sealed at this size.
    pub object_bytes: Size,
    /// zstd level of what is not compressed already, 1 to 19.
    #[schemars(range(min = 1, max = 19))]
    pub level: i32,
}

impl Default for RawSpec {
    fn default() -> Self {
        Self { object_bytes: Size(128 << 20), level: 1 }
    }
}

/// `buffer:` in a pipeline file: a commit is made when the first of the three is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BufferSpec {
    /// Rows of all tables of the pipeline.
    #[schemars(range(min = 1))]
    pub rows: u64,
    /// Bytes of payload, uncompressed.
    pub bytes: Size,
    /// Time since the first row of the buffer came.
    pub time: Span,
}

impl Default for BufferSpec {
    fn default() -> Self {
        Self { rows: 2_000_000, bytes: Size(512 << 20), time: Span(std::time::Duration::from_secs(60)) }
    }
}

/// One `transform:` element, with its name for messages.
#[derive(Debug)]
pub struct Step {
    pub name: String,
    pub transform: Box<dyn Transform>,
}

/// A checked pipeline, ready to run.
#[derive(Debug)]
pub struct PipelineSpec {
    pub name: Ident,
    pub source: Box<dyn Source>,
    /// `records` of the source, for extractors that take a path.
    pub records: Option<String>,
    pub raw: RawSpec,
    pub extract: Box<dyn Extractor>,
    pub schema: ContractPolicy,
    pub transform: Vec<Step>,
    pub buffer: BufferSpec,
    pub load: Box<dyn Target>,
    /// SHA-256 of the file's text, recorded with each run.
    pub digest: String,
}

/// Reads and checks a pipeline file. All errors of the file come at once.
#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
pub fn load(path: &Path, variables: &dyn Variables, engine: &Arc<dyn SqlEngine>) -> Result<PipelineSpec, Diagnostics> {
    unimplemented!()
}

/// [`load`] from text; `path` is only for messages.
#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
pub fn parse(path: &str, text: &str, variables: &dyn Variables, engine: &Arc<dyn SqlEngine>) -> Result<PipelineSpec, Diagnostics> {
    unimplemented!()
}
