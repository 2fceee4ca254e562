//! Sources without pages: one body, which holds the records or an error in place of them.

use forebay_formats::framing::Framing;
use forebay_testkit::{Reply, StubHttp, gzip};
use serde_json::json;

use super::{Bench, items, param};

/// An error in place of the records fails the run, and the next one requests it again.
#[tokio::test]
async fn an_error_in_place_of_a_single_body_fails_the_run_and_is_requested_again() {
    let page = Reply::status(200).body("<!DOCTYPE html><title>Log in</title>");
    let typed = page.clone().header("content-type", "text/html");
    let quota = Reply::json(&json!({"status": "error", "message": "quota"}));
    let refused = Reply::json(&json!({"success": "false"}));
    for (framing, reply, code) in [
        (Framing::Detected, page, "not_json"),
        (Framing::Lines, typed.clone(), "not_json"),
        (Framing::Detected, quota.clone(), "error_body"),
        (Framing::Whole, refused, "error_body"),
    ] {
        let sent = reply.clone();
        let server = StubHttp::start(move |request| match request.count {
            0 => sent.clone(),
            _ => Reply::json(&json!([{"id": 1}, {"id": 2}])),
        })
        .await;
        let mut bench = Bench::new(&server.url("/q"), "method: GET");
        (bench.is_json, bench.framing) = (true, framing);
        let first = bench.pull(None).await;
        let error = first.error.expect(code);
        assert_eq!(error.code(), code, "{error}");
        if code == "not_json" {
            assert!(error.hint().unwrap().contains("login page"), "{error}");
        }
        assert!(first.chunks.is_empty() && first.position.is_none());
        assert_eq!(bench.take(None).await.chunks.len(), 1);
        assert_eq!(server.requests().len(), 2);
    }
    // The status of a job is no error of the server.
    let job = Reply::json(&json!({"id": 5, "status": "failed"}));
    let server = StubHttp::start(move |_| job.clone()).await;
    let mut bench = Bench::new(&server.url("/job"), "method: GET");
    bench.is_json = true;
    assert_eq!(bench.take(None).await.chunks.len(), 1);
    // What is no JSON to begin with is only refused where it is surely an error.
    for (reply, code) in [(typed, Some("html_page")), (quota, None)] {
        let server = StubHttp::start(move |_| reply.clone()).await;
        let bench = Bench::new(&server.url("/q"), "method: GET");
        let error = bench.pull(None).await.error;
        assert_eq!(error.map(|error| error.code()), code);
    }
}

#[tokio::test]
async fn a_single_body_that_holds_a_record_or_no_line_is_taken() {
    for (framing, body) in [
        (
            Framing::Detected,
            "{\"status\": \"ok\", \"error\": null, \"n\": 1}",
        ),
        (Framing::Detected, "{\"a\":1}\n{\"a\":2}\n"),
        (Framing::Detected, "[]"),
        (Framing::Lines, ""),
    ] {
        let server = StubHttp::start(move |_| Reply::status(200).body(body)).await;
        let mut bench = Bench::new(&server.url("/q"), "limits: {records: 1}");
        (bench.is_json, bench.framing) = (true, framing);
        let pulled = bench.pull(None).await;
        assert!(pulled.error.is_none(), "{body}: {:?}", pulled.error);
        assert!(pulled.position.is_some(), "{body}");
    }
}

/// As tape tools write it: zeros up to the end of a block.
#[tokio::test]
async fn zeros_after_a_compressed_body_are_ignored_and_nothing_else_is() {
    let members = [gzip(b"{\"items\": [1,"), gzip(b"2]}")].concat();
    let padded = [members, vec![0; 512]].concat();
    let junk = [padded.clone(), b"x".to_vec()].concat();
    for paginate in [
        "records: items",
        "records: items\npaginate: {page: {param: page}}",
    ] {
        for (body, code) in [(&padded, None), (&junk, Some("body_broken"))] {
            let body = Reply::json(&json!(null))
                .header("content-encoding", "gzip")
                .body(body.clone());
            let server = StubHttp::start(move |request| match param(request, "page") {
                0 | 1 => body.clone(),
                _ => Reply::json(&items([])),
            })
            .await;
            let pulled = Bench::new(&server.url("/q"), paginate).pull(None).await;
            assert_eq!(pulled.error.map(|error| error.code()), code);
            let expected = if code.is_some() { 0 } else { 1 };
            assert_eq!(pulled.chunks.len(), expected, "{paginate}");
        }
    }
}
