//! The table that a transform reads: a place in the plan that each run fills with its own batch.
//!
//! The batch travels in the run's task context and not in the plan, so one ready plan serves every batch, also at once.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};

/// The batch of one run, in the task context.
#[derive(Debug)]
pub(super) struct Rows(pub(super) RecordBatch);

/// The table of a transform, known by its schema alone.
#[derive(Debug)]
pub(super) struct Input(pub(super) SchemaRef);

#[async_trait]
impl TableProvider for Input {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(InputExec::new(&self.0, projection.cloned())?))
    }
}

/// Yields the run's batch.
#[derive(Debug)]
struct InputExec {
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl InputExec {
    fn new(schema: &SchemaRef, projection: Option<Vec<usize>>) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(schema.project(columns)?),
            None => schema.clone(),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            projection,
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for InputExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("InputExec")
    }
}

impl ExecutionPlan for InputExec {
    fn name(&self) -> &str {
        "InputExec"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context
            .session_config()
            .get_extension::<Rows>()
            .ok_or_else(|| {
                DataFusionError::Internal("a transform ran without its batch".to_owned())
            })?;
        let batch = match &self.projection {
            Some(columns) => rows.0.project(columns)?,
            None => rows.0.clone(),
        };
        // Slices of the engine's batch size, so that operators that multiply rows stay within it.
        let size = context.session_config().batch_size().max(1);
        let starts = (0..batch.num_rows()).step_by(size);
        let slices = starts
            .map(|start| batch.slice(start, size.min(batch.num_rows() - start)))
            .collect();
        Ok(Box::pin(MemoryStream::try_new(
            slices,
            self.schema(),
            None,
        )?))
    }
}
