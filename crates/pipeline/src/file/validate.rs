//! A document against a JSON Schema, all errors at once.

use crate::file::{Diagnostics, Document};

/// Checks `document` against the subset of JSON Schema that `schemars` generates.
#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
pub fn validate(document: &Document, schema: &schemars::Schema) -> Diagnostics {
    unimplemented!()
}
