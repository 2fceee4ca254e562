//! Finds the rows that make a statement or a condition fail, so that the others are processed.
//!
//! A call that fails on a value is repeated on both halves of its rows until each failing row is alone. A batch without a
//! failing row costs one call, p failing rows of n about `2p * log2(n)`, and never more than `2n - 1`: with 20 µs a
//! statement, a batch of which all rows fail costs 40 µs a row. The result for a row does not depend on its neighbours
//! then, so a replay of one row gives the same.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use forebay_core::{Error, ErrorKind, Result, SqlEngine};

/// The rows of a batch, divided into passing and failing.
#[derive(Debug)]
pub(super) struct Divided<T> {
    /// The results of the passing rows, in row order.
    pub(super) passed: Vec<(Range<usize>, T)>,
    /// The rows that fail, in order, with the `Data` error of each.
    pub(super) failed: Vec<(usize, Error)>,
}

/// Calls `call` on slices of `records` until no slice with two rows or more fails with a `Data` error.
///
/// Errors: any other error of `call`; its `Data` error when there are no rows at all.
pub(super) async fn divide<T, F, Fut>(records: &RecordBatch, call: F) -> Result<Divided<T>>
where
    F: Fn(RecordBatch) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let mut divided = Divided {
        passed: Vec::new(),
        failed: Vec::new(),
    };
    // The next range is the last one; at most one for each halving waits.
    let mut waiting: Vec<Range<usize>> = std::iter::once(0..records.num_rows()).collect();
    while let Some(range) = waiting.pop() {
        match call(own_rows(records, &range)?).await {
            Ok(given) => divided.passed.push((range, given)),
            Err(error) if error.kind() != ErrorKind::Data || range.is_empty() => return Err(error),
            Err(error) if range.len() == 1 => divided.failed.push((range.start, error)),
            Err(_) => {
                let middle = range.start + range.len() / 2;
                waiting.push(middle..range.end);
                waiting.push(range.start..middle);
            }
        }
    }
    Ok(divided)
}

/// The rows of a range. A part of a batch has copies of its nested values: a slice of a list keeps the values of all rows, and a
/// cast that fails on another row's value would fail for this one.
fn own_rows(records: &RecordBatch, range: &Range<usize>) -> Result<RecordBatch> {
    let slice = records.slice(range.start, range.len());
    let is_nested = |column: &ArrayRef| column.data_type().is_nested();
    if range.len() == records.num_rows() || !slice.columns().iter().any(is_nested) {
        return Ok(slice);
    }
    let rows = UInt32Array::from_iter_values(0..slice.num_rows() as u32);
    let copied = |column: &ArrayRef| match is_nested(column) {
        true => take(column, &rows, None),
        false => Ok(Arc::clone(column)),
    };
    let columns = slice.columns().iter().map(copied);
    let columns = columns.collect::<Result<Vec<_>, _>>();
    columns
        .and_then(|columns| RecordBatch::try_new(slice.schema(), columns))
        .map_err(|error| Error::bug("own_rows", "failed to copy rows").with_source(error))
}

/// The rows that meet a condition, and those that make it fail; a row that makes it fail does not meet it.
///
/// Errors: as [`SqlEngine::evaluate`], but for `Data`.
pub(super) async fn judge(
    engine: &dyn SqlEngine,
    records: &RecordBatch,
    condition: &str,
) -> Result<(BooleanArray, Vec<(usize, Error)>)> {
    let evaluate = |rows: RecordBatch| async move { engine.evaluate(&rows, condition).await };
    let mut divided = divide(records, evaluate).await?;
    if divided.failed.is_empty() && divided.passed.len() == 1 {
        let (_, met) = divided.passed.remove(0);
        return Ok((met, Vec::new()));
    }
    let mut met = vec![false; records.num_rows()];
    for (range, answer) in divided.passed {
        for (row, answer) in range.zip(answer.iter()) {
            met[row] = answer == Some(true);
        }
    }
    Ok((met.into(), divided.failed))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn rows(n: usize) -> RecordBatch {
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n as i64));
        RecordBatch::try_from_iter([("n", n)]).expect("one column")
    }

    /// Divides `n` rows of which `bad` fail; returns the passed rows, the failed ones and the number of calls.
    fn divided(n: usize, bad: &BTreeSet<i64>) -> (Vec<i64>, Vec<usize>, usize) {
        let calls = Cell::new(0);
        let call = |rows: RecordBatch| {
            calls.set(calls.get() + 1);
            let values = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
            let fails = values.iter().any(|value| bad.contains(value));
            std::future::ready(if fails {
                Err(Error::data("bad", "a bad value"))
            } else {
                Ok(values)
            })
        };
        let done = futures::executor::block_on(divide(&rows(n), call)).expect("only data errors");
        for (range, values) in &done.passed {
            assert!(values.iter().map(|value| *value as usize).eq(range.clone()));
        }
        let passed = done.passed.into_iter().flat_map(|(_, values)| values);
        let failed = done.failed.into_iter().map(|(row, _)| row);
        (passed.collect(), failed.collect(), calls.get())
    }

    proptest! {
        #[test]
        fn exactly_the_failing_rows_are_found(n in 0usize..300, bad in proptest::collection::btree_set(0i64..300, 0..20)) {
            let (passed, failed, calls) = divided(n, &bad);
            let is_bad = |row: &usize| bad.contains(&(*row as i64));
            prop_assert_eq!(&failed, &(0..n).filter(is_bad).collect::<Vec<_>>());
            prop_assert_eq!(passed, (0..n).filter(|row| !is_bad(row)).map(|row| row as i64).collect::<Vec<_>>());
            let most = 1 + failed.len() * 2 * n.next_power_of_two().ilog2() as usize;
            prop_assert!(calls <= most && calls < (2 * n).max(2), "{} calls for {} of {}", calls, failed.len(), n);
        }
    }

    #[test]
    fn other_errors_end_it_at_once() {
        let call = |_| std::future::ready(Err::<(), _>(Error::config("wrong", "wrong")));
        let error = futures::executor::block_on(divide(&rows(9), call)).expect_err("it fails");
        assert_eq!(error.code(), "wrong");
        let call = |_| std::future::ready(Err::<(), _>(Error::data("bad", "bad without a row")));
        assert!(futures::executor::block_on(divide(&rows(0), call)).is_err());
    }
}
