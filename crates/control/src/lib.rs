//! Deciding when a pipeline runs.
//!
//! Knows pipelines as [`forebay_pipeline::file::PipelineSpec`] and what it takes to run one through [`orchestrate::Site`];
//! it opens no store, no folder and no port itself.

pub mod orchestrate;
