//! Deciding when a pipeline runs.
//!
//! Knows pipelines as [`forebay_pipeline::spec::PipelineSpec`] and runs one through [`orchestrate::Site`];
//! it opens no store, no folder and no port itself.

pub mod orchestrate;

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");
