//! Servers that refuse, break, lie and go in circles.

use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_testkit::{Behaviour, Reply, StubHttp, gzip_bomb};
use serde_json::json;

use super::{Bench, all_records, items, param};

const PAGES: &str = "records: items\npaginate: {page: {param: page}}";

/// Answers `first` to the first requests and a page of one record afterwards.
async fn after(first: Vec<Reply>) -> StubHttp {
    StubHttp::start(move |request| {
        first
            .get(request.count)
            .cloned()
            .unwrap_or_else(|| Reply::json(&items([7])))
    })
    .await
}

#[tokio::test]
async fn a_429_is_waited_out() {
    let again = |after: &str| Reply::status(429).header("retry-after", after);
    let server = after(vec![
        again("7"),
        again("Thu, 01 Jan 2026 00:01:00 GMT"),
        Reply::status(429),
    ])
    .await;
    let bench = Bench::new(&server.url("/q"), "records: items");
    assert_eq!(bench.take(None).await.chunks.len(), 1);
    let sleeps = bench.clock.sleeps();
    let seconds = |n: usize| sleeps[n].as_secs_f64();
    assert!((7.0..7.5).contains(&seconds(0)), "{sleeps:?}");
    assert!(
        (52.0..53.6).contains(&seconds(1)),
        "until a minute past midnight: {sleeps:?}"
    );
    assert!(seconds(2) <= 2.0, "{sleeps:?}");
    assert_eq!(
        bench.outcomes(),
        [
            (Some(429), "retry"),
            (Some(429), "retry"),
            (Some(429), "retry"),
            (Some(200), "ok")
        ]
    );
    assert_eq!(bench.log.0.lock().unwrap()[3].attempt, 4);
}

#[tokio::test]
async fn a_server_that_asks_for_too_long_a_wait_ends_the_run_at_once() {
    let server = after(vec![Reply::status(429).header("retry-after", "3600")]).await;
    let bench = Bench::new(&server.url("/q"), "retry: {total: 10m}");
    let (code, error) = bench.fails().await;
    assert_eq!(
        (code, error.kind()),
        ("rate_limited", ErrorKind::Unavailable)
    );
    assert!(
        error.to_string().contains("requests a wait of 3600 s"),
        "{error}"
    );
    assert!(bench.clock.sleeps().is_empty());
}

#[tokio::test]
async fn a_storm_of_errors_ends_cleanly() {
    let server = StubHttp::start(|_| Reply::status(503).body("<b>overloaded</b>")).await;
    let bench = Bench::new(
        &server.url("/q?token=x"),
        "retry: {attempts: 4, max_delay: 1s}",
    );
    let (code, error) = bench.fails().await;
    assert_eq!(
        (code, error.kind()),
        ("server_failed", ErrorKind::Unavailable)
    );
    let url = server.url("/q?token=***");
    assert_eq!(
        error.to_string(),
        format!(
            "gave up after 4 attempts: the server answered 503: \"<b>overloaded</b>\" (url {url}, attempts 4, status 503)"
        )
    );
    assert_eq!(server.requests().len(), 4);
    assert!(
        bench
            .clock
            .sleeps()
            .iter()
            .all(|wait| *wait <= Duration::from_secs(1))
    );
    assert_eq!(bench.outcomes().last(), Some(&(Some(503), "failed")));
}

#[tokio::test]
async fn broken_connections_and_bodies_are_tried_again() {
    let whole = items([7]).to_string();
    let reset = Reply::status(200).behave(Behaviour::ResetBeforeReply);
    let cut = Reply::status(200).body(whole).behave(Behaviour::Cut(5));
    let server = after(vec![reset, cut, Reply::status(500), Reply::status(502)]).await;
    let bench = Bench::new(&server.url("/q"), "records: items");
    let pulled = bench.take(None).await;
    assert_eq!(all_records(&pulled.chunks, "items"), [7]);
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    let port = StubHttp::start(|_| Reply::status(200)).await.port();
    let bench = Bench::new(&format!("http://127.0.0.1:{port}/"), "retry: {attempts: 2}");
    let (code, error) = bench.fails().await;
    assert_eq!(
        (code, error.kind().exit_code()),
        ("unreachable", 4),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_page_is_a_typed_error_and_the_position_stays() {
    let html = Reply::status(200)
        .header("content-type", "text/html")
        .body("<!DOCTYPE html><title>Log in</title>");
    for (reply, code) in [
        (html.clone(), "not_json"),
        (Reply::status(200).body("{\"items\": [1, 2"), "not_json"),
        (Reply::status(200).body(""), "not_json"),
        (Reply::json(&json!({"rows": []})), "records_missing"),
        (Reply::status(206).body("{}"), "partial_content"),
        (Reply::status(202), "unexpected_status"),
        (Reply::status(401), "source_denied"),
        (Reply::status(404), "source_not_found"),
        (Reply::status(400).body("bad page"), "source_refused"),
        (
            Reply::json(&items([1])).header("content-encoding", "br"),
            "content_encoding",
        ),
    ] {
        let server = StubHttp::start(move |_| reply.clone()).await;
        let bench = Bench::new(&server.url("/q"), PAGES);
        let pulled = bench.pull(None).await;
        let error = pulled.error.expect(code);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.context().any(|(key, _)| key == "url"), "{error}");
        assert!(
            pulled.chunks.is_empty() && pulled.position.is_none(),
            "{code}"
        );
        assert_eq!(server.requests().len(), 1, "{code} is not tried again");
    }
    // Even where nobody looks inside, a web page is no data.
    let server = StubHttp::start(move |_| html.clone()).await;
    assert_eq!(
        Bench::new(&server.url("/q"), "method: GET").fails().await.0,
        "html_page"
    );
}

#[tokio::test]
async fn an_empty_answer_is_an_empty_page() {
    let server = StubHttp::start(|_| Reply::status(204)).await;
    let pulled = Bench::new(&server.url("/q"), PAGES).take(None).await;
    assert!(pulled.chunks.is_empty());
    assert!(pulled.position.is_some(), "the pass is complete");
}

#[tokio::test]
async fn redirects_are_followed_so_far_and_no_further() {
    let server = StubHttp::start(|request| match request.path.as_str() {
        "/moved" => Reply::status(301).header("location", "/q?page=1"),
        "/circle" => Reply::status(302).header("location", "/circle"),
        "/nowhere" => Reply::status(302),
        "/metadata" => {
            Reply::status(302).header("location", "http://169.254.169.254/latest/meta-data/")
        }
        "/file" => Reply::status(302).header("location", "file:///etc/passwd"),
        _ => Reply::json(&items([])),
    })
    .await;
    Bench::new(&server.url("/moved"), PAGES).take(None).await;
    assert_eq!(server.targets(), ["/moved?page=1", "/q?page=1"]);
    for (path, code, requests) in [
        ("/circle", "redirect_limit", 6),
        ("/nowhere", "bad_redirect", 1),
        ("/metadata", "address_refused", 1),
        ("/file", "bad_url", 1),
    ] {
        server.forget();
        let (found, error) = Bench::new(&server.url(path), PAGES).fails().await;
        assert_eq!(
            (found, server.requests().len()),
            (code, requests),
            "{error}"
        );
    }
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let server = StubHttp::start(|_| Reply::json(&json!([]))).await;
    let refused = Bench::try_new(&format!("url: {}", server.url("/q")))
        .err()
        .expect("a literal address is seen at once");
    assert_eq!(refused.code(), "address_refused");
    let bench = Bench::try_new(&format!("url: http://localhost:{}/q", server.port())).unwrap();
    let (code, error) = bench.fails().await;
    assert_eq!(
        (code, error.kind()),
        ("address_refused", ErrorKind::Denied),
        "{error}"
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("allow_private")),
        "{error:?}"
    );
    assert!(server.requests().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn next_links_are_checked_like_redirects() {
    let server =
        StubHttp::start(|_| Reply::json(&json!({"items": [1], "next": "http://[fd00:ec2::254]/"})))
            .await;
    let bench = Bench::new(
        &server.url("/q"),
        "records: items\npaginate: {next: {path: next}}",
    );
    assert_eq!(bench.fails().await.0, "address_refused");
}

#[tokio::test]
async fn paginators_that_repeat_are_stopped() {
    // The page parameter is not known to the server.
    let server = StubHttp::start(|_| Reply::json(&items([1, 2]))).await;
    let (code, error) = Bench::new(&server.url("/q"), PAGES).fails().await;
    assert_eq!(code, "pagination_repeats");
    assert!(error.to_string().contains("page 2"), "{error}");
    // A server that answers with its last page for ever, as the file says.
    for (config, key) in [
        (PAGES, ""),
        (
            "records: items\npaginate: {offset: {param: page, limit: 2}}",
            "\nkey: id",
        ),
    ] {
        let server = StubHttp::start(move |request| {
            let page = param(request, "page");
            let first = if config == PAGES {
                (page.clamp(1, 3) - 1) * 2
            } else {
                page.min(4)
            };
            let rows: Vec<_> = (first..first + 2).map(|id| json!({"id": id})).collect();
            Reply::json(&json!({ "items": rows }))
        })
        .await;
        let config = format!("{config}{key}\nend: repeated_page");
        let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
        assert_eq!(all_records(&pulled.chunks, "items").len(), 6, "{config}");
    }
    // The token goes round: a, b, a.
    let server = StubHttp::start(|request| {
        let next = ["a", "b"][request.count % 2];
        Reply::json(&json!({"items": [1], "next": next}))
    })
    .await;
    let (code, error) = Bench::new(
        &server.url("/q"),
        "records: items\npaginate: {cursor: {path: next, param: c}}",
    )
    .fails()
    .await;
    assert_eq!((code, server.requests().len()), ("pagination_repeats", 3));
    assert!(error.to_string().contains("page 4"), "{error}");
    let server = StubHttp::start(|_| Reply::json(&json!({"items": [1], "next": "/q"}))).await;
    let (code, _) = Bench::new(
        &server.url("/q"),
        "records: items\npaginate: {next: {path: next}}",
    )
    .fails()
    .await;
    assert_eq!((code, server.requests().len()), ("pagination_repeats", 1));
}

/// Three pages of two records by link in the body, link in a header and token; the last one leads to itself.
fn last_leads_to_itself(request: &forebay_testkit::Request) -> Reply {
    let page = param(request, "page").max(1);
    let next = (page + 1).min(3);
    let rows = [page * 2, page * 2 + 1].map(|id| json!({ "id": id }));
    let body = json!({"items": rows, "next": format!("/q?page={next}"), "token": next});
    Reply::json(&body).header("link", format!("</q?page={next}>; rel=\"next\""))
}

#[tokio::test]
async fn a_last_page_that_leads_to_itself_ends_the_pass_if_it_is_declared() {
    for paginate in [
        "{next: {path: next}}",
        "{link_header: {}}",
        "{cursor: {path: token, param: page}}",
    ] {
        let server = StubHttp::start(last_leads_to_itself).await;
        let config = format!("records: items\npaginate: {paginate}");
        let (code, error) = Bench::new(&server.url("/q"), &config).fails().await;
        assert_eq!(code, "pagination_repeats", "{error}");
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("set `end: repeated_page`"), "{hint}");
        let requests = server.requests().len();
        for key in ["", "\nkey: id"] {
            let config = format!("{config}\nend: repeated_page{key}");
            let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
            let read = all_records(&pulled.chunks, "items");
            assert_eq!(read.len(), 6, "{config}");
        }
        // The key makes a pass over counted pages read them twice; nothing is requested for the end itself.
        assert_eq!(server.requests().len() - requests, 3 + 6);
    }
}

#[tokio::test]
async fn a_link_to_the_same_page_by_another_address_ends_the_pass_if_it_is_declared() {
    let server =
        StubHttp::start(|_| Reply::json(&json!({"items": [1, 2], "next": "/q?page=1"}))).await;
    let config = "records: items\npaginate: {next: {path: next}}\nend: repeated_page";
    let pulled = Bench::new(&server.url("/q"), config).take(None).await;
    assert_eq!(all_records(&pulled.chunks, "items").len(), 2);
    // Links that go round are an error all the same, and the hint names nothing that is set already.
    let server = StubHttp::start(|request| {
        let next = 1 + request.count % 2;
        Reply::json(&json!({"items": [next], "next": format!("/q?page={next}")}))
    })
    .await;
    let (code, error) = Bench::new(&server.url("/q"), config).fails().await;
    assert_eq!(code, "pagination_repeats");
    assert!(!error.hint().unwrap_or_default().contains("set `end"));
}

#[tokio::test]
async fn paginators_that_never_end_are_stopped() {
    let server = StubHttp::start(|request| Reply::json(&items([param(request, "page")]))).await;
    let bench = Bench::new(&server.url("/q"), &format!("{PAGES}\npages_max: 12"));
    let (code, _) = bench.fails().await;
    assert_eq!((code, server.requests().len()), ("pages_max", 12));
}

#[tokio::test]
async fn a_bomb_is_not_expanded() {
    let bomb = gzip_bomb(64 << 20);
    assert!(bomb.len() < 100_000);
    let server = StubHttp::start(move |_| {
        Reply::status(200)
            .header("content-encoding", "gzip")
            .body(bomb.clone())
    })
    .await;
    let (code, error) = Bench::new(&server.url("/q"), PAGES).fails().await;
    assert_eq!(
        (code, error.kind()),
        ("expansion_limit", ErrorKind::Data),
        "{error}"
    );
}
