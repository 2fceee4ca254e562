//! An SQL engine for pipelines that use none.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use forebay_core::{
    Error, InspectedStatement, LakeSql, LakeStatement, Result, RowStream, Selected, SqlEngine,
};

/// Refuses every statement.
#[derive(Debug)]
pub struct NoSql;

impl NoSql {
    pub fn shared() -> Arc<dyn SqlEngine> {
        Arc::new(Self)
    }
}

fn refused() -> Error {
    Error::unsupported("no_sql", "this test has no SQL engine")
}

#[async_trait]
impl SqlEngine for NoSql {
    fn inspect(&self, _: &str, _: &str) -> Result<InspectedStatement> {
        Ok(InspectedStatement::default())
    }

    async fn schema(&self, _: &str, _: SchemaRef, _: &str) -> Result<SchemaRef> {
        Err(refused())
    }

    async fn select(&self, _: &str, _: RecordBatch, _: &str) -> Result<Selected> {
        Err(refused())
    }

    async fn evaluate(&self, _: &RecordBatch, _: &str) -> Result<BooleanArray> {
        Err(refused())
    }
}

#[async_trait]
impl LakeSql for NoSql {
    async fn select(&self, _: &LakeStatement) -> Result<Box<dyn RowStream>> {
        Err(refused())
    }
}
