//! A change of one table that is not committed yet.

use arrow::datatypes::SchemaRef;
use forebay_core::{Result, TableName};
use uuid::Uuid;

use crate::{DataFile, PartitionField, TableWriter, WriterOptions};

/// A table as it will be: its schema may have grown, files may have been added. Writing files needs no
/// coordination; [`crate::Lake::commit`] makes it visible.
#[derive(Debug)]
pub struct Draft;

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
impl Draft {
    pub fn name(&self) -> &TableName {
        unimplemented!()
    }

    pub fn uuid(&self) -> Uuid {
        unimplemented!()
    }

    /// Whether the table is there already (else this draft creates it).
    pub fn exists(&self) -> bool {
        unimplemented!()
    }

    /// The schema as it will be, with Iceberg field ids in the metadata of every field at every depth
    /// (`PARQUET:field_id`). `None` before [`Draft::create`] on a new table.
    pub fn schema(&self) -> Option<SchemaRef> {
        unimplemented!()
    }

    /// Gives a new table its first schema and its partitioning.
    ///
    /// Errors: `Config` when a partition field does not fit the schema.
    pub fn create(&mut self, schema: &SchemaRef, partition: &[PartitionField]) -> Result<()> {
        unimplemented!()
    }

    /// Grows the table so that rows of `schema` fit: columns that it lacks are added (also inside structs and
    /// lists), types are widened where Iceberg allows (int→long, float→double, decimal precision), a column that
    /// `schema` lacks stays and becomes optional. Columns are matched by name. Returns what changed, for people
    /// (`added column note: string`); empty when the schema already fits.
    ///
    /// Errors: `Config` `incompatible_type` when a type cannot be widened.
    pub fn evolve(&mut self, schema: &SchemaRef) -> Result<Vec<String>> {
        unimplemented!()
    }

    /// A writer of data files for the schema as it is now; make a new one after [`Draft::evolve`].
    pub fn writer(&self, options: WriterOptions) -> Result<TableWriter> {
        unimplemented!()
    }

    /// Adds written files to the change.
    pub fn append(&mut self, files: Vec<DataFile>) {
        unimplemented!()
    }

    /// A table property as it will be.
    pub fn property(&self, key: &str) -> Option<String> {
        unimplemented!()
    }

    /// Sets a table property in the same commit.
    pub fn set_property(&mut self, key: impl Into<String>, value: impl Into<String>) {
        unimplemented!()
    }
}
