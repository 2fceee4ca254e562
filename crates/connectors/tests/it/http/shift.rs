//! Lists that change while they are read: every record lands exactly once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use forebay_core::Position;
use forebay_testkit::{Reply, Request, StubHttp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{Bench, all_records, param};

/// What happens to the list between two requests.
#[derive(Debug, Clone)]
enum Change {
    InsertAt(usize),
    /// The content changes, the place does not.
    Update(usize),
    /// A record that a page has shown is gone, and the list stays as long: another one takes its place.
    Replace(usize),
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: usize,
    version: u32,
}

struct List {
    rows: Vec<Row>,
    next_id: usize,
    changes: Vec<Change>,
    size: usize,
}

impl List {
    fn change(&mut self) {
        let Some(change) = self.changes.pop() else {
            return;
        };
        let id = self.next_id;
        match change {
            Change::InsertAt(at) => {
                let at = at.min(self.rows.len());
                self.rows.insert(at, Row { id, version: 0 });
                self.next_id += 1;
            }
            Change::Update(at) if at < self.rows.len() => self.rows[at].version += 1,
            Change::Replace(at) if at < self.rows.len() => {
                self.rows[at] = Row { id, version: 0 };
                self.next_id += 1;
            }
            Change::Update(_) | Change::Replace(_) => {}
        }
    }

    fn answer(&mut self, request: &Request) -> Reply {
        if request.count > 0 {
            self.change();
        }
        let page = request
            .param("page")
            .map(|_| (param(request, "page") as usize - 1) * self.size);
        let start = page.unwrap_or(param(request, "offset") as usize);
        let rows = self.rows.iter().skip(start).take(self.size);
        let rows: Vec<Value> = rows
            .map(|row| json!({"id": row.id, "u": 100, "v": row.version}))
            .collect();
        let next = start + self.size;
        let has_next = next < self.rows.len();
        let url = has_next.then(|| format!("/q?offset={next}"));
        let link = url.as_ref().map(|url| format!("<{url}>; rel=next"));
        let body = json!({"rows": rows, "next": has_next.then(|| next.to_string()), "url": url});
        Reply::json(&body).header("link", link.unwrap_or_default())
    }
}

/// Twelve changes outrun the readings of two runs at most.
const RUNS_MAX: u32 = 4;

/// Versions that landed, with how often, in as many runs as it takes.
async fn landed(
    list: &Arc<Mutex<List>>,
    paginate: &str,
    cursor: &str,
) -> BTreeMap<(u64, u64), u32> {
    let server = {
        let list = Arc::clone(list);
        StubHttp::start(move |request| list.lock().unwrap().answer(request)).await
    };
    let config = format!("records: rows\npaginate: {paginate}\n{cursor}");
    let bench = Bench::new(&server.url("/q"), &config);
    let mut counts = BTreeMap::new();
    let mut position = None;
    for _ in 0..RUNS_MAX {
        let pulled = bench.pull(position.as_ref()).await;
        for record in all_records(&pulled.chunks, "rows") {
            let version = (
                record["id"].as_u64().unwrap(),
                record["v"].as_u64().unwrap(),
            );
            *counts.entry(version).or_default() += 1;
        }
        match pulled.error {
            // A list that outruns the readings of one run: the next run resumes. The changes are finite.
            Some(error) => assert_eq!(error.code(), "list_moves", "{error:?}"),
            None => return counts,
        }
        position = pulled.position;
    }
    panic!("the list stands still, and {RUNS_MAX} runs have not read it");
}

const PAGINATES: [&str; 5] = [
    "{page: {param: page, size: SIZE}}",
    "{offset: {param: offset, limit: SIZE}}",
    "{cursor: {path: next, param: offset}}",
    "{next: {path: url}}",
    "{link_header: {}}",
];

/// Records whose key stays in the list from the first page to the last land once in each version, whatever else changes.
fn every_record_lands_once(change: BoxedStrategy<Change>, paginates: &'static [&'static str]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let input = (
        prop::collection::vec(change, 0..12),
        0_usize..20,
        2_usize..6,
        prop::sample::select(paginates),
        any::<bool>(),
    );
    let mut runner = TestRunner::new(Config {
        cases: 80,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&input, |(changes, count, size, paginate, has_cursor)| {
        let rows: Vec<Row> = (0..count).map(|id| Row { id, version: 0 }).collect();
        let before = rows.clone();
        let list = Arc::new(Mutex::new(List {
            rows,
            next_id: count,
            changes,
            size,
        }));
        let cursor = if has_cursor {
            "cursor: {field: u, param: since, format: epoch_seconds, key: id}"
        } else {
            "key: id"
        };
        let paginate = paginate.replace("SIZE", &size.to_string());
        let counts = runtime.block_on(landed(&list, &paginate, cursor));
        prop_assert!(counts.values().all(|count| *count == 1), "{counts:?}");
        let list = list.lock().unwrap();
        for row in before {
            if list.rows.iter().any(|now| now.id == row.id) {
                let has_landed = counts.keys().any(|(id, _)| *id == row.id as u64);
                prop_assert!(has_landed, "{row:?} is missing in {counts:?}");
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn every_record_that_exists_throughout_a_pass_lands_exactly_once() {
    let change = prop_oneof![
        (0_usize..20).prop_map(Change::InsertAt),
        (0_usize..20).prop_map(Change::Update),
        (0_usize..20).prop_map(Change::Replace),
    ];
    every_record_lands_once(change.boxed(), &PAGINATES);
}

#[tokio::test]
async fn a_deletion_before_the_place_that_is_read_loses_no_record() {
    let server = StubHttp::start(|request| {
        // Four records at the beginning are gone once the first page has been read.
        let gone = if request.count > 0 { 4 } else { 0 };
        let start = param(request, "offset") + gone;
        let rows: Vec<Value> = (start..(start + 5).min(30))
            .map(|id| json!({"id": id}))
            .collect();
        Reply::json(&json!({"rows": rows}))
    })
    .await;
    let config =
        "records: rows\nkey: id\npaginate: {offset: {param: offset, limit: 5, overlap: 1}}";
    let pulled = Bench::new(&server.url("/q"), config).take(None).await;
    let mut ids: Vec<u64> = all_records(&pulled.chunks, "rows")
        .iter()
        .map(|row| row["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_moves_to_the_next_page_lands_once() {
    let server = StubHttp::start(|request| {
        let shift = u64::from(request.count > 0);
        let start = (param(request, "page") - 1) * 3;
        let ids = (start..(start + 3).min(9 + shift)).map(|n| 9 + shift - n);
        let rows: Vec<Value> = ids
            .map(|id| json!({"id": id, "u": 1000 + id * 100}))
            .collect();
        Reply::json(&json!({"rows": rows}))
    })
    .await;
    let config = "records: rows\npaginate: {page: {param: page, size: 3}}\ncursor: {field: u, param: since, format: epoch_seconds, key: id}";
    let bench = Bench::new(&server.url("/q"), config);
    let pulled = bench.take(None).await;
    let mut ids: Vec<u64> = all_records(&pulled.chunks, "rows")
        .iter()
        .map(|row| row["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    // The one that came meanwhile is on the second reading.
    assert_eq!(ids, (1..=10).collect::<Vec<_>>());
    let again = bench.take(pulled.position.as_ref()).await;
    assert!(again.chunks.is_empty(), "each record lands once");
}

#[tokio::test]
async fn a_change_within_the_tick_of_the_cursor_lands() {
    let server = StubHttp::start(|request| {
        let text = ["first", "second", "second"][request.count];
        Reply::json(&json!([{"id": 1, "u": "2024-01-01T10:00:00Z", "v": text}]))
    })
    .await;
    let bench = Bench::new(
        &server.url("/q"),
        "cursor: {field: u, param: since, key: id}",
    );
    let first = bench.take(None).await;
    let second = bench.take(first.position.as_ref()).await;
    assert_eq!(all_records(&second.chunks, "")[0]["v"], "second");
    let third = bench.take(second.position.as_ref()).await;
    assert!(third.chunks.is_empty(), "each version lands once");
}

#[tokio::test]
async fn records_at_the_edge_of_an_older_position_are_known() {
    let row = json!({"id": 7, "u": 100});
    let server = StubHttp::start(move |_| Reply::json(&json!([row, {"id": 8, "u": 100}]))).await;
    let bench = Bench::new(
        &server.url("/q"),
        "cursor: {field: u, param: since, format: epoch_seconds, key: id}",
    );
    // What version 1 stored for key 7 at 100: the first 12 bytes of SHA-256("key\0" "7" "\0" "100").
    let edge = json!([[100_000_000, ["4dfa7595bd0f4540d08aaa78"]]]);
    let stored = json!({"version": 1, "newest": 100_000_000, "edge": edge, "full_seen": false, "records_seen": true});
    let pulled = bench.take(Some(&Position(stored))).await;
    let ids: Vec<_> = all_records(&pulled.chunks, "")
        .iter()
        .map(|row| row["id"].clone())
        .collect();
    assert_eq!(ids, [8]);
    let again = bench.take(pulled.position.as_ref()).await;
    assert!(again.chunks.is_empty());
}
