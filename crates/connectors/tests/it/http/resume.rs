//! A run that ends after any page goes on with the next one.

use forebay_core::Position;
use forebay_testkit::{Reply, StubHttp};
use serde_json::{Value, json};

use super::{Bench, records};

/// 10 records with growing times, three a page, by every kind of pagination.
async fn server() -> StubHttp {
    StubHttp::start(|request| {
        let at = |name: &str| {
            request
                .param(name)
                .and_then(|value| value.parse::<usize>().ok())
        };
        let start = at("page").map_or(0, |page| (page - 1) * 3);
        let start = at("offset").or(at("after")).unwrap_or(start);
        let since = at("since").unwrap_or(0);
        let all: Vec<usize> = (0..10).filter(|n| 100 + n / 2 >= since).collect();
        let rows: Vec<Value> = all
            .iter()
            .skip(start)
            .take(3)
            .map(|n| json!({"id": n, "u": 100 + n / 2}))
            .collect();
        let next = start + 3;
        let reply = json!({
            "rows": rows,
            "next": (next < all.len()).then(|| next.to_string()),
            "url": (next < all.len()).then(|| format!("/q?after={next}&since={since}")),
        });
        let link = if next < all.len() {
            format!("</q?after={next}&since={since}>; rel=next")
        } else {
            String::new()
        };
        Reply::json(&reply).header("link", link)
    })
    .await
}

const PAGINATES: [&str; 6] = [
    "{page: {param: page, size: 3}}",
    "{page: {param: page}}",
    "{offset: {param: offset, limit: 3}}",
    "{cursor: {path: next, param: after, stable: true}}",
    "{next: {path: url, stable: true}}",
    "{link_header: {stable: true}}",
];

fn config(paginate: &str, incremental: bool, concurrency: usize) -> String {
    let cursor = if incremental {
        "cursor: {field: u, param: since, format: epoch_seconds, lag: 2s, key: id}"
    } else {
        ""
    };
    format!(
        "records: rows\npaginate: {paginate}\nrate: {{requests: 1000, per: 1s, concurrency: {concurrency}}}\n{cursor}"
    )
}

/// Reads `pages` pages from `position`, then falls over.
async fn run(
    bench: &Bench,
    position: Option<Position>,
    pages: usize,
    ids: &mut Vec<u64>,
) -> Option<Position> {
    let mut reader = bench.open(position.as_ref()).await.unwrap();
    let mut at = position;
    for _ in 0..pages {
        let Some(chunk) = reader.next().await.unwrap() else {
            return reader.end_position().or(at);
        };
        ids.extend(
            records(&chunk, "rows")
                .iter()
                .map(|record| record["id"].as_u64().unwrap()),
        );
        // What is stored is text.
        let text = serde_json::to_string(&chunk.position.unwrap()).unwrap();
        at = Some(serde_json::from_str(&text).unwrap());
    }
    at
}

#[tokio::test]
async fn a_run_cut_off_after_any_page_goes_on_with_the_next() {
    let server = server().await;
    for paginate in PAGINATES {
        for (incremental, concurrency) in [(false, 1), (true, 1), (true, 3)] {
            for cut in 1..=4 {
                let bench = Bench::new(
                    &server.url("/q"),
                    &config(paginate, incremental, concurrency),
                );
                let (mut position, mut ids) = (None, Vec::new());
                // Every run falls over after `cut` pages; incremental sources read their edge again at the end.
                for _ in 0..12 {
                    position = run(&bench, position, cut, &mut ids).await;
                }
                if incremental && paginate.contains("page:") {
                    // Such a list is read twice, and what runs before have taken comes from the raw zone, which a bench has not.
                    ids.sort_unstable();
                    ids.dedup();
                }
                assert_eq!(
                    ids,
                    (0..10).collect::<Vec<_>>(),
                    "{paginate}, incremental {incremental}, cut after {cut}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_fails_has_lost_nothing() {
    let server = StubHttp::start(|request| match request.count {
        2 | 4 => Reply::status(403),
        n => Reply::json(&json!({"rows": [{"id": n}], "next": (n < 6).then(|| n.to_string())})),
    })
    .await;
    let bench = Bench::new(
        &server.url("/q"),
        "records: rows\npaginate: {cursor: {path: next, param: after}}",
    );
    let (mut position, mut pages, mut failures) = (None, Vec::new(), 0);
    for _ in 0..3 {
        let pulled = bench.pull(position.as_ref()).await;
        failures += usize::from(pulled.error.is_some());
        pages.extend(
            pulled
                .chunks
                .iter()
                .flat_map(|chunk| records(chunk, "rows")),
        );
        position = pulled.position;
    }
    assert_eq!(failures, 2);
    let ids: Vec<_> = pages
        .iter()
        .map(|record| record["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [0, 1, 3, 5, 6]);
    let after: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.param("after").unwrap_or_default())
        .collect();
    assert_eq!(after, ["", "0", "1", "1", "3", "3", "5"]);
}

#[tokio::test]
async fn a_position_of_another_kind_is_refused() {
    let bench = Bench::new("http://127.0.0.1:9/", "paginate: {page: {param: p}}");
    for value in [
        json!({}),
        json!({"version": 9}),
        json!("x"),
        json!({"version": 1, "pass": {"next": {"token": "x"}, "pages": 1}}),
    ] {
        let error = bench
            .open(Some(&Position(value)))
            .await
            .err()
            .expect("no reader");
        assert_eq!(error.code(), "bad_position");
        assert!(error.hint().is_some());
    }
}
