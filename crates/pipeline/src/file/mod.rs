//! The pipeline file: strict YAML with a place for every error.
//!
//! Reading it is three steps: text to a [`Document`] that knows the place of each value, the document against the JSON
//! Schema that the components' configurations generate (all errors at once), the document to typed values. Nothing
//! here does I/O except [`load`].

mod diagnostic;
mod document;
mod resolve;
mod schema;
mod spec;
mod validate;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use document::{Document, Place, Span};
pub use resolve::{Resolver, Variables};
pub use schema::pipeline_schema;
pub use spec::{BufferSpec, PipelineSpec, RawSpec, Step, load, parse};
pub use validate::validate;
