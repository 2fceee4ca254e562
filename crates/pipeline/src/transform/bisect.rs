//! Finds the rows that make a statement or a condition fail, so that the others can go on.
//!
//! A call that fails on a value is made again on both halves of its rows until each failing row stands alone. A batch
//! without a failing row costs one call, p failing rows of n about `2p * log2(n)`, and never more than `2n - 1`: with
//! 20 µs a statement, a batch of which all rows fail costs 40 µs a row. What a row gives does not depend on its neighbours
//! then, so a replay of one row gives the same.

use std::future::Future;
use std::ops::Range;

use arrow::array::{BooleanArray, RecordBatch};
use forebay_core::{Error, ErrorKind, Result, SqlEngine};

/// The rows of a batch, told apart.
#[derive(Debug)]
pub(super) struct Divided<T> {
    /// What the rows that pass give, in row order.
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
        match call(records.slice(range.start, range.len())).await {
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

/// Which rows meet a condition, and which make it fail; a row that makes it fail does not meet it.
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
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn rows(n: usize) -> RecordBatch {
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n as i64));
        RecordBatch::try_from_iter([("n", n)]).expect("one column")
    }

    /// Divides `n` rows of which `bad` fail; the answer is what passed, what failed and how many calls it took.
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
