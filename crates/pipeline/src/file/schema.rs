//! The JSON Schema of a pipeline file, put together from the tables of components.

/// JSON Schema (2020-12) of a pipeline file, for editors and for the check.
#[expect(clippy::unimplemented, reason = "skeleton")]
pub fn pipeline_schema() -> schemars::Schema {
    unimplemented!()
}
