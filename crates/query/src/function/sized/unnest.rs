//! `unnest` in pieces: a list multiplies the other values of its row, and the engine makes all rows of a batch at once.
//!
//! Below each `unnest` its input is cut so that each piece stays within a bound; a single row beyond the limit fails.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, with_new_children_if_necessary,
};
use forebay_core::Error;
use futures::StreamExt;

use super::ResultLimit;
use super::row::{list_items, value_bytes};
use crate::error::external;

/// Most bytes that one piece becomes.
const PIECE_BYTES_MAX: u64 = 32 << 20;

/// Most bytes that one row becomes, where the limit of a result is less.
const ROW_BYTES_MAX: u64 = 128 << 20;

/// Bytes of a row besides its values.
const ROW_BYTES: u64 = 16;

/// The rule that puts the cut below each `unnest`. The last one: no other rule knows it.
#[derive(Debug)]
pub(crate) struct UnnestPieces(pub(crate) ResultLimit);

impl PhysicalOptimizerRule for UnnestPieces {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| Ok(Transformed::yes(cut_below(node, self.0)?)))
            .data()
    }

    fn name(&self) -> &str {
        "unnest_pieces"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn cut_below(node: Arc<dyn ExecutionPlan>, limit: ResultLimit) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(unnest) = node.as_any().downcast_ref::<UnnestExec>() else {
        return Ok(node);
    };
    let input: Arc<dyn ExecutionPlan> = Arc::new(Cut {
        input: unnest.input().clone(),
        lists: unnest.list_column_indices().into(),
        limit,
    });
    with_new_children_if_necessary(node, vec![input])
}

/// Gives the rows of its input on, cut into pieces.
#[derive(Debug)]
struct Cut {
    input: Arc<dyn ExecutionPlan>,
    lists: Arc<[ListUnnest]>,
    limit: ResultLimit,
}

impl DisplayAs for Cut {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("UnnestPieces")
    }
}

impl ExecutionPlan for Cut {
    fn name(&self) -> &str {
        "UnnestPieces"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next();
        Ok(Arc::new(Self {
            input: input.unwrap_or_else(|| self.input.clone()),
            lists: self.lists.clone(),
            limit: self.limit,
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let lists = self.lists.clone();
        let limit = self.limit;
        let pieces = input.flat_map(move |batch| {
            let pieces = batch.and_then(|batch| cut(&batch, &lists, limit));
            futures::stream::iter(match pieces {
                Ok(pieces) => pieces.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, pieces)))
    }
}

/// The batch in pieces that each stay within the bound.
fn cut(batch: &RecordBatch, lists: &[ListUnnest], limit: ResultLimit) -> Result<Vec<RecordBatch>> {
    let ranges = ranges(batch, lists, limit)?;
    let pieces = ranges.into_iter();
    Ok(pieces
        .map(|rows| batch.slice(rows.start, rows.len()))
        .collect())
}

fn ranges(
    batch: &RecordBatch,
    lists: &[ListUnnest],
    limit: ResultLimit,
) -> Result<Vec<Range<usize>>> {
    let others: Vec<&ArrayRef> = (0..batch.num_columns())
        .filter(|at| lists.iter().all(|list| list.index_in_input_schema != *at))
        .map(|at| batch.column(at))
        .collect();
    let piece_bytes = PIECE_BYTES_MAX.min(limit.0);
    let row_bytes_max = ROW_BYTES_MAX.max(limit.0);
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut bytes = 0_u64;
    for row in 0..batch.num_rows() {
        let size = row_bytes(batch, lists, &others, row);
        if size > row_bytes_max {
            return Err(too_large(size, row_bytes_max));
        }
        if bytes.saturating_add(size) > piece_bytes && row > start {
            ranges.push(start..row);
            start = row;
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
    }
    ranges.push(start..batch.num_rows());
    Ok(ranges)
}

/// Bytes of the rows that one row becomes, at most.
fn row_bytes(batch: &RecordBatch, lists: &[ListUnnest], others: &[&ArrayRef], row: usize) -> u64 {
    let bytes_of = |array: &ArrayRef| match array.is_valid(row) {
        true => value_bytes(array, row),
        false => 0,
    };
    let counted = lists.iter().map(|list| {
        let array = batch.column(list.index_in_input_schema);
        (items(array, row, list.depth), list.depth, bytes_of(array))
    });
    let mut longest = 0;
    let mut product = 1_u64;
    let mut own = 0_u64;
    let mut depth = 0;
    for (items, list_depth, bytes) in counted {
        longest = items.max(longest);
        product = product.saturating_mul(items.max(1));
        own = own.saturating_add(bytes);
        depth = list_depth.max(depth);
    }
    // Lists of lists beside others are unnested one after another: no rows are more than all combinations.
    let rows = if depth > 1 { product } else { longest };
    let copied = others.iter().map(|array| bytes_of(array)).sum::<u64>();
    rows.saturating_mul(copied.saturating_add(ROW_BYTES))
        .saturating_add(own)
}

/// Items of a list, and of the lists in it as deep as they are unnested.
fn items(array: &ArrayRef, row: usize, depth: usize) -> u64 {
    if array.is_null(row) {
        return 0;
    }
    let Some(list) = list_items(array, row) else {
        return 1;
    };
    match depth {
        0 | 1 => list.len() as u64,
        _ => (0..list.len()).map(|at| items(&list, at, depth - 1)).sum(),
    }
}

fn too_large(bytes: u64, bytes_max: u64) -> DataFusionError {
    let error = Error::data(
        "sql_value_too_large",
        format!(
            "a value makes the statement fail: unnest() would make {bytes} bytes of one row, more than {bytes_max}"
        ),
    );
    external(error.with_hint("leave large columns out of the SELECT that unnests"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    const LIST: [ListUnnest; 1] = [ListUnnest {
        index_in_input_schema: 1,
        depth: 1,
    }];

    /// Rows with a text of 1 MiB and a list of this many items.
    fn batch(items: &[Option<i64>]) -> RecordBatch {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20); items.len()]));
        let list = items
            .iter()
            .map(|items| items.map(|items| (0..items).map(Some)));
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(list));
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..items.len() as i64));
        RecordBatch::try_from_iter([("text", text), ("list", list), ("id", id)]).unwrap()
    }

    #[test]
    fn pieces_stay_within_the_bound_and_a_row_beyond_it_fails() {
        let limit = ResultLimit::of_memory(1 << 30);
        let of = |items: &[Option<i64>]| ranges(&batch(items), &LIST, limit);
        assert_eq!(of(&[Some(3), None, Some(4)]).unwrap().len(), 1);
        assert_eq!(of(&[]).unwrap().len(), 1);
        let many = of(&[Some(20), Some(20), Some(100), Some(1), None, Some(1)]).unwrap();
        assert_eq!(many, [0..1, 1..2, 2..3, 3..6]);
        assert!(of(&[Some(1), Some(300)]).is_err());
    }
}
