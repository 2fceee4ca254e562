//! Pages that are not the last: next pages that nobody asked for, paths that lead nowhere, orders that servers do not share.

use forebay_core::Error;
use forebay_testkit::{Reply, StubHttp};
use serde_json::{Value, json};

use super::{Bench, all_records, param};

fn paginate_of(error: &Error) -> Option<&str> {
    let mut context = error.context();
    context.find_map(|(key, value)| (key == "paginate").then_some(value))
}

/// A server that says the same on every page.
async fn constant(reply: Reply) -> StubHttp {
    StubHttp::start(move |_| reply.clone()).await
}

#[tokio::test]
async fn one_page_of_several_fails_the_run_unless_it_is_declared() {
    let rows = json!([{"id": 1}, {"id": 2}]);
    let body = |fields: Value| {
        let mut body = fields;
        body["rows"] = rows.clone();
        Reply::json(&body)
    };
    let csv = Reply::status(200)
        .header("content-type", "text/csv")
        .header("link", "</q?page=2>; rel=next")
        .body("a\n1\n");
    for (reply, paginate) in [
        (csv, Some("{link_header: {}}")),
        (
            body(json!({"next": "/q?page=2"})),
            Some("{next: {path: next}}"),
        ),
        (
            body(json!({"meta": {"next_cursor": 17}})),
            Some("{cursor: {path: meta.next_cursor, param: cursor}}"),
        ),
        (
            body(json!({"page": 1, "total_pages": 3})),
            Some("{page: {param: page}}"),
        ),
        (body(json!({"has_more": true})), None),
    ] {
        for records in ["", "records: rows\n"] {
            let is_json = paginate != Some("{link_header: {}}");
            if !is_json && !records.is_empty() {
                continue;
            }
            let server = constant(reply.clone()).await;
            let mut bench = Bench::new(&server.url("/q"), &format!("{records}method: GET"));
            bench.is_json = is_json;
            let pulled = bench.pull(None).await;
            let error = pulled.error.expect("the run must fail");
            assert_eq!(error.code(), "more_pages", "{error}");
            assert_eq!(paginate_of(&error), paginate);
            assert!(
                error.hint().unwrap().contains("`paginate: none`"),
                "{error:?}"
            );
            assert!(pulled.chunks.is_empty() && pulled.position.is_none());
            let mut declared = Bench::new(&server.url("/q"), &format!("{records}paginate: none"));
            declared.is_json = is_json;
            let pulled = declared.take(None).await;
            assert_eq!(pulled.chunks.len(), 1);
            assert!(
                declared
                    .take(pulled.position.as_ref())
                    .await
                    .chunks
                    .is_empty()
            );
        }
    }
    // A record of its own, and a last page.
    for fine in [
        json!({"id": 1, "next": "/orders/2"}),
        json!({"rows": [{"id": 1}], "next": null, "has_more": false, "cursor": "x"}),
    ] {
        let server = constant(Reply::json(&fine)).await;
        let mut bench = Bench::new(&server.url("/q"), "method: GET");
        bench.is_json = true;
        assert_eq!(bench.take(None).await.chunks.len(), 1, "{fine}");
    }
}

#[tokio::test]
async fn the_paginate_of_the_hint_loads_every_page() {
    let server = StubHttp::start(|request| {
        let from = param(request, "offset");
        let next = (from < 4).then_some(from + 2);
        Reply::json(
            &json!({"rows": [{"id": from}, {"id": from + 1}], "meta": {"next_offset": next}}),
        )
    })
    .await;
    let mut bench = Bench::new(&server.url("/q"), "records: rows");
    bench.is_json = true;
    let (_, error) = bench.fails().await;
    let paginate = paginate_of(&error).unwrap();
    let config = format!("records: rows\npaginate: {paginate}");
    let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
    assert_eq!(all_records(&pulled.chunks, "rows").len(), 6);
}

#[tokio::test]
async fn a_next_page_beside_the_configured_place_is_not_the_end() {
    let rows = json!([{"id": 1}]);
    for (paginate, reply, hint) in [
        (
            "{cursor: {path: meta.next, param: offset}}",
            Reply::json(&json!({"rows": rows, "meta": {"next_offset": 200}})),
            "{cursor: {path: meta.next_offset, param: offset}}",
        ),
        (
            "{link_header: {}}",
            Reply::json(&json!({"rows": rows, "next": "/q?page=2"})),
            "{next: {path: next}}",
        ),
        (
            "{next: {path: links.next}}",
            Reply::json(&json!({"rows": rows})).header("link", "</q?page=2>; rel=next"),
            "{link_header: {}}",
        ),
        (
            "{next: {path: links.next}}",
            Reply::json(&json!({"rows": rows, "page": 1, "total_pages": 2})),
            "{page: {param: page}}",
        ),
    ] {
        let server = constant(reply).await;
        let config = format!("records: rows\npaginate: {paginate}");
        let (code, error) = Bench::new(&server.url("/q"), &config).fails().await;
        assert_eq!(code, "next_page_missing", "{paginate}");
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
    }
}

/// `has_more` as servers write it, true on the first two pages of three.
fn flagged(request: &forebay_testkit::Request, [more, last]: &[Value; 2]) -> Reply {
    let page = param(request, "page").max(param(request, "c"));
    let more = if page < 3 { more } else { last };
    let rows = if page <= 3 {
        json!([{"id": page}])
    } else {
        json!([])
    };
    Reply::json(&json!({"rows": rows, "more": more, "next": page.max(1) + 1}))
}

#[tokio::test]
async fn a_flag_is_read_however_a_server_writes_it() {
    for values in [
        [json!(true), json!(false)],
        [json!(1), json!(0)],
        [json!("True"), json!("False")],
        [json!("yes"), json!("no")],
        [json!("1"), json!("")],
        [json!(true), json!(null)],
    ] {
        let sent = values.clone();
        let server = StubHttp::start(move |request| flagged(request, &sent)).await;
        let config =
            "records: rows\npaginate: {page: {param: page}}\nend: {field: more, is: false}";
        let pulled = Bench::new(&server.url("/q"), config).take(None).await;
        assert_eq!(all_records(&pulled.chunks, "rows").len(), 3, "{values:?}");
        assert_eq!(server.requests().len(), 3, "{values:?}");
        if values[1] == json!(null) {
            continue;
        }
        let config = "records: rows\npaginate: {cursor: {path: next, param: c, more: more}}";
        let pulled = Bench::new(&server.url("/q"), config).take(None).await;
        assert_eq!(all_records(&pulled.chunks, "rows").len(), 3, "{values:?}");
    }
    let server = StubHttp::start(|request| flagged(request, &[json!("m"), json!("n")])).await;
    for (paginate, end, expected) in [
        (
            "page: {param: page}",
            "end: {field: more, is: false}",
            "end_field_unreadable",
        ),
        (
            "cursor: {path: next, param: c, more: more}",
            "",
            "next_page_unreadable",
        ),
    ] {
        let config = format!("records: rows\npaginate: {{{paginate}}}\n{end}");
        let (code, error) = Bench::new(&server.url("/q"), &config).fails().await;
        assert_eq!(code, expected, "{error}");
    }
}

#[tokio::test]
async fn a_field_that_no_page_has_is_not_the_end() {
    let three_pages = |request: &forebay_testkit::Request| {
        let page = param(request, "page").max(param(request, "c")).max(1);
        let rows = if page <= 3 {
            json!([{"id": page}])
        } else {
            json!([])
        };
        let next = (page < 3).then_some(page + 1);
        Reply::json(&json!({"rows": rows, "meta": {"next": next}}))
    };
    for (paginate, end) in [
        ("page: {param: page}", "{field: mata.next, is: null}"),
        ("page: {param: page}", "{field: meta.more, is: false}"),
        (
            "page: {param: page}",
            "[{field: meta.more, is: false}, empty_page]",
        ),
        (
            "cursor: {path: meta.next, param: c}",
            "{field: mata.next, is: null}",
        ),
        (
            "cursor: {path: meta.next, param: c}",
            "[{field: meta.more, is: false}, no_next]",
        ),
    ] {
        let server = StubHttp::start(three_pages).await;
        let config = format!("records: rows\npaginate: {{{paginate}}}\nend: {end}");
        let (code, error) = Bench::new(&server.url("/q"), &config).fails().await;
        assert_eq!(code, "end_field_missing", "{paginate} {end} {error}");
    }
    // With the right path, and on a list of one page that omits it.
    let server = StubHttp::start(three_pages).await;
    let config =
        "records: rows\npaginate: {page: {param: page}}\nend: {field: meta.next, is: null}";
    let pulled = Bench::new(&server.url("/q"), config).take(None).await;
    assert_eq!(all_records(&pulled.chunks, "rows").len(), 3);
    assert_eq!(server.requests().len(), 3);
    let server = StubHttp::start(|request| match param(request, "page") {
        1 => Reply::json(&json!({"rows": [{"id": 1}]})),
        _ => Reply::json(&json!({"rows": []})),
    })
    .await;
    let pulled = Bench::new(&server.url("/q"), config).take(None).await;
    assert_eq!(all_records(&pulled.chunks, "rows").len(), 1);
}

/// The server orders names without regard to case: `Zoe` comes after `adam`, but its bytes come before.
#[tokio::test]
async fn a_new_record_that_sorts_before_the_bound_is_not_left_out() {
    const CONFIG: &str =
        "records: rows\npaginate: none\ncursor: {field: name, param: from, key: name, format: raw}";
    for (first, second, code) in [
        ("adam", json!(["adam", "Zoe"]), Some("cursor_order")),
        ("b-1", json!(["b-1", "A"]), Some("cursor_order")),
        // A server that ignores the bound, or rounds it: the order is the same everywhere.
        ("10", json!(["9", "10", "11"]), None),
        ("01J9A", json!(["01J8Z", "01J9A", "01JA0"]), None),
        (
            "2025-01-02 10:00:00",
            json!(["2025-01-02", "2025-01-03"]),
            None,
        ),
    ] {
        let names = second.clone();
        let server = StubHttp::start(move |request| {
            let names = match request.param("from") {
                None => json!([first]),
                Some(_) => names.clone(),
            };
            let rows: Vec<Value> = names
                .as_array()
                .unwrap()
                .iter()
                .map(|name| json!({ "name": name }))
                .collect();
            Reply::json(&json!({ "rows": rows }))
        })
        .await;
        let bench = Bench::new(&server.url("/q"), CONFIG);
        let loaded = bench.take(None).await;
        let pulled = bench.pull(loaded.position.as_ref()).await;
        assert_eq!(pulled.error.map(|error| error.code()), code, "{second}");
        if code.is_none() {
            assert_eq!(all_records(&pulled.chunks, "rows").len(), 1, "{second}");
        }
    }
}
