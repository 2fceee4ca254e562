//! Rows that are made when a statement asks for them, as a source of a plan.
//!
//! Not the engine's own source in memory: that forgets a limit when its columns are put into another order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;

/// Gives the rows, or some columns of them.
pub(crate) fn scan(
    rows: RecordBatch,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = rows.schema();
    let rows: Arc<dyn PartitionStream> = Arc::new(MadeRows(rows));
    let plan = StreamingTableExec::try_new(schema, vec![rows], projection, None, false, None)?;
    Ok(Arc::new(plan))
}

#[derive(Debug)]
struct MadeRows(RecordBatch);

impl PartitionStream for MadeRows {
    fn schema(&self) -> &SchemaRef {
        self.0.schema_ref()
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = stream::iter([Ok(self.0.clone())]);
        Box::pin(RecordBatchStreamAdapter::new(self.0.schema(), rows))
    }
}
