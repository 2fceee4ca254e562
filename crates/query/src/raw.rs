//! `raw.<pipeline>`: the raw zone's index with one more column, the payload itself.
//!
//! The bytes are read only when a query asks for that column, a bounded amount at a time. How they are read is the
//! caller's: the raw zone lives in `pipeline`, which this crate does not know.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::error::external;
use crate::plain;

/// The column that holds the bytes of a payload.
pub const PAYLOAD_COLUMN: &str = "payload";
/// Payload bytes in one batch; a single larger payload makes a batch of its own.
const BATCH_BYTES_MAX: i64 = 16 << 20;
/// Index column with the length of a payload in bytes.
const LENGTH_COLUMN: &str = "length";

/// Reads payloads of the raw zone.
#[async_trait]
pub trait PayloadReader: Send + Sync {
    /// One payload per row of `index`, which has every column of the raw index table: a `Binary` array, null where the
    /// payload is not kept any more.
    ///
    /// Errors: `Unavailable` when storage does not answer, `Data` when a payload does not match its index.
    async fn read(&self, index: &RecordBatch) -> forebay_core::Result<ArrayRef>;
}

/// An index table with the column [`PAYLOAD_COLUMN`].
pub(crate) struct WithPayload {
    index: Arc<dyn TableProvider>,
    schema: SchemaRef,
    payloads: Arc<dyn PayloadReader>,
}

impl fmt::Debug for WithPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WithPayload({:?})", self.index)
    }
}

impl WithPayload {
    pub(crate) fn new(index: Arc<dyn TableProvider>, payloads: Arc<dyn PayloadReader>) -> Self {
        let schema = index.schema();
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new(PAYLOAD_COLUMN, DataType::Binary, true)));
        Self {
            index,
            schema: Arc::new(Schema::new(fields)),
            payloads,
        }
    }

    fn payload_at(&self) -> usize {
        self.schema.fields().len() - 1
    }
}

#[async_trait]
impl TableProvider for WithPayload {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let reads_payload = |filter: &Expr| {
            filter
                .column_refs()
                .iter()
                .any(|column| column.name() == PAYLOAD_COLUMN)
        };
        let answer = |filter: &&Expr| match reads_payload(filter) {
            true => TableProviderFilterPushDown::Unsupported,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(answer).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let payload = self.payload_at();
        let wanted = projection
            .cloned()
            .unwrap_or_else(|| (0..=payload).collect());
        if !wanted.contains(&payload) {
            return self
                .index
                .scan(session, Some(&wanted), filters, limit)
                .await;
        }
        let index = self.index.scan(session, None, filters, limit).await?;
        let schema = Arc::new(self.schema.project(&wanted)?);
        Ok(Arc::new(PayloadExec::new(
            index,
            self.schema.clone(),
            schema,
            wanted,
            self.payloads.clone(),
        )))
    }
}

/// Appends the payloads to index rows.
struct PayloadExec {
    index: Arc<dyn ExecutionPlan>,
    all: SchemaRef,
    wanted: Vec<usize>,
    payloads: Arc<dyn PayloadReader>,
    properties: Arc<PlanProperties>,
}

impl PayloadExec {
    fn new(
        index: Arc<dyn ExecutionPlan>,
        all: SchemaRef,
        schema: SchemaRef,
        wanted: Vec<usize>,
        payloads: Arc<dyn PayloadReader>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            index.output_partitioning().clone(),
            index.pipeline_behavior(),
            index.boundedness(),
        );
        Self {
            index,
            all,
            wanted,
            payloads,
            properties: Arc::new(properties),
        }
    }
}

impl fmt::Debug for PayloadExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadExec({:?})", self.index)
    }
}

impl DisplayAs for PayloadExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("PayloadExec")
    }
}

impl ExecutionPlan for PayloadExec {
    fn name(&self) -> &str {
        "PayloadExec"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.index]
    }

    /// Larger inputs make no difference to reading payloads one after the other.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let index = children
            .pop()
            .ok_or_else(|| DataFusionError::Internal("PayloadExec has one child".to_owned()))?;
        Ok(Arc::new(Self::new(
            index,
            self.all.clone(),
            self.schema(),
            self.wanted.clone(),
            self.payloads.clone(),
        )))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let all = self.all.clone();
        let wanted = self.wanted.clone();
        let payloads = self.payloads.clone();
        let rows = self.index.execute(partition, context)?;
        let pieces = rows
            .map_ok(|batch| stream::iter(pieces(&batch).into_iter().map(Ok)))
            .try_flatten();
        let filled = pieces.and_then(move |index: RecordBatch| {
            let all = all.clone();
            let wanted = wanted.clone();
            let payloads = payloads.clone();
            async move { fill(&index, &all, &wanted, payloads.as_ref()).await }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            filled.boxed(),
        )))
    }
}

async fn fill(
    index: &RecordBatch,
    all: &SchemaRef,
    wanted: &[usize],
    payloads: &dyn PayloadReader,
) -> Result<RecordBatch> {
    let rows = plain::batch(index, &plain::schema(&index.schema())).map_err(external)?;
    let payload = payloads.read(&rows).await.map_err(external)?;
    let mut columns = index.columns().to_vec();
    columns.push(payload);
    Ok(RecordBatch::try_new(all.clone(), columns)?.project(wanted)?)
}

/// Cuts index rows so that the payloads of a piece fit in memory together.
fn pieces(index: &RecordBatch) -> Vec<RecordBatch> {
    let lengths = index
        .column_by_name(LENGTH_COLUMN)
        .and_then(|column| column.as_primitive_opt::<Int64Type>());
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for row in 0..index.num_rows() {
        // Without a length every row is a piece of its own.
        let length = lengths
            .filter(|lengths| lengths.is_valid(row))
            .map_or(BATCH_BYTES_MAX, |lengths| lengths.value(row));
        if row > start && bytes + length > BATCH_BYTES_MAX {
            pieces.push(index.slice(start, row - start));
            (start, bytes) = (row, 0);
        }
        bytes += length;
    }
    if start < index.num_rows() {
        pieces.push(index.slice(start, index.num_rows() - start));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn pieces_hold_a_bounded_number_of_bytes_and_lose_no_row() {
        let mib = 1 << 20;
        let lengths = vec![10 * mib, 5 * mib, 2 * mib, 100 * mib, 0, 1, 16 * mib];
        let index = RecordBatch::try_from_iter([(
            "length",
            Arc::new(Int64Array::from(lengths)) as ArrayRef,
        )])
        .unwrap();
        let sizes: Vec<usize> = pieces(&index).iter().map(RecordBatch::num_rows).collect();
        assert_eq!(sizes, [2, 1, 1, 2, 1]);
    }
}
