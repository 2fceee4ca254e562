//! The pipeline file: strict YAML with a place for every error.
//!
//! Reading it is three steps: text to a [`Document`] that knows the place of each value, the document against the JSON
//! Schema that the components' configurations generate (all errors at once), the document to typed values. Nothing
//! here does I/O except [`load`].

mod diagnostic;
mod document;
mod place;
mod resolve;
mod schema;
mod spec;
pub(crate) mod suggest;
mod toml;
mod typed;
mod validate;
mod yaml;

pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics};
pub use document::Document;
pub use place::{Place, Span};
pub use resolve::{Resolved, SECRET_VARIABLE_PREFIX, Variables, resolve};
pub use schema::pipeline_schema;
pub use spec::{BufferSpec, PipelineSpec, RawSpec, ScheduleSpec, Step, load, parse};
pub use validate::validate;
pub use yaml::{DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX};
