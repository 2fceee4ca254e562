//! Files that people write: strict YAML and TOML with a place for every error.
//!
//! Reading one is three steps: text to a [`Document`] that knows the place of each value, the document against the JSON
//! Schema that the components' configurations generate (all errors at once), the document to typed values. References to secrets and
//! variables are resolved on the way, and [`SecretCover`] redacts the secrets in messages. Knows no component and does
//! no I/O.

mod component;
mod cover;
mod diagnostic;
mod document;
mod place;
mod reading;
mod resolve;
pub mod suggest;
mod toml;
mod typed;
mod validate;
mod yaml;

pub use component::{Component, find_component};
pub use cover::{COVERED_BYTES_MIN, SecretCover};
pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics};
pub use document::Document;
pub use place::{Place, SourceText, Span};
pub use resolve::{KeptReferences, Resolved, SECRET_VARIABLE_PREFIX, Variables, is_below, resolve};
pub use validate::{Finding, findings, validate};
pub use yaml::{DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX, read as read_yaml, too_large};

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");
