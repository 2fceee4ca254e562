//! Formats: from payloads to typed rows, and rows as text.
//!
//! An extractor is a push parser: chunks in, batches and rejected records out. It holds the contract (the shape of the
//! records, with types) and extends it by policy. It does no I/O and never drops a record: each becomes a row or a
//! [`Rejected`](forebay_core::Rejected). A format is one folder plus one line in [`EXTRACTORS`]. Knows no source, no target and
//! no table.

mod added_columns;
#[cfg(feature = "kafka")]
pub mod avro;
pub mod base64;
pub mod case;
mod column_name;
pub mod confluent;
pub mod contract;
pub mod csv;
pub mod declared_text;
pub mod decode;
mod dialect;
pub mod doubles;
mod extraction;
pub mod file_columns;
pub mod framing;
mod iso_time;
pub mod json;
pub mod learned;
pub mod magic;
pub mod message;
pub mod parquet;
#[cfg(feature = "kafka")]
pub mod protobuf;
pub mod query_rows;
pub mod registry_schema;
pub mod shortest;
pub mod table;
pub mod text;
pub mod untyped;
mod wire;

use forebay_config::find_component;
use forebay_core::Result;

pub use extraction::{
    Extracted, Extraction, Extractor, ExtractorKind, ObjectInput, Outlet, REFUSALS_MAX, Value,
};

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");

/// Every extractor there is, in the order of the reference.
pub const EXTRACTORS: &[&dyn ExtractorKind] = &[
    &json::Kind,
    &csv::Kind,
    &parquet::Kind,
    #[cfg(feature = "kafka")]
    &avro::Kind,
    #[cfg(feature = "kafka")]
    &protobuf::Kind,
    &table::Kind,
    &query_rows::Kind,
];

/// The extractor of this name.
pub fn find(name: &str) -> Result<&'static dyn ExtractorKind> {
    find_component(EXTRACTORS, "extractor", name)
}
