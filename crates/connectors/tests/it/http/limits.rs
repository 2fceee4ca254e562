//! How much, how slow and how often.

use std::time::Duration;

use forebay_core::{Clock, SystemClock};
use forebay_testkit::{Behaviour, Reply, StubHttp};
use serde_json::json;

use super::{Bench, items, param};

const QUICK: &str =
    "retry: {attempts: 1}\nlimits: {time: 400ms, idle: 150ms, body: 1MiB}\nrecords: items";

#[tokio::test]
async fn a_body_that_never_ends_is_too_large() {
    let server = StubHttp::start(|_| {
        Reply::status(200)
            .body(vec![b' '; 10_000])
            .behave(Behaviour::NeverEnd)
    })
    .await;
    let config = "retry: {attempts: 1}\nlimits: {body: 1MiB}";
    assert_eq!(
        Bench::new(&server.url("/q"), config).fails().await.0,
        "body_too_large"
    );
    let server = StubHttp::start(|_| Reply::status(200).body(vec![b' '; (1 << 20) + 1])).await;
    let (code, error) = Bench::new(&server.url("/q"), QUICK).fails().await;
    assert_eq!(code, "body_too_large", "{error}");
}

#[tokio::test]
async fn slow_bodies_and_silence_are_cut_off() {
    for (reply, what) in [
        (
            Reply::json(&items(0..1_000)).behave(Behaviour::Drip(50)),
            "drip",
        ),
        (
            Reply::json(&items(0..1_000)).behave(Behaviour::Drip(1)),
            "one byte a second",
        ),
        (
            Reply::json(&items([1])).delay(Duration::from_secs(5)),
            "silence",
        ),
    ] {
        let server = StubHttp::start(move |_| reply.clone()).await;
        let bench = Bench::new(&server.url("/q"), QUICK);
        let start = SystemClock::new();
        let (code, error) = bench.fails().await;
        assert_eq!(code, "unreachable", "{what}: {error}");
        assert!(
            error
                .to_string()
                .contains("no complete response within 400ms"),
            "{error}"
        );
        assert!(start.monotonic() < Duration::from_secs(2), "{what}");
    }
}

#[tokio::test]
async fn the_budget_is_kept_before_the_server_complains() {
    let server = StubHttp::start(|request| {
        Reply::json(&items(
            (param(request, "page") < 8).then_some(param(request, "page")),
        ))
    })
    .await;
    let config = "records: items\npaginate: {page: {param: page}}\nrate: {requests: 3, per: 1m, window: fixed}";
    let bench = Bench::new(&server.url("/q"), config);
    bench.clock.advance(Duration::from_secs(50));
    bench.take(None).await;
    assert_eq!(server.requests().len(), 8);
    let at: Vec<u64> = bench
        .log
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|r| r.at.since(super::NEW_YEAR).as_secs())
        .collect();
    assert_eq!(at, [50, 50, 50, 60, 60, 60, 120, 120]);
    assert_eq!(bench.log.0.lock().unwrap()[3].waited_us, 10_000_000);
}

#[tokio::test]
async fn a_server_that_counts_down_is_left_alone_at_zero() {
    let server = StubHttp::start(|request| {
        let reply = Reply::json(&items((request.count < 3).then_some(request.count as u64)));
        reply
            .header(
                "x-ratelimit-remaining",
                (1 - request.count as i64).to_string(),
            )
            .header("x-ratelimit-reset", "30")
    })
    .await;
    let bench = Bench::new(
        &server.url("/q"),
        "records: items\npaginate: {page: {param: page}}",
    );
    bench.take(None).await;
    let waited: Vec<u64> = bench
        .log
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|record| record.waited_us / 1_000_000)
        .collect();
    assert_eq!(waited, [0, 0, 30, 30]);
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_allowed() {
    let server = StubHttp::start(|request| {
        let page = param(request, "page");
        let rows: Vec<_> = (page < 30)
            .then(|| json!({"id": page}))
            .into_iter()
            .collect();
        // As many as may be are waited for, or more would come.
        Reply::json(&json!({"items": rows}))
            .delay(Duration::from_millis(15))
            .until_open(4)
    })
    .await;
    let config = "records: items\nkey: id\npaginate: {page: {param: page}}\nrate: {requests: 1000, per: 1s, concurrency: 3}";
    let pulled = Bench::new(&server.url("/q"), config).take(None).await;
    assert_eq!(pulled.chunks.len(), 29);
    let most = server.most_open();
    assert!((2..=3).contains(&most), "{most} at once");
}

#[tokio::test]
async fn the_next_page_is_fetched_while_this_one_is_worked_on() {
    let server = StubHttp::start(|request| {
        Reply::json(&json!({"items": [1], "next": format!("/q{}", request.at.as_nanos())}))
    })
    .await;
    let bench = Bench::new(
        &server.url("/q"),
        "records: items\npaginate: {next: {path: next}}",
    );
    let mut reader = bench.open(None).await.unwrap();
    reader.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.requests().len(), 2, "one ahead and no more");
    drop(reader);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_cancelled_run_ends_at_once() {
    let server = StubHttp::start(|_| Reply::json(&items([1])).delay(Duration::from_secs(30))).await;
    let bench = Bench::new(&server.url("/q"), "records: items");
    let context = bench.context();
    let split = bench.source.splits(&context).await.unwrap().remove(0);
    let cancel = context.cancel.clone();
    let mut reader = bench.source.open(&split, None, context).await.unwrap();
    let (next, ()) = tokio::join!(reader.next(), async { cancel.cancel() });
    assert_eq!(
        next.map(|_| ()).map_err(|error| error.code()),
        Err("cancelled")
    );
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    for (config, code) in [
        ("url: ftp://a.example/", "bad_url"),
        ("url: nonsense", "bad_url"),
        ("url: http://a:b@a.example/", "credentials_in_url"),
        ("url: http://10.0.0.1/", "address_refused"),
        (
            "url: http://a.example/\nauth: {api_key: {value: x}}",
            "bad_auth",
        ),
        (
            "url: http://a.example/\nauth: {api_key: {value: x, header: a, param: b}}",
            "bad_auth",
        ),
        (
            "url: http://a.example/\nheaders: {\"a b\": c}",
            "bad_header",
        ),
        (
            "url: http://a.example/\nparams: {page: 1}\npaginate: {page: {param: page}}",
            "param_twice",
        ),
        (
            "url: http://a.example/\ncursor: {field: a, param: b, start: yesterday}",
            "bad_cursor",
        ),
        (
            "url: http://a.example/\ncursor: {field: a, param: b, format: raw, lag: 5m}",
            "bad_cursor",
        ),
        (
            "url: http://a.example/\nrate: {requests: 1, per: 0s}",
            "bad_rate",
        ),
        (
            "url: http://a.example/\npaginate: {page: {param: p, size_param: n}}",
            "bad_size",
        ),
        (
            "url: http://a.example/\npaginate: {offset: {param: p, limit: 5, overlap: 1}}",
            "bad_overlap",
        ),
        ("url: http://a.example/\nend: empty_page", "bad_end"),
        (
            "url: http://a.example/\npaginate: {page: {param: p}}\nend: short_page",
            "bad_end",
        ),
        (
            "url: http://a.example/\npaginate: {page: {param: p}}\nend: [missing_records]",
            "bad_end",
        ),
        (
            "url: http://a.example/\nkey: id\ncursor: {field: a, param: b, key: uuid}",
            "bad_key",
        ),
    ] {
        let error = Bench::try_new(config).err().expect(config);
        assert_eq!(error.code(), code, "{config}: {error}");
        assert_eq!(error.kind().exit_code(), 2, "{config}");
    }
    for config in [
        "url: http://a.example/\npaginat: {}",
        "{}",
        "url: http://a.example/\nlimits: {body: 12}",
        "url: http://a.example/\npaginate: {page: {param: p}}\nend: last_page",
        "url: http://a.example/\npaginate: {page: {param: p}}\nend: {path: a}",
    ] {
        assert!(Bench::try_new(config).is_err(), "{config}");
    }
}

#[test]
fn a_format_of_the_field_is_refused_with_the_key_that_it_needs() {
    for (formats, hint) in [
        (
            "field_format: raw",
            "write `format: raw` in place of `field_format: raw`",
        ),
        ("format: raw, field_format: date", "remove `field_format`"),
    ] {
        let config = format!("url: http://a.example/\ncursor: {{field: a, param: b, {formats}}}");
        let error = Bench::try_new(&config).err().expect(formats);
        assert_eq!((error.code(), error.hint()), ("bad_cursor", Some(hint)));
    }
}
