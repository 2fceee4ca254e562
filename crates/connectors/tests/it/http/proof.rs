//! A pass ends only when there is proof; everything else is a failed run that resumes at that page.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_testkit::{Reply, Request, StubHttp, gzip};
use serde_json::{Value, json};

use super::{Bench, all_records, items, param};

const PAGINATES: [&str; 5] = [
    "{page: {param: page, size: 2}}",
    "{offset: {param: offset, limit: 2}}",
    "{cursor: {path: next, param: after}}",
    "{next: {path: url}}",
    "{link_header: {}}",
];

/// The number of a request's page, from 0, whatever the paginator.
fn page_of(request: &Request) -> u64 {
    match request.param("page") {
        Some(_) => param(request, "page") - 1,
        None => param(request, "offset") / 2 + param(request, "after"),
    }
}

/// Page `n` of pages of the given sizes, with every way to the next.
fn page(n: u64, sizes: &[u64]) -> Reply {
    let start: u64 = sizes.iter().take(n as usize).sum();
    let size = sizes.get(n as usize).copied().unwrap_or_default();
    let has_next = n + 1 < sizes.len() as u64;
    let mut body = items(start..start + size);
    body["next"] = has_next.then(|| (n + 1).to_string()).into();
    body["url"] = has_next.then(|| format!("/q?after={}", n + 1)).into();
    let link = if has_next {
        format!("</q?after={}>; rel=next", n + 1)
    } else {
        String::new()
    };
    Reply::json(&body).header("link", link)
}

/// Answers page 3 with `wrong` until told otherwise: the run before fails with `code`, the run after has all there is.
async fn fails_and_resumes(paginate: &str, extra: &str, wrong: Reply, code: &str) {
    let is_wrong = Arc::new(AtomicBool::new(true));
    let server = {
        let is_wrong = Arc::clone(&is_wrong);
        StubHttp::start(move |request| match page_of(request) {
            2 if is_wrong.load(Ordering::SeqCst) => wrong.clone(),
            n => page(n, &[2, 2, 2, 2, 1]),
        })
        .await
    };
    let config = format!("records: items\nretry: {{attempts: 2}}\npaginate: {paginate}\n{extra}");
    let bench = Bench::new(&server.url("/q"), &config);
    let first = bench.pull(None).await;
    let error = first.error.as_ref().expect("the run must fail");
    assert_eq!(error.code(), code, "{paginate}: {error}");
    assert!(error.hint().is_some(), "{error}");
    assert_eq!(
        all_records(&first.chunks, "items"),
        [0, 1, 2, 3],
        "{paginate}"
    );
    is_wrong.store(false, Ordering::SeqCst);
    let second = bench.take(first.position.as_ref()).await;
    assert_eq!(
        all_records(&second.chunks, "items"),
        (4..9).map(Value::from).collect::<Vec<_>>(),
        "{paginate} {code}"
    );
}

#[tokio::test]
async fn an_error_in_place_of_a_page_fails_the_run_which_resumes_there() {
    for paginate in PAGINATES {
        for (body, code) in [
            (json!({"ok": false, "error": "ratelimited"}), "error_body"),
            (json!({}), "records_missing"),
            (json!({"items": "none"}), "records_missing"),
            (
                json!({"items": {"message": "slow down"}}),
                "records_missing",
            ),
            (json!({"items": [], "error": "ratelimited"}), "error_body"),
            (json!({"items": null, "ok": false}), "error_body"),
            (json!({"items": [], "success": "false"}), "error_body"),
            (json!({"items": [], "ok": "False"}), "error_body"),
        ] {
            fails_and_resumes(paginate, "", Reply::json(&body), code).await;
        }
        let declared = json!({"items": [99, 98], "status": "partial"});
        let errors = "errors: [{field: status, is: partial}, {field: fault}]";
        fails_and_resumes(paginate, errors, Reply::json(&declared), "error_body").await;
        fails_and_resumes(paginate, "", Reply::status(200), "not_json").await;
        fails_and_resumes(paginate, "", Reply::status(404), "source_not_found").await;
        fails_and_resumes(paginate, "", Reply::status(410), "source_not_found").await;
    }
}

#[tokio::test]
async fn a_cut_or_corrupt_compressed_body_is_requested_again_and_nothing_of_it_lands() {
    let whole = gzip(items(100..600).to_string().as_bytes());
    let mut corrupt = whole.clone();
    let checksum = corrupt.len() - 6;
    corrupt[checksum] ^= 1;
    let cut = whole[..whole.len() / 2].to_vec();
    for (body, encoding) in [
        (cut, "gzip"),
        (corrupt, "gzip"),
        (b"no zstd".to_vec(), "zstd"),
    ] {
        let broken = Reply::status(200)
            .header("content-type", "application/json")
            .header("content-encoding", encoding)
            .body(body);
        for paginate in PAGINATES {
            fails_and_resumes(paginate, "", broken.clone(), "body_broken").await;
        }
        // The second attempt may be fine; without pagination as well.
        for paginate in ["", "paginate: {page: {param: page}}", "records: items"] {
            let broken = broken.clone();
            let server = StubHttp::start(move |request| match request.count {
                0 => broken.clone(),
                1 => Reply::json(&items([1, 2])),
                _ => Reply::json(&items([])),
            })
            .await;
            let records = if paginate.starts_with("paginate") {
                "\nrecords: items"
            } else {
                ""
            };
            let bench = Bench::new(&server.url("/q"), &format!("{paginate}{records}"));
            let pulled = bench.take(None).await;
            assert_eq!(all_records(&pulled.chunks, "items"), [1, 2]);
            assert_eq!(bench.outcomes()[0], (Some(200), "retry"));
        }
    }
}

#[tokio::test]
async fn a_page_short_of_the_size_does_not_end_the_pass() {
    for paginate in PAGINATES {
        let paginate = paginate.replace("size: 2", "size: 100");
        let server = StubHttp::start(|request| {
            let n = match request.param("offset") {
                // The server hides a record of the second page.
                Some(_) => {
                    let offset = param(request, "offset");
                    let shown = (offset..offset + 100).filter(|n| *n != 150 && *n < 240);
                    return Reply::json(&items(shown));
                }
                None => page_of(request),
            };
            page(n, &[100, 99, 40])
        })
        .await;
        let paginate = paginate.replace("limit: 2", "limit: 100");
        let config = format!("records: items\npaginate: {paginate}");
        let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
        let mut records = all_records(&pulled.chunks, "items");
        records.dedup();
        assert_eq!(records.len(), 239, "{paginate}");
        assert_eq!(
            all_records(&pulled.chunks, "items").len(),
            239,
            "{paginate}"
        );
    }
}

#[tokio::test]
async fn an_offset_that_a_server_rounds_down_loses_and_doubles_nothing() {
    for key in ["", "key: id"] {
        let server = StubHttp::start(|request| {
            let n = param(request, "offset") / 10;
            let ids = [(0, 10), (10, 9), (20, 10), (30, 4)];
            let (start, count) = ids.get(n as usize).copied().unwrap_or_default();
            let rows = (start..start + count).map(|id| json!({"id": id}));
            Reply::json(&json!({"items": rows.collect::<Vec<_>>()}))
        })
        .await;
        let config =
            format!("records: items\npaginate: {{offset: {{param: offset, limit: 10}}}}\n{key}");
        let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
        assert_eq!(all_records(&pulled.chunks, "items").len(), 33, "{key}");
    }
}

#[tokio::test]
async fn every_declared_end_ends_a_pass() {
    for (end, last) in [
        ("not_found", Reply::status(404).body("no such page")),
        ("not_found", Reply::status(410)),
        ("empty_body", Reply::status(200)),
        ("missing_records", Reply::json(&json!({"page": 3}))),
        (
            "{field: more, is: false}",
            Reply::json(&json!({"items": [4], "more": false})),
        ),
        (
            "[short_page, {field: page.of, is: 3}]",
            Reply::json(&json!({"items": [4], "page": {"of": 3}})),
        ),
        ("short_page", Reply::json(&items([4]))),
        ("empty_page", Reply::status(204)),
        ("empty_page", Reply::json(&items([]))),
    ] {
        for paginate in &PAGINATES[..2] {
            let last = last.clone();
            let server = StubHttp::start(move |request| match page_of(request) {
                n @ 0..2 => {
                    let mut body = items(n * 2..n * 2 + 2);
                    body["more"] = true.into();
                    Reply::json(&body)
                }
                2 => last.clone(),
                n => panic!("page {n} is behind the end of {:?}", last.status),
            })
            .await;
            let config = format!("records: items\npaginate: {paginate}\nend: {end}");
            let bench = Bench::new(&server.url("/q"), &config);
            let pulled = bench.take(None).await;
            assert!(all_records(&pulled.chunks, "items").len() >= 4, "{end}");
            assert_eq!(server.requests().len(), 3, "{end} {paginate}");
            let again = bench.take(pulled.position.as_ref()).await;
            assert!(again.chunks.is_empty(), "the pass is complete");
        }
    }
}

#[tokio::test]
async fn a_page_that_is_not_found_behind_the_last_one_ends_a_pass_by_proof() {
    for paginate in &PAGINATES[..2] {
        for sizes in [&[2, 2][..], &[2, 1], &[2, 2, 2]] {
            let server =
                StubHttp::start(move |request| match page_of(request) < sizes.len() as u64 {
                    true => page(page_of(request), sizes),
                    false => Reply::status(404).body("no such page"),
                })
                .await;
            let config = format!("records: items\npaginate: {paginate}");
            let bench = Bench::new(&server.url("/q"), &config);
            let pulled = bench.take(None).await;
            let mut records = all_records(&pulled.chunks, "items");
            records.dedup();
            let count: u64 = sizes.iter().sum();
            assert_eq!(records, (0..count).map(Value::from).collect::<Vec<_>>());
            let again = bench.take(pulled.position.as_ref()).await;
            assert!(again.chunks.is_empty(), "the pass is complete");
        }
    }
}

#[tokio::test]
async fn a_page_that_is_not_found_proves_no_end_when_nothing_else_is_found_either() {
    // The whole API is gone, or the page comes back.
    for gone_for_ever in [true, false] {
        let server = StubHttp::start(move |request| {
            let is_gone = match gone_for_ever {
                true => request.count >= 2,
                false => request.count == 2,
            };
            match is_gone {
                true => Reply::status(404),
                false => page(page_of(request), &[2, 2, 2, 2]),
            }
        })
        .await;
        let config = format!("records: items\npaginate: {}", PAGINATES[0]);
        let pulled = Bench::new(&server.url("/q"), &config).pull(None).await;
        let error = pulled.error.expect("the run must fail");
        assert_eq!(error.code(), "source_not_found");
        assert_eq!(all_records(&pulled.chunks, "items").len(), 4);
    }
}

#[tokio::test]
async fn a_rule_for_the_end_does_not_hold_for_the_first_page() {
    for (end, first) in [
        ("not_found", Reply::status(404)),
        ("empty_body", Reply::status(200)),
        ("missing_records", Reply::json(&json!({"page": 1}))),
    ] {
        let server = StubHttp::start(move |_| first.clone()).await;
        let config = format!("records: items\npaginate: {{page: {{param: page}}}}\nend: {end}");
        assert!(
            Bench::new(&server.url("/q"), &config)
                .pull(None)
                .await
                .error
                .is_some()
        );
    }
}

#[tokio::test]
async fn an_error_is_not_the_end_where_the_list_may_be_missing() {
    for error in [
        json!({"errors": [{"m": 1}]}),
        json!({"success": false}),
        json!({"status": "error"}),
    ] {
        let server = StubHttp::start(move |request| match page_of(request) {
            3 => Reply::json(&error),
            n => Reply::json(&items(Some(n))),
        })
        .await;
        let config = "records: items\npaginate: {page: {param: page}}\nend: missing_records";
        let pulled = Bench::new(&server.url("/q"), config).pull(None).await;
        let error = pulled.error.expect("the run must fail");
        assert_eq!(error.code(), "error_body");
    }
}

#[tokio::test]
async fn with_a_field_an_empty_page_does_not_end_the_pass() {
    let server = StubHttp::start(|request| {
        let n = page_of(request);
        let mut body = items((n != 1).then_some(n));
        body["more"] = (n < 3).into();
        Reply::json(&body)
    })
    .await;
    let config = "records: items\npaginate: {page: {param: page}}\nend: {field: more, is: false}";
    let pulled = Bench::new(&server.url("/q"), config).take(None).await;
    assert_eq!(all_records(&pulled.chunks, "items"), [0, 2, 3]);
    // A path that leads nowhere would never end.
    let config = config.replace("field: more", "field: has_more");
    let (code, _) = Bench::new(&server.url("/q"), &config).fails().await;
    assert_eq!(code, "end_field_missing");
}

#[tokio::test]
async fn a_next_page_that_cannot_be_found_is_an_error() {
    const CURSOR: &str = "records: items\npaginate: {cursor: {path: next, param: after}}";
    for (config, body, code, hint) in [
        (
            CURSOR,
            json!({"items": [1], "meta": {"next_cursor": "a"}}),
            "next_page_missing",
            "path: meta.next_cursor",
        ),
        (
            "records: items\nparams: {per_page: 2}\npaginate: {cursor: {path: next, param: after}}",
            json!({"items": [1, 2]}),
            "next_page_missing",
            "end: no_next",
        ),
        (
            "records: items\nparams: {limit: 2}\npaginate: {link_header: {}}",
            json!({"items": [1, 2]}),
            "next_page_missing",
            "end: no_next",
        ),
        (
            "records: items\npaginate: {cursor: {path: next, param: after, more: more}}",
            json!({"items": [1], "more": true}),
            "next_page_missing",
            "resumes",
        ),
        (
            CURSOR,
            json!({"items": [1], "next": {"after": "x"}}),
            "next_page_unreadable",
            "links.next.href",
        ),
    ] {
        let reply = Reply::json(&body);
        let server = StubHttp::start(move |_| reply.clone()).await;
        let pulled = Bench::new(&server.url("/q"), config).pull(None).await;
        let error = pulled
            .error
            .expect("the page does not prove that it is the last");
        assert_eq!(error.code(), code, "{body}");
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
        assert!(pulled.chunks.is_empty());
    }
    // What ends a pass: null, an empty text, a page that is not full, a rule.
    for (config, body) in [
        (
            CURSOR,
            json!({"items": [1], "next": null, "meta": {"next_cursor": "a"}}),
        ),
        (CURSOR, json!({"items": [1], "next": ""})),
        (CURSOR, json!({"items": [1]})),
        (
            "records: items\nparams: {per_page: 2}\npaginate: {cursor: {path: next, param: after}}",
            json!({"items": [1]}),
        ),
        (
            "records: items\nparams: {per_page: 1}\nend: no_next\npaginate: {cursor: {path: next, param: after}}",
            json!({"items": [1]}),
        ),
    ] {
        let reply = Reply::json(&body);
        let server = StubHttp::start(move |_| reply.clone()).await;
        let pulled = Bench::new(&server.url("/q"), config).take(None).await;
        assert_eq!(all_records(&pulled.chunks, "items"), [1], "{body}");
    }
}

#[tokio::test]
async fn what_is_no_list_behind_lists_is_neither_a_record_nor_the_end() {
    for wrong in [
        json!({"message": "slow down"}),
        json!("maintenance"),
        json!(""),
        json!(null),
        json!(5),
        json!(true),
    ] {
        for paginate in [
            "{page: {param: page}}",
            "{page: {param: page, stable: true}}",
        ] {
            let wrong = wrong.clone();
            let server = StubHttp::start(move |request| match page_of(request) {
                n @ 0..2 => Reply::json(&json!([n])),
                _ => Reply::json(&wrong),
            })
            .await;
            let bench = Bench::new(&server.url("/q"), &format!("paginate: {paginate}"));
            let pulled = bench.pull(None).await;
            assert_eq!(
                pulled.error.unwrap().code(),
                "records_missing",
                "{paginate}"
            );
            assert_eq!(all_records(&pulled.chunks, ""), [0, 1], "{paginate}");
        }
    }
    for first in [json!("x"), json!(null), json!(7)] {
        let server = StubHttp::start(move |_| Reply::json(&first)).await;
        assert_eq!(
            Bench::new(&server.url("/q"), "paginate: {page: {param: page}}")
                .fails()
                .await
                .0,
            "records_missing"
        );
    }
}

/// Without its key no record is told from another: equal ones are not repeats.
#[tokio::test]
async fn a_key_that_no_record_has_is_an_error() {
    let rows = json!({"items": [{"id": 1}, {"id": 1}]});
    let server = StubHttp::start(move |_| Reply::json(&rows)).await;
    for key in [
        "key: idd",
        "cursor: {field: id, param: since, format: raw, key: idd}",
    ] {
        let config = format!("records: items\n{key}");
        let (code, error) = Bench::new(&server.url("/q"), &config).fails().await;
        assert_eq!(code, "key_missing", "{error}");
        assert!(error.to_string().contains("idd"), "{error}");
    }
}

#[tokio::test]
async fn a_record_without_a_cursor_value_stops_nothing() {
    let server = StubHttp::start(|request| {
        let pages = [
            json!([{"id": 1, "u": "2025-12-01T00:00:00Z"}]),
            json!([{"id": 2, "u": null}]),
            json!([{"id": 3}]),
            json!([{"id": 4, "u": 17}, {"id": 5, "u": "soon"}]),
            json!([{"id": 6, "u": "2025-12-02T00:00:00Z"}]),
            json!([]),
        ];
        Reply::json(&json!({"items": pages[(param(request, "page") as usize - 1).min(5)]}))
    })
    .await;
    let config = "records: items\npaginate: {page: {param: page}}\ncursor: {field: u, param: since, key: id}";
    let bench = Bench::new(&server.url("/q"), config);
    let first = bench.take(None).await;
    assert_eq!(all_records(&first.chunks, "items").len(), 6);
    server.forget();
    let second = bench.take(first.position.as_ref()).await;
    assert!(second.chunks.is_empty(), "each of them lands once");
    assert!(
        server.targets()[0].starts_with("/q?since=2025-12-02T00:00:00Z"),
        "{:?}",
        server.targets()
    );
    // The very first record may be without one.
    let server = StubHttp::start(|_| Reply::json(&json!([{"id": 6, "u": null}]))).await;
    let bench = Bench::new(&server.url("/q"), "cursor: {field: u, param: since}");
    assert_eq!(bench.take(None).await.chunks.len(), 1);
}

#[tokio::test]
async fn a_cursor_value_from_the_far_future_does_not_move_the_cursor() {
    for (format, far, real) in [
        (
            "",
            json!("9999-01-01T00:00:00Z"),
            json!("2026-01-02T00:00:00Z"),
        ),
        (", format: date", json!("2999-12-31"), json!("2026-01-02")),
        (
            ", format: epoch_seconds",
            json!(253_370_764_800_i64),
            json!(1_767_312_000),
        ),
        (
            ", format: raw",
            json!("9999-01-01T00:00:00Z"),
            json!("2026-01-02T00:00:00Z"),
        ),
    ] {
        let rows = Arc::new(std::sync::Mutex::new(vec![
            json!({"id": 1, "u": real}),
            json!({"id": 2, "u": far}),
        ]));
        let server = {
            let rows = Arc::clone(&rows);
            StubHttp::start(move |_| Reply::json(&Value::from(rows.lock().unwrap().clone()))).await
        };
        let config = format!("cursor: {{field: u, param: since, key: id{format}}}");
        let bench = Bench::new(&server.url("/q"), &config);
        let first = bench.take(None).await;
        assert_eq!(all_records(&first.chunks, "").len(), 2, "both land");
        rows.lock().unwrap().push(json!({"id": 3, "u": real}));
        let second = bench.take(first.position.as_ref()).await;
        let new = all_records(&second.chunks, "");
        assert_eq!(new.len(), 1, "{format}");
        assert_eq!(new[0]["id"], 3);
        assert!(!server.targets()[1].contains("9999") && !server.targets()[1].contains("2999"));
    }
}

#[tokio::test]
async fn a_cursor_that_an_earlier_version_moved_into_the_future_comes_back() {
    let server =
        StubHttp::start(|_| Reply::json(&json!([{"id": 1, "u": "2026-01-01T12:00:00Z"}]))).await;
    let bench = Bench::new(
        &server.url("/q"),
        "cursor: {field: u, param: since, key: id}",
    );
    let stored = json!({"version": 1, "newest": 253_370_764_800_000_000_i64});
    let pulled = bench.take(Some(&forebay_core::Position(stored))).await;
    assert_eq!(pulled.chunks.len(), 1);
    assert_eq!(server.targets(), ["/q?since=2026-01-01T00:00:00Z"]);
}

#[tokio::test]
async fn a_page_of_many_small_elements_is_refused() {
    let body = format!("[{}0]", "0,".repeat(600_000));
    let body = gzip(body.as_bytes());
    let server = StubHttp::start(move |_| {
        Reply::status(200)
            .header("content-encoding", "gzip")
            .body(body.clone())
    })
    .await;
    let (code, error) = Bench::new(&server.url("/q"), "paginate: {page: {param: p}}")
        .fails()
        .await;
    assert_eq!(code, "records_limit", "{error}");
    // The bound on expansion holds where nobody looks inside as well.
    let (code, _) = Bench::new(&server.url("/q"), "limits: {expanded: 1MiB}")
        .fails()
        .await;
    assert_eq!(code, "expansion_limit");
}

#[tokio::test]
async fn a_repeating_server_adds_nothing_run_after_run() {
    let server = StubHttp::start(|request| {
        let next = ["b", "a"][usize::from(request.param("c").as_deref() == Some("b"))];
        Reply::json(&json!({"items": [request.param("c")], "next": next}))
    })
    .await;
    let cursor = Bench::new(
        &server.url("/q"),
        "records: items\npaginate: {cursor: {path: next, param: c}}",
    );
    let same = StubHttp::start(|_| Reply::json(&items([1, 2]))).await;
    let page = Bench::new(
        &same.url("/q"),
        "records: items\npaginate: {page: {param: page}}",
    );
    for (bench, records) in [(cursor, 2), (page, 2)] {
        let mut position = None;
        let mut landed = 0;
        for _ in 0..4 {
            let pulled = bench.pull(position.as_ref()).await;
            assert_eq!(pulled.error.unwrap().code(), "pagination_repeats");
            landed += all_records(&pulled.chunks, "items").len();
            position = pulled.position;
        }
        assert_eq!(landed, records);
    }
}
