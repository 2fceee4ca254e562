//! Connectors: the systems that payloads come from and rows go to, one folder for each system.
//!
//! A component is one folder plus one line in [`SOURCES`] or [`SINKS`]; what the source and the sink of a system share lies
//! beside them. A connector never reaches the lake, its catalog or the journals of pushes: what it needs of a run comes
//! in its context.

pub mod file;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod postgres;
#[cfg(feature = "kafka")]
pub mod schema_registry;
pub mod sink;
pub mod source;
pub mod stdout;
pub mod telemetry;

use forebay_config::find_component;
use forebay_core::Result;

use sink::SinkKind;
use source::SourceKind;

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");

/// The sources, in the order of the reference.
pub const SOURCES: &[&dyn SourceKind] = &[
    &http::Kind,
    &file::source::Kind,
    #[cfg(feature = "kafka")]
    &kafka::source::Kind,
];

/// The sinks, in the order of the reference.
pub const SINKS: &[&dyn SinkKind] = &[
    &postgres::sink::Kind,
    #[cfg(feature = "kafka")]
    &kafka::sink::Kind,
    &stdout::Kind,
    &file::sink::Kind,
];

/// The source of this name.
pub fn find_source(name: &str) -> Result<&'static dyn SourceKind> {
    find_component(SOURCES, "source", name)
}

/// The sink of this name.
pub fn find_sink(name: &str) -> Result<&'static dyn SinkKind> {
    find_component(SINKS, "sink", name)
}
