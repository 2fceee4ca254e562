//! The edge of the incremental cursor: nothing is lost there and nothing lands twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use forebay_testkit::{Reply, Request, StubHttp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{Bench, all_records};

/// A record of the API: its time in seconds and the moment from which it can be seen.
#[derive(Debug, Clone)]
struct Entry {
    id: u32,
    at: i64,
    seen_from: i64,
}

/// An API over entries, sorted as asked, that heeds `since` (inclusive) and pages by offset.
struct Api {
    entries: Mutex<Vec<Entry>>,
    now: Mutex<i64>,
    descending: bool,
    /// The bound is rounded down to this many seconds by the server, or not heeded at all (0).
    heeds: i64,
}

impl Api {
    fn answer(&self, request: &Request) -> Reply {
        let now = *self.now.lock().unwrap();
        let since = request
            .param("since")
            .map_or(i64::MIN, |since| since.parse().unwrap());
        let since = if self.heeds == 0 {
            i64::MIN
        } else {
            since.saturating_sub(since.rem_euclid(self.heeds))
        };
        let mut found: Vec<Entry> = self.entries.lock().unwrap().clone();
        found.retain(|entry| entry.seen_from <= now && entry.at >= since);
        found.sort_by_key(|entry| (entry.at, entry.id));
        if self.descending {
            found.reverse();
        }
        let offset = request
            .param("offset")
            .map_or(0, |offset| offset.parse().unwrap());
        let page: Vec<Value> = found
            .iter()
            .skip(offset)
            .take(3)
            .map(|entry| json!({"id": entry.id, "t": {"at": entry.at}}))
            .collect();
        Reply::json(&json!({ "rows": page }))
    }
}

const LAG: i64 = 5;

fn config(key: bool) -> String {
    let key = if key { ", key: id" } else { "" };
    format!(
        "records: rows\npaginate: {{offset: {{param: offset, limit: 3}}}}\n\
         cursor: {{field: t.at, param: since, format: epoch_seconds, lag: {LAG}s{key}}}"
    )
}

/// Runs again and again while the world goes on; how often each record was taken.
async fn counts(
    entries: Vec<Entry>,
    runs: &[i64],
    descending: bool,
    heeds: i64,
    key: bool,
) -> BTreeMap<u32, u32> {
    let api = Arc::new(Api {
        entries: Mutex::new(entries),
        now: Mutex::new(0),
        descending,
        heeds,
    });
    let server = {
        let api = Arc::clone(&api);
        StubHttp::start(move |request| api.answer(request)).await
    };
    let bench = Bench::new(&server.url("/q"), &config(key));
    let (mut position, mut counts) = (None, BTreeMap::new());
    for now in runs {
        *api.now.lock().unwrap() = *now;
        let pulled = bench.take(position.as_ref()).await;
        for record in all_records(&pulled.chunks, "rows") {
            *counts
                .entry(record["id"].as_u64().unwrap() as u32)
                .or_default() += 1;
        }
        position = pulled.position;
    }
    counts
}

/// Entries that appear out of order, but never more than the lag behind the newest that can be seen.
fn world() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((0_i64..3, 0_i64..=LAG), 1..40).prop_map(|steps| {
        let mut newest = 1_000;
        let entry = |(id, (step, late)): (u32, (i64, i64))| {
            let entry = Entry {
                id,
                at: newest + step - late.min(LAG),
                seen_from: i64::from(id),
            };
            newest = newest.max(entry.at);
            entry
        };
        (0..).zip(steps).map(entry).collect()
    })
}

#[test]
fn every_record_is_taken_exactly_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let runs = prop::collection::vec(0_i64..45, 1..12);
    let input = (
        world(),
        runs,
        any::<bool>(),
        prop::sample::select(vec![0, 1, 60]),
        any::<bool>(),
    );
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&input, |(entries, mut runs, descending, heeds, key)| {
        // The first run may find nothing, the last sees everything, twice.
        runs.sort_unstable();
        runs.extend([100, 100]);
        let wanted: BTreeMap<u32, u32> = entries.iter().map(|entry| (entry.id, 1)).collect();
        let taken = runtime.block_on(counts(entries, &runs, descending, heeds, key));
        prop_assert_eq!(taken, wanted);
        Ok(())
    });
    outcome.unwrap();
}

#[tokio::test]
async fn the_bound_is_sent_inclusively_and_known_records_are_left_out() {
    let entry = |id, at, seen_from| Entry { id, at, seen_from };
    let entries = vec![
        entry(1, 100, 0),
        entry(2, 107, 0),
        entry(3, 107, 1),
        entry(4, 102, 1),
        entry(5, 110, 1),
    ];
    let api = Arc::new(Api {
        entries: Mutex::new(entries),
        now: Mutex::new(0),
        descending: false,
        heeds: 1,
    });
    let server = {
        let api = Arc::clone(&api);
        StubHttp::start(move |request| api.answer(request)).await
    };
    let config = config(true).replace("param: since", "param: since, start: 1970-01-01T00:00:50Z");
    let bench = Bench::new(&server.url("/q"), &config);
    let first = bench.take(None).await;
    *api.now.lock().unwrap() = 1;
    let second = bench.take(first.position.as_ref()).await;
    assert_eq!(
        server.targets(),
        [
            "/q?since=50&offset=0",
            "/q?since=50&offset=1",
            "/q?since=50&offset=2",
            "/q?since=102&offset=0",
            "/q?since=102&offset=2",
            "/q?since=102&offset=3",
            "/q?since=102&offset=4"
        ]
    );
    let ids = |chunks| {
        all_records(chunks, "rows")
            .iter()
            .map(|record| record["id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(&first.chunks), ids(&second.chunks)),
        (vec![1, 2], vec![4, 3, 5])
    );
    // A record that was changed is another one.
    api.entries.lock().unwrap()[4].at = 111;
    let third = bench.take(second.position.as_ref()).await;
    assert_eq!(ids(&third.chunks), [5]);
    // Nothing new: no payload, and the position stays the very same.
    let fourth = bench.take(third.position.as_ref()).await;
    assert!(fourth.chunks.is_empty());
    assert_eq!(fourth.position, third.position);
}

#[tokio::test]
async fn a_source_that_goes_back_does_not_take_the_position_with_it() {
    let server = StubHttp::start(|request| {
        let rows = if request.count < 2 {
            json!([{"id": 1, "u": 500}])
        } else {
            json!([{"id": 2, "u": 100}, {"id": 3, "u": 499}])
        };
        Reply::json(&json!({ "rows": rows }))
    })
    .await;
    let config =
        "records: rows\ncursor: {field: u, param: since, format: epoch_seconds, lag: 10s, key: id}";
    let bench = Bench::new(&server.url("/q"), config);
    let mut position = None;
    for _ in 0..3 {
        position = bench.take(position.as_ref()).await.position;
    }
    let since: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.param("since"))
        .collect();
    assert_eq!(
        since,
        [None, Some("490".to_owned()), Some("490".to_owned())]
    );
    assert_eq!(position.unwrap().0["newest"], json!(500_000_000));
}

#[tokio::test]
async fn formats_and_bounds_are_sent_as_configured() {
    for (cursor, rows, sent) in [
        (
            "{field: u, param: since, start: 2025-12-31, lag: 1h, end_param: until}",
            json!([{"u": "2025-12-31T12:00:00.5Z"}]),
            [
                "since=2025-12-31T00:00:00Z&until=2026-01-01T00:00:00Z",
                "since=2025-12-31T11:00:00.500Z&until=2026-01-01T00:00:00Z",
            ],
        ),
        (
            "{field: u, field_format: epoch_millis, param: since, format: date, start: 2025-12-01}",
            json!([{"u": 1_767_100_000_123_i64}]),
            ["since=2025-12-01", "since=2025-12-30"],
        ),
        (
            "{field: u, param: after, format: raw, start: 5}",
            json!([{"u": 17}]),
            ["after=5", "after=17"],
        ),
        (
            "{field: u, param: after, format: raw, start: a}",
            json!([{"u": "x7"}]),
            ["after=a", "after=x7"],
        ),
    ] {
        let body = json!({ "rows": rows });
        let server = StubHttp::start(move |_| Reply::json(&body)).await;
        let bench = Bench::new(
            &server.url("/q"),
            &format!("records: rows\ncursor: {cursor}"),
        );
        let first = bench.take(None).await;
        assert_eq!(first.chunks.len(), 1);
        assert!(
            bench.take(first.position.as_ref()).await.chunks.is_empty(),
            "{cursor}: the record is known"
        );
        let queries: Vec<_> = server
            .targets()
            .iter()
            .map(|target| target.replace("/q?", ""))
            .collect();
        assert_eq!(queries, sent);
    }
}

#[tokio::test]
async fn an_edge_that_cannot_be_remembered_is_an_error() {
    let rows: Vec<Value> = (0..20_001).map(|id| json!({"id": id, "u": 1})).collect();
    let body = json!({ "rows": rows });
    let server = StubHttp::start(move |_| Reply::json(&body)).await;
    let config = "records: rows\ncursor: {field: u, param: since, format: epoch_seconds, key: id}";
    assert_eq!(
        Bench::new(&server.url("/q"), config).fails().await.0,
        "edge_too_wide"
    );
}
