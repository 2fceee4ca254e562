//! `audit.requests`: every request to a third party and its outcome, as a lake table.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use forebay_core::{Error, Ident, Result, RunId, TableName};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use forebay_connectors::source::{RequestLog, RequestRecord};

/// Most requests that wait for the next commit; beyond it the oldest are counted and dropped, so that commits failing for
/// hours do not fill the memory.
const REQUESTS_MAX: usize = 100_000;

/// At this many requests a commit is due, long before any is dropped.
const REQUESTS_DUE: usize = 10_000;

/// Collects request records until a commit takes them.
#[derive(Debug, Default)]
pub(in crate::engine) struct Requests {
    waiting: Mutex<Waiting>,
    crowded: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Oldest first.
    records: VecDeque<RequestRecord>,
    dropped: u64,
    /// A commit that takes them is in progress.
    has_commit: bool,
}

impl Waiting {
    /// Drops the oldest until the limit is met.
    fn trim(&mut self) {
        while self.records.len() > REQUESTS_MAX {
            self.records.pop_front();
            self.dropped += 1;
        }
    }
}

impl RequestLog for Requests {
    fn record(&self, record: RequestRecord) {
        let mut waiting = self.waiting();
        waiting.records.push_back(record);
        waiting.trim();
        if waiting.records.len() >= REQUESTS_DUE {
            self.crowded.notify_one();
        }
    }
}

impl Requests {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    /// Whether there are enough of them for a commit, and none is in progress.
    pub(in crate::engine) fn is_crowded(&self) -> bool {
        let waiting = self.waiting();
        !waiting.has_commit && waiting.records.len() >= REQUESTS_DUE
    }

    /// A commit is in progress.
    pub(in crate::engine) fn expect_commit(&self) {
        self.waiting().has_commit = true;
    }

    /// Waits until [`Self::is_crowded`] may be true.
    pub(in crate::engine) async fn crowded(&self) {
        self.crowded.notified().await;
    }

    pub(in crate::engine) fn take(&self) -> Vec<RequestRecord> {
        let mut waiting = self.waiting();
        if waiting.dropped > 0 {
            tracing::warn!(
                dropped = waiting.dropped,
                "too many requests between two commits, dropped the oldest from audit.requests"
            );
            waiting.dropped = 0;
        }
        waiting.has_commit = false;
        std::mem::take(&mut waiting.records).into()
    }

    /// Puts records back, before later ones, after a failed commit.
    pub(in crate::engine) fn put_back(&self, records: Vec<RequestRecord>) {
        let mut waiting = self.waiting();
        let mut records = VecDeque::from(records);
        records.append(&mut waiting.records);
        waiting.records = records;
        waiting.trim();
    }
}

/// `audit.requests`.
pub fn requests_table() -> Result<TableName> {
    "audit.requests".parse()
}

/// Columns of `audit.requests`.
pub fn requests_schema() -> SchemaRef {
    let field = |name: &str, kind: DataType, nullable| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field(
            "at",
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            false,
        ),
        field("pipeline", DataType::Utf8, false),
        field("split", DataType::Utf8, false),
        field("run", DataType::Utf8, false),
        field("method", DataType::Utf8, false),
        field("url", DataType::Utf8, false),
        field("status", DataType::Int32, true),
        field("attempt", DataType::Int32, false),
        field("duration_us", DataType::Int64, false),
        field("waited_us", DataType::Int64, false),
        field("bytes", DataType::Int64, false),
        field("outcome", DataType::Utf8, false),
        field("detail", DataType::Utf8, true),
    ]))
}

pub(in crate::engine) fn to_batch(
    records: &[RequestRecord],
    pipeline: &Ident,
    split: &Ident,
    run: RunId,
) -> Result<RecordBatch> {
    let all = |text: String| {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
            text,
            records.len(),
        ))) as ArrayRef
    };
    let long = |get: fn(&RequestRecord) -> u64| {
        let values = records
            .iter()
            .map(|record| i64::try_from(get(record)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
    };
    let at = TimestampMicrosecondArray::from_iter_values(records.iter().map(|r| r.at.micros()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(at.with_timezone("+00:00")),
        all(pipeline.to_string()),
        all(split.to_string()),
        all(run.to_string()),
        Arc::new(StringArray::from_iter_values(
            records.iter().map(|r| &r.method),
        )),
        Arc::new(StringArray::from_iter_values(
            records.iter().map(|r| &r.url),
        )),
        Arc::new(Int32Array::from_iter(
            records.iter().map(|r| r.status.map(i32::from)),
        )),
        Arc::new(Int32Array::from_iter_values(
            records
                .iter()
                .map(|r| i32::try_from(r.attempt).unwrap_or(i32::MAX)),
        )),
        long(|r| r.duration_us),
        long(|r| r.waited_us),
        long(|r| r.bytes),
        Arc::new(StringArray::from_iter_values(
            records.iter().map(|r| r.outcome),
        )),
        Arc::new(StringArray::from_iter(
            records.iter().map(|r| r.detail.as_deref()),
        )),
    ];
    RecordBatch::try_new(requests_schema(), columns).map_err(|error| {
        Error::bug("requests_batch", "failed to build rows of audit.requests").with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use forebay_core::Timestamp;

    use super::*;

    fn record(n: usize) -> RequestRecord {
        RequestRecord {
            at: Timestamp(0),
            method: "GET".to_owned(),
            url: n.to_string(),
            status: Some(200),
            attempt: 1,
            duration_us: 0,
            waited_us: 0,
            bytes: 0,
            outcome: "ok",
            detail: None,
        }
    }

    fn urls(records: &[RequestRecord]) -> Vec<usize> {
        let numbers = records.iter().map(|record| record.url.parse().unwrap());
        numbers.collect()
    }

    #[tokio::test]
    async fn many_requests_make_one_commit_due() {
        let requests = Requests::default();
        for n in 1..REQUESTS_DUE {
            requests.record(record(n));
        }
        assert!(!requests.is_crowded());
        requests.record(record(REQUESTS_DUE));
        requests.crowded().await;
        assert!(requests.is_crowded());
        requests.expect_commit();
        assert!(!requests.is_crowded());
        assert_eq!(requests.take().len(), REQUESTS_DUE);
        assert!(!requests.is_crowded());
    }

    #[test]
    fn the_newest_requests_are_kept_in_order() {
        let requests = Requests::default();
        for n in 0..REQUESTS_MAX + 3 {
            requests.record(record(n));
        }
        let taken = requests.take();
        assert_eq!(urls(&taken), (3..REQUESTS_MAX + 3).collect::<Vec<_>>());
        requests.record(record(REQUESTS_MAX + 3));
        requests.put_back(taken);
        let again = requests.take();
        assert_eq!(urls(&again), (4..REQUESTS_MAX + 4).collect::<Vec<_>>());
    }
}
