//! Every kind of pagination, with the very requests it makes; authentication; what a payload carries.

use forebay_core::Compression;
use forebay_testkit::{Reply, StubHttp, gzip};
use serde_json::{Value, json};

use super::{Bench, all_records, attributes, items, param};

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(Value::from).collect()
}

/// `total` numbers, `size` a page, pages from 1.
async fn page_server(total: u64, size: u64) -> StubHttp {
    StubHttp::start(move |request| {
        let start = (param(request, "page") - 1) * size;
        Reply::json(&items(start.min(total)..(start + size).min(total)))
    })
    .await
}

async fn offset_server(total: u64, cap: u64) -> StubHttp {
    StubHttp::start(move |request| {
        let (start, limit) = (param(request, "offset"), param(request, "limit").min(cap));
        Reply::json(&items(start.min(total)..(start + limit).min(total)))
    })
    .await
}

#[tokio::test]
async fn one_request_without_pagination() {
    let server = StubHttp::start(|_| Reply::json(&json!([1, 2]))).await;
    let bench = Bench::new(
        &server.url("/a?x=1"),
        "params: {b: 2, c: true, d: 1.5, e: \"ü &\"}",
    );
    let pulled = bench.take(None).await;
    assert_eq!(server.targets(), ["/a?x=1&b=2&c=true&d=1.5&e=ü &"]);
    assert_eq!(all_records(&pulled.chunks, ""), [1, 2]);
    // The pass is complete: the next run asks for nothing, unless everything is wanted again.
    assert!(bench.take(pulled.position.as_ref()).await.chunks.is_empty());
    assert_eq!(server.requests().len(), 1);
    let bench = Bench {
        full: true,
        ..bench
    };
    assert_eq!(bench.take(pulled.position.as_ref()).await.chunks.len(), 1);
}

#[tokio::test]
async fn page_numbers_end_with_an_empty_page() {
    let server = page_server(5, 2).await;
    let pulled = Bench::new(
        &server.url("/q"),
        "records: items\npaginate: {page: {param: page}}",
    )
    .take(None)
    .await;
    assert_eq!(
        server.targets(),
        ["/q?page=1", "/q?page=2", "/q?page=3", "/q?page=4"]
    );
    assert_eq!(all_records(&pulled.chunks, "items"), numbers(0..5));
    assert_eq!(pulled.chunks.len(), 3, "an empty page is no payload");
}

#[tokio::test]
async fn a_short_page_ends_a_pass_only_where_the_pipeline_says_so() {
    for (end, last) in [("", true), ("\nend: short_page", false)] {
        let server = page_server(5, 2).await;
        let config =
            "records: items\npaginate: {page: {param: page, size_param: per_page, size: 2}}";
        let bench = Bench::new(&server.url("/q"), &format!("{config}{end}"));
        let pulled = bench.take(None).await;
        let mut targets = vec![
            "/q?page=1&per_page=2",
            "/q?page=2&per_page=2",
            "/q?page=3&per_page=2",
        ];
        targets.extend(last.then_some("/q?page=4&per_page=2"));
        assert_eq!(server.targets(), targets);
        assert_eq!(all_records(&pulled.chunks, "items"), numbers(0..5));

        let server = offset_server(5, 100).await;
        let config =
            "records: items\npaginate: {offset: {param: offset, limit_param: limit, limit: 2}}";
        let bench = Bench::new(&server.url("/q"), &format!("{config}{end}"));
        let pulled = bench.take(None).await;
        let mut targets = vec![
            "/q?offset=0&limit=2",
            "/q?offset=2&limit=2",
            "/q?offset=4&limit=2",
        ];
        targets.extend(last.then_some("/q?offset=5&limit=2"));
        assert_eq!(server.targets(), targets);
        assert_eq!(all_records(&pulled.chunks, "items"), numbers(0..5));
    }
}

#[tokio::test]
async fn a_server_that_caps_the_page_size_loses_nothing() {
    let server = offset_server(7, 3).await;
    let config =
        "records: items\npaginate: {offset: {param: offset, limit_param: limit, limit: 100}}";
    let pulled = Bench::new(&server.url("/q"), config).take(None).await;
    assert_eq!(all_records(&pulled.chunks, "items"), numbers(0..7));
    let offsets: Vec<_> = server
        .requests()
        .iter()
        .map(|request| param(request, "offset"))
        .collect();
    assert_eq!(offsets, [0, 3, 6, 7]);
}

#[tokio::test]
async fn pages_are_fetched_in_parallel_and_come_in_order() {
    for (cap, total) in [(2, 41), (2, 40), (1, 9)] {
        let server = StubHttp::start(move |request| {
            let (start, limit) = (param(request, "offset"), param(request, "limit").min(cap));
            // Later pages answer sooner.
            let delay = std::time::Duration::from_millis(20 * (3 - start / 2 % 4));
            Reply::json(&items(start.min(total)..(start + limit).min(total))).delay(delay)
        })
        .await;
        let config = "records: items\nrate: {requests: 1000, per: 1s, concurrency: 4}\n\
                      paginate: {offset: {param: offset, limit_param: limit, limit: 2}}";
        let pulled = Bench::new(&server.url("/q"), config).take(None).await;
        assert_eq!(
            all_records(&pulled.chunks, "items"),
            numbers(0..total),
            "cap {cap}, total {total}"
        );
    }
}

#[tokio::test]
async fn a_token_in_the_body_leads_on() {
    let server = StubHttp::start(|request| match request.param("after").as_deref() {
        None => Reply::json(&json!({"data": [1], "meta": {"next": "a b&c"}})),
        Some("a b&c") => Reply::json(&json!({"data": [2], "meta": {"next": 77}})),
        _ => Reply::json(&json!({"data": [3], "meta": {"next": null}})),
    })
    .await;
    let config =
        "records: data\nparams: {q: x}\npaginate: {cursor: {path: meta.next, param: after}}";
    let pulled = Bench::new(&server.url("/q"), config).take(None).await;
    assert_eq!(
        server.targets(),
        ["/q?q=x", "/q?q=x&after=a b&c", "/q?q=x&after=77"]
    );
    assert_eq!(all_records(&pulled.chunks, "data"), [1, 2, 3]);
}

#[tokio::test]
async fn nothing_more_ends_a_pass_although_there_is_a_token() {
    let server = StubHttp::start(|request| {
        Reply::json(&json!({"data": [1], "next": format!("t{}", request.count), "has_more": request.count < 1}))
    })
    .await;
    let config = "records: data\npaginate: {cursor: {path: next, param: after, more: has_more}}";
    Bench::new(&server.url("/q"), config).take(None).await;
    assert_eq!(server.targets(), ["/q", "/q?after=t0"]);
}

#[tokio::test]
async fn next_links_in_the_body_are_absolute_or_relative() {
    let server = StubHttp::start(|request| match request.path.as_str() {
        "/v1/q" => Reply::json(&json!({"data": [1], "links": {"next": "more?p=2"}})),
        "/v1/more" => Reply::json(&json!({"data": [2], "links": {"next": format!("http://{}/last", request.headers["host"])}})),
        _ => Reply::json(&json!({"data": [3], "links": {}})),
    })
    .await;
    let config = "records: data\nparams: {a: 1}\npaginate: {next: {path: links.next}}";
    let pulled = Bench::new(&server.url("/v1/q"), config).take(None).await;
    assert_eq!(server.targets(), ["/v1/q?a=1", "/v1/more?p=2", "/last"]);
    assert_eq!(all_records(&pulled.chunks, "data"), [1, 2, 3]);
}

#[tokio::test]
async fn link_headers_lead_on_whatever_the_body_is() {
    let server = StubHttp::start(|request| {
        let reply = Reply::status(200)
            .header("content-type", "text/csv")
            .body(format!("a\n{}\n", request.count));
        match request.count {
            2 => reply.header("link", r#"</q?p=1>; rel="first""#),
            n => reply.header(
                "link",
                format!(r#"</q?p=1>; rel="first", </q?p={}>; rel="next""#, n + 2),
            ),
        }
    })
    .await;
    let pulled = Bench::new(&server.url("/q"), "paginate: {link_header: {}}")
        .take(None)
        .await;
    assert_eq!(server.targets(), ["/q", "/q?p=2", "/q?p=3"]);
    let bodies: Vec<_> = pulled
        .chunks
        .iter()
        .map(|chunk| chunk.bytes.as_ref())
        .collect();
    assert_eq!(bodies, [b"a\n0\n", b"a\n1\n", b"a\n2\n"]);
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    for (auth, header, value) in [
        ("{bearer: {token: hush}}", "authorization", "Bearer hush"),
        (
            "{basic: {username: me, password: hush}}",
            "authorization",
            "Basic bWU6aHVzaA==",
        ),
        (
            "{api_key: {header: X-Key, value: hush, prefix: \"Token \"}}",
            "x-key",
            "Token hush",
        ),
    ] {
        let server = StubHttp::start(|_| Reply::json(&json!([]))).await;
        Bench::new(
            &server.url("/q"),
            &format!("auth: {auth}\nheaders: {{x-team: a}}"),
        )
        .take(None)
        .await;
        let request = &server.requests()[0];
        assert_eq!(
            (
                request.headers[header].as_str(),
                request.headers["x-team"].as_str()
            ),
            (value, "a")
        );
        assert_eq!(request.headers["accept-encoding"], "gzip, zstd");
    }
    let server = StubHttp::start(|request| match request.count {
        // Some servers repeat the key in the next link.
        0 => Reply::json(&json!({"data": [1], "next": "/q?p=2&key=hush"})),
        _ => Reply::status(403).body("no"),
    })
    .await;
    let config =
        "records: data\nauth: {api_key: {param: key, value: hush}}\npaginate: {next: {path: next}}";
    let bench = Bench::new(&server.url("/q"), config);
    let pulled = bench.pull(None).await;
    assert_eq!(server.targets(), ["/q?key=hush", "/q?p=2&key=hush"]);
    let error = pulled.error.unwrap();
    assert_eq!(error.code(), "source_denied");
    let position = pulled.position.unwrap();
    for shown in [
        format!("{error:?}"),
        position.to_string(),
        format!("{:?}", bench.log.0),
        pulled.chunks[0].head.name.clone(),
    ] {
        assert!(!shown.contains("hush"), "{shown}");
    }
    assert!(!format!("{:?}", bench.source).contains("hush"));
}

#[tokio::test]
async fn credentials_stay_at_home() {
    let other = StubHttp::start(|_| Reply::json(&json!({"data": [2]}))).await;
    let target = other.url("/x?key=hush&p=2");
    for redirect in [true, false] {
        let target = target.clone();
        let home = StubHttp::start(move |request| match (redirect, request.count) {
            (true, _) => Reply::status(302).header("location", target.clone()),
            (false, _) => Reply::json(&json!({"data": [1], "next": target.clone()})),
        })
        .await;
        for auth in [
            "{api_key: {param: key, value: hush}}",
            "{bearer: {token: hush}}",
            "{api_key: {header: x-key, value: hush}}",
        ] {
            let config = format!(
                "records: data\nheaders: {{x-own: hush}}\nauth: {auth}\npaginate: {{next: {{path: next}}}}"
            );
            Bench::new(&home.url("/q"), &config).take(None).await;
        }
    }
    let requests = other.requests();
    assert_eq!(requests.len(), 6);
    for request in &requests {
        assert!(
            !format!("{:?}", request.headers).contains("hush"),
            "{request:?}"
        );
    }
    assert_eq!(requests[0].target(), "/x?p=2");
}

#[tokio::test]
async fn a_payload_carries_what_is_known_about_it() {
    let body = gzip(br#"{"items": [1, 2]}"#);
    let sent = body.clone();
    let server = StubHttp::start(move |request| match request.count {
        0 => Reply::status(200)
            .header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .header("etag", "\"e1\"")
            .body(sent.clone()),
        _ => Reply::status(204),
    })
    .await;
    let bench = Bench::new(
        &server.url("/q"),
        "records: items\nparams: {token: x}\npaginate: {page: {param: page}}",
    );
    let pulled = bench.take(None).await;
    assert_eq!(pulled.chunks.len(), 1);
    let chunk = &pulled.chunks[0];
    assert_eq!(chunk.bytes, body, "the body stays as it came");
    assert_eq!(chunk.head.compression, Compression::Gzip);
    assert_eq!(chunk.head.content_type.as_deref(), Some("application/json"));
    assert_eq!(chunk.head.name, server.url("/q?token=***&page=1"));
    assert_eq!(
        (
            attributes(chunk)["etag"].as_str(),
            attributes(chunk)["status"].as_str()
        ),
        ("\"e1\"", "200")
    );
    assert!(chunk.last);
    assert_eq!(bench.outcomes(), [(Some(200), "ok"), (Some(204), "ok")]);
    let log = bench.log.0.lock().unwrap();
    assert_eq!(
        (log[0].bytes, log[0].attempt, log[0].method.as_str()),
        (body.len() as u64, 1, "GET")
    );
}

#[tokio::test]
async fn lines_are_counted_as_records() {
    let server = StubHttp::start(|request| {
        let body = ["{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}\n", ""][request.count];
        Reply::status(200)
            .header("content-type", "application/x-ndjson")
            .body(body)
    })
    .await;
    let pulled = Bench::new(&server.url("/q"), "paginate: {page: {param: p, size: 2}}")
        .take(None)
        .await;
    assert_eq!(server.targets(), ["/q?p=1", "/q?p=2", "/q?p=3"]);
    assert_eq!(pulled.chunks.len(), 2);
}
