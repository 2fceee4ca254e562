//! Callers that speak badly, slowly, or not to the end, over real connections.

use std::io::Write;
use std::time::Duration;

use forebay_testkit::gzip;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::site::{Door, Server};

/// How long the slow callers of these tests get for a head.
const HEAD_TIME: Duration = Duration::from_millis(300);

/// Sends these bytes, closes that half of the connection if told so, and returns all that comes back.
async fn said(door: &Door, bytes: &[u8], end: bool) -> String {
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    // The server may have refused and closed before everything is sent.
    let _ = stream.write_all(bytes).await;
    if end {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    let _ = read.await.expect("the server answers or closes");
    String::from_utf8(answer).unwrap()
}

/// A push with these headers and this body, over a connection that ends with it.
fn push(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/ingest/p0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{body}")
        .into_bytes()
}

fn assert_answer(answer: &str, status: &str, code: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code),
        "wanted {status} {code}, got {answer:?}"
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_taken_in() {
    let server = Server::new(&["{body: 1KiB}"]).await;
    let door = server.open(HEAD_TIME).await;
    // Nothing of the body is ever sent: the answer does not wait for it.
    let claimed = said(&door, &push("Content-Length: 1099511627776\r\n", ""), false).await;
    assert_answer(&claimed, "413", "push_too_large");
    let endless = format!("400\r\n{}\r\n", "x".repeat(0x400)).repeat(1000);
    let streamed = said(
        &door,
        &push("Transfer-Encoding: chunked\r\n", &endless),
        false,
    )
    .await;
    assert_answer(&streamed, "413", "push_too_large");
    assert!(server.kept().await.is_empty());
}

#[tokio::test]
async fn a_caller_that_goes_away_half_way_leaves_nothing() {
    let server = Server::new(&["{}"]).await;
    let door = server.open(HEAD_TIME).await;
    for (headers, body) in [
        ("Content-Length: 100\r\n", "{\"a\": 1}"),
        ("Transfer-Encoding: chunked\r\n", "8\r\n{\"a\": 1}\r\n"),
        ("Transfer-Encoding: chunked\r\n", "8\r\n{\"a\""),
    ] {
        let answer = said(&door, &push(headers, body), true).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(server.kept().await.is_empty());
}

#[tokio::test]
async fn requests_that_are_none_are_refused_and_others_are_served() {
    let server = Server::new(&["{}"]).await;
    let door = server.open(HEAD_TIME).await;
    let flood = "X-Flood: 1\r\n".repeat(200);
    let long = format!("X-Long: {}\r\n", "a".repeat(100_000));
    for (headers, body, status, code) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            "400",
            "two_lengths",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "0\r\n\r\n",
            "400",
            "two_lengths",
        ),
        (
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            "{}",
            "400",
            "",
        ),
        ("Content-Length: -1\r\n", "{}", "400", ""),
        ("Content-Length: +2\r\n", "{}", "400", ""),
        (
            "Transfer-Encoding: chunked\r\n",
            "zz\r\n{}\r\n0\r\n\r\n",
            "400",
            "broken_push",
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            "ffffffffffffffffff\r\n{}",
            "400",
            "broken_push",
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            "2\r\n{}xx0\r\n\r\n",
            "400",
            "broken_push",
        ),
        ("Transfer-Encoding: gzip\r\n", "{}", "400", ""),
        (flood.as_str(), "", "431", ""),
        (long.as_str(), "", "431", ""),
        ("Content-Length: 2\r\nX-A: b\0c\r\n", "{}", "400", ""),
        ("Content-Length: 2\r\nX-A: \x1b[31mred\r\n", "{}", "400", ""),
        ("Content-Length: 2\r\nX-A\r\n", "{}", "400", ""),
    ] {
        assert_answer(&said(&door, &push(headers, body), true).await, status, code);
    }
    for line in [
        "POST /v1/ingest/p0\x1b[31m HTTP/1.1",
        "POST  HTTP/1.1",
        "\0\0\0\0",
    ] {
        let answer = said(&door, format!("{line}\r\nHost: x\r\n\r\n").as_bytes(), true).await;
        assert_answer(&answer, "400", "");
    }
    assert!(server.kept().await.is_empty());
    let fine = said(&door, &push("Content-Length: 2\r\n", "{}"), false).await;
    assert_answer(&fine, "200", "offset");
    // A request hidden in the body of another one stays its body.
    let hidden = "POST /v1/ingest/p0 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    let length = format!("Content-Length: {}\r\n", hidden.len());
    assert_answer(&said(&door, &push(&length, hidden), false).await, "200", "");
    assert_eq!(server.kept().await.len(), 2);
}

#[tokio::test]
async fn slow_heads_are_cut_off_and_cost_nobody_else() {
    let server = Server::new(&["{}"]).await;
    let door = server.open(HEAD_TIME).await;
    let slow = (0..200).map(|_| {
        let address = door.address;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for byte in b"POST /v1/ingest/p0 HTTP/1.1\r\nHost: x\r\n".iter().cycle() {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    });
    let slow: Vec<_> = slow.collect();
    for _ in 0..20 {
        let fine = said(&door, &push("Content-Length: 2\r\n", "{}"), false).await;
        assert_answer(&fine, "200", "offset");
    }
    for caller in slow {
        let cut = tokio::time::timeout(Duration::from_secs(20), caller).await;
        cut.expect("a head that never ends is cut off").unwrap();
    }
    assert_eq!(server.kept().await.len(), 20);
}

#[tokio::test]
async fn connections_are_bounded_and_who_waits_is_served_in_the_end() {
    let server = Server::new(&["{}"]).await;
    let door = server.open_for(HEAD_TIME, 2).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(b"POST ").await.unwrap();
        idle.push(stream);
    }
    let begun = tokio::time::Instant::now();
    let fine = said(&door, &push("Content-Length: 2\r\n", "{}"), false).await;
    assert_answer(&fine, "200", "offset");
    assert!(
        begun.elapsed() > HEAD_TIME / 2,
        "a third connection was taken"
    );
}

#[tokio::test]
async fn a_slow_body_is_told_that_it_is_late() {
    let server = Server::at_rest(&["{}"]).await;
    let door = server.open(HEAD_TIME).await;
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let half = push("Content-Length: 10\r\n", "{\"a\"");
    stream.write_all(&half).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::pin!(read);
    loop {
        tokio::select! {
            done = &mut read => {
                done.unwrap();
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => server.advance(Duration::from_secs(30)),
        };
    }
    assert_answer(&String::from_utf8(answer).unwrap(), "408", "slow_push");
    assert!(server.kept().await.is_empty());
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    brotli::CompressorWriter::new(&mut packed, 4096, 5, 22)
        .write_all(bytes)
        .unwrap();
    packed
}

/// The smallest gzip of these bytes.
fn gzip_best(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bombs_are_refused_at_the_door() {
    let server = Server::new(&["{}"]).await;
    let zeros = vec![0; 200 << 20];
    for (encoding, bomb) in [
        ("gzip", gzip_best(&zeros)),
        ("zstd", zstd(&zeros)),
        ("br", brotli(&zeros)),
    ] {
        let ratio = zeros.len() / bomb.len();
        assert!(ratio > 1000, "a ratio of {ratio} is no bomb");
        let answer = server.push(bomb, &[("content-encoding", encoding)]).await;
        assert_eq!(
            answer.refusal(),
            (413, "ratio_exceeded".to_owned()),
            "{encoding}"
        );
    }
    // Much that is the same is no bomb while it is small.
    let small = zstd(&vec![b'\n'; 1 << 20]);
    assert_eq!(
        server
            .push(small, &[("content-encoding", "zstd")])
            .await
            .status,
        200
    );
    // A window of 128 MiB would cost as much to look into.
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&vec![b'x'; 20 << 20]).unwrap();
    let wide = server
        .push(wide.finish().unwrap(), &[("content-encoding", "zstd")])
        .await;
    assert_eq!(wide.refusal(), (400, "corrupt_zstd".to_owned()));
    assert_eq!(server.kept().await.len(), 1);
}

#[tokio::test]
async fn what_is_compressed_twice_broken_or_something_else_is_refused() {
    let server = Server::new(&["{}"]).await;
    let (whole, twice) = (gzip(b"{}"), gzip(&gzip(b"{}")));
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let trailing = [brotli(b"{}"), b"more".to_vec()].concat();
    let big = brotli(
        &(0..100_000_u32)
            .flat_map(u32::to_le_bytes)
            .collect::<Vec<_>>(),
    );
    for (encoding, body, code) in [
        ("gzip", whole[..whole.len() - 3].to_vec(), "corrupt_gzip"),
        ("gzip", flipped, "corrupt_gzip"),
        ("gzip", b"{\"a\": 1}".to_vec(), "corrupt_gzip"),
        ("gzip", zstd(b"{}"), "corrupt_gzip"),
        ("zstd", zstd(b"{}")[..8].to_vec(), "corrupt_zstd"),
        ("zstd", gzip(b"{}"), "corrupt_zstd"),
        ("br", big[..big.len() / 2].to_vec(), "corrupt_brotli"),
        ("br", trailing, "corrupt_brotli"),
    ] {
        let answer = server.push(body, &[("content-encoding", encoding)]).await;
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{encoding}");
    }
    for headers in [
        &[("content-encoding", "gzip, gzip")][..],
        &[("content-encoding", "gzip"), ("content-encoding", "gzip")],
        &[("content-encoding", "gzip, br")],
    ] {
        let answer = server.push(twice.clone(), headers).await;
        assert_eq!(answer.refusal(), (415, "bad_encoding".to_owned()));
    }
    assert!(server.kept().await.is_empty());
    let plain = [("content-encoding", "identity, gzip")];
    assert_eq!(server.push(whole, &plain).await.status, 200);
}

#[tokio::test]
async fn control_characters_in_names_are_refused_as_such() {
    let server = Server::new(&["{headers: [x-device]}"]).await;
    for path in ["p0%00", "p0%0d%0aX: y", "%1b%5b31mp0", "p0%7f", "%ff%fe"] {
        let path = path.replace(' ', "%20");
        let request = axum::http::Request::post(format!("/v1/ingest/{path}"));
        let answer = server.ask(request.body("{}".into()).unwrap()).await;
        assert_eq!(answer.refusal(), (400, "bad_path".to_owned()), "{path}");
        let shown = server.get(&format!("/v1/pipelines/{path}")).await;
        assert_eq!(shown.refusal(), (400, "bad_path".to_owned()), "{path}");
        assert!(
            !answer.text.chars().any(char::is_control),
            "{:?}",
            answer.text
        );
    }
    let latin = axum::http::HeaderValue::from_bytes(b"Z\xfcrich").unwrap();
    let request = axum::http::Request::post("/v1/ingest/p0").header("x-device", latin);
    let answer = server.ask(request.body("{}".into()).unwrap()).await;
    assert_eq!(answer.refusal(), (400, "bad_header".to_owned()));
    let long = "d".repeat(4097);
    let answer = server.push("{}", &[("x-device", &long)]).await;
    assert_eq!(answer.refusal(), (400, "bad_header".to_owned()));
    assert!(server.kept().await.is_empty());
}

#[tokio::test]
async fn bodies_share_a_bounded_room() {
    let server = Server::new(&["{body: 64MiB}"]).await;
    let door = server.open(Duration::from_secs(30)).await;
    let mut held = Vec::new();
    let part = vec![b' '; 1 << 20];
    for _ in 0..3 {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream
            .write_all(&push("Content-Length: 67108864\r\n", ""))
            .await
            .unwrap();
        for _ in 0..39 {
            // The one that finds no room is refused and closed.
            if stream.write_all(&part).await.is_err() {
                break;
            }
        }
        held.push(stream);
    }
    let mut metrics = String::new();
    for _ in 0..100 {
        metrics = server.get("/metrics").await.text;
        if metrics.contains("path=\"/v1/ingest/{pipeline}\",status=\"429\"") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(metrics.contains("status=\"429\"} 1"), "{metrics}");
    drop(held);
    for _ in 0..100 {
        if server.push("{}", &[]).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the room of callers that went away is not given back");
}

/// What a proxy in front may read otherwise than this server does.
#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let server = Server::new(&["{}"]).await;
    let door = server.open(HEAD_TIME).await;
    let plain = "Content-Length: 2\r\n";
    for (target, headers, body, status, code) in [
        (
            "/v1/ingest/p0",
            format!("Host: localhost\r\nHost: evil.example\r\n{plain}"),
            "{}",
            "400",
            "repeated_header",
        ),
        ("/v1/ingest/p0", plain.to_owned(), "{}", "400", "bad_host"),
        (
            "http://evil.example/v1/ingest/p0",
            format!("Host: localhost\r\n{plain}"),
            "{}",
            "400",
            "bad_host",
        ),
        (
            "http://localhost/v1/ingest/p0",
            format!("Host: LOCALHOST\r\n{plain}"),
            "{}",
            "200",
            "offset",
        ),
        (
            "/v1/ingest/p0",
            format!("Host: x\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n{plain}"),
            "{}",
            "400",
            "repeated_header",
        ),
        (
            "/v1/ingest/p0",
            format!("Host: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n{plain}"),
            "{}",
            "400",
            "repeated_header",
        ),
        (
            "/v1/ingest/p0",
            "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n".to_owned(),
            "2\r\n{}\r\n0\r\n\r\n",
            "501",
            "bad_transfer_encoding",
        ),
        (
            "/v1/ingest/p0",
            "Host: x\r\nTransfer-Encoding: chunked, chunked\r\n".to_owned(),
            "2\r\n{}\r\n0\r\n\r\n",
            "501",
            "bad_transfer_encoding",
        ),
        (
            "/v1/ingest/p0",
            "Host: x\r\nTransfer-Encoding: Chunked\r\n".to_owned(),
            "2\r\n{}\r\n0\r\n\r\n",
            "200",
            "offset",
        ),
    ] {
        let request = format!("POST {target} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n{body}");
        let answer = said(&door, request.as_bytes(), false).await;
        assert_answer(&answer, status, code);
    }
    assert_eq!(server.kept().await.len(), 2);
    let client = reqwest::Client::builder().http2_prior_knowledge();
    let client = client.build().unwrap();
    let url = format!("http://{}/v1/ingest/p0", door.address);
    let asked = client.post(&url).header("host", "evil.example").body("{}");
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
}
