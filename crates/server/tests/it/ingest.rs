use std::io::Write;

use axum::body::Body;
use forebay_core::Compression;
use forebay_testkit::gzip;

use crate::site::Server;

#[tokio::test]
async fn a_push_is_kept_as_it_came_and_its_receipt_names_the_place() {
    let server = Server::new(&["{headers: [X-Device]}"]).await;
    let headers = [
        ("content-type", "application/json"),
        ("x-device", "d1"),
        ("x-other", "no"),
    ];
    let first = server.push("{\"a\": 1}", &headers).await;
    let second = server.push("{\"a\": 2}", &[]).await;
    assert_eq!((first.status, second.status), (200, 200), "{}", first.text);
    let kept = server.kept().await;
    assert_eq!(
        [&kept[0].body[..], &kept[1].body[..]],
        [b"{\"a\": 1}", b"{\"a\": 2}"]
    );
    assert_eq!(first.json()["offset"], kept[0].offset);
    assert_eq!(second.json()["offset"], kept[1].offset);
    assert_eq!(
        kept[0].head.content_type.as_deref(),
        Some("application/json")
    );
    let attributes: Vec<_> = kept[0].head.attributes.iter().collect();
    assert_eq!(attributes, [(&"x-device".to_owned(), &"d1".to_owned())]);
}

#[tokio::test]
async fn compressed_bodies_stay_compressed_and_brotli_is_undone() {
    let server = Server::new(&["{}"]).await;
    let packed = gzip(b"{}");
    assert_eq!(
        server
            .push(packed.clone(), &[("content-encoding", "gzip")])
            .await
            .status,
        200
    );
    let mut brotli = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut brotli, 4096, 5, 22);
    writer.write_all(b"{\"b\": 1}").unwrap();
    drop(writer);
    assert_eq!(
        server
            .push(brotli, &[("content-encoding", "br")])
            .await
            .status,
        200
    );
    let kept = server.kept().await;
    assert_eq!(
        (kept[0].head.compression, &kept[0].body[..]),
        (Compression::Gzip, &packed[..])
    );
    assert_eq!(
        (kept[1].head.compression, &kept[1].body[..]),
        (Compression::None, &b"{\"b\": 1}"[..])
    );
    for (body, encoding, refusal) in [
        (&b"not brotli"[..], "br", (400, "corrupt_brotli")),
        (b"x", "lzma", (415, "bad_encoding")),
        (b"", "identity", (400, "empty_body")),
    ] {
        let answer = server
            .push(body.to_vec(), &[("content-encoding", encoding)])
            .await;
        assert_eq!(answer.refusal(), (refusal.0, refusal.1.to_owned()));
    }
    assert_eq!(server.kept().await.len(), 2);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
    let server = Server::new(&["{body: 10B}"]).await;
    let said = server
        .push("12345678901", &[("content-length", "11")])
        .await;
    let chunks = ["123456", "78901"].map(Ok::<_, std::io::Error>);
    let stream = Body::from_stream(futures::stream::iter(chunks));
    let unsaid = server.push(stream, &[]).await;
    for answer in [said, unsaid] {
        assert_eq!(answer.refusal(), (413, "push_too_large".to_owned()));
    }
    assert_eq!(server.push("1234567890", &[]).await.status, 200);
    assert_eq!(server.kept().await.len(), 1);
}

#[tokio::test]
async fn a_connection_that_breaks_keeps_nothing() {
    let server = Server::new(&["{}"]).await;
    let broken = [Ok("half"), Err(std::io::Error::other("gone"))];
    let answer = server
        .push(Body::from_stream(futures::stream::iter(broken)), &[])
        .await;
    assert_eq!(answer.refusal(), (400, "broken_push".to_owned()));
    assert!(server.kept().await.is_empty());
}

#[tokio::test]
async fn only_who_shows_the_token_may_push() {
    let server = Server::new(&["{auth: {token: \"${secret:token}\"}}"]).await;
    for shown in [
        None,
        Some("Bearer wrong"),
        Some("the token of these tests"),
        Some("Basic the token of these tests"),
        Some("Bearer the token of these testS"),
        // The token of another pipeline, and a signed token that says it needs no signature.
        Some("Bearer the other of these tests"),
        Some("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9."),
    ] {
        let headers: Vec<_> = shown
            .map(|shown| ("authorization", shown))
            .into_iter()
            .collect();
        let answer = server.push("{}", &headers).await;
        assert_eq!(
            answer.refusal(),
            (401, "not_allowed".to_owned()),
            "{shown:?}"
        );
        assert!(!answer.text.contains("the token"));
    }
    assert!(server.kept().await.is_empty());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let shown = format!("{scheme} the token of these tests");
        let answer = server.push("{}", &[("authorization", &shown)]).await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn a_signature_must_be_that_of_the_body() {
    let server = Server::new(&["{auth: {hmac: {secret: \"${secret:key}\"}}}"]).await;
    // printf '{"a":1}' | openssl dgst -sha256 -hmac 'the key of these tests'
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"the key of these tests");
    let signature = ring::hmac::sign(&key, b"{\"a\":1}");
    let hex: String = signature
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let shown = format!("sha256={hex}");
    let header = [("x-signature-256", shown.as_str())];
    assert_eq!(server.push("{\"a\":1}", &header).await.status, 200);
    assert_eq!(
        server.push("{\"a\":2}", &header).await.refusal().1,
        "bad_signature"
    );
    assert_eq!(
        server
            .push("{\"a\":1}", &[("x-signature-256", &hex)])
            .await
            .refusal()
            .1,
        "bad_signature"
    );
    assert_eq!(
        server.push("{\"a\":1}", &[]).await.refusal(),
        (401, "not_allowed".to_owned())
    );
    assert_eq!(server.kept().await.len(), 1);
}

#[tokio::test]
async fn ten_thousand_duplicates_of_a_key_are_one_copy() {
    let server = std::sync::Arc::new(Server::new(&["{}"]).await);
    let pushes = (0..10_000).map(|_| {
        let server = server.clone();
        tokio::spawn(async move { server.push("{\"a\": 1}", &[("idempotency-key", "k")]).await })
    });
    let mut fresh = 0;
    for answer in futures::future::join_all(pushes).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        fresh += u32::from(answer.json()["duplicate"] == false);
    }
    assert_eq!((fresh, server.kept().await.len()), (1, 1));
    let other = server.push("{\"a\": 2}", &[("idempotency-key", "k")]).await;
    assert_eq!(other.refusal(), (409, "key_reused".to_owned()));
    let long = "k".repeat(256);
    assert_eq!(
        server
            .push("{}", &[("idempotency-key", &long)])
            .await
            .refusal(),
        (400, "bad_key".to_owned())
    );
}

#[tokio::test]
async fn a_pipeline_that_is_far_behind_says_when_to_come_again() {
    let server = Server::new(&["{backlog: 1B}"]).await;
    assert_eq!(server.push("{}", &[]).await.status, 200);
    let refused = server.push("{}", &[]).await;
    assert_eq!(refused.refusal(), (429, "journal_backlog".to_owned()));
    assert_eq!(refused.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_server_that_is_ending_takes_nothing() {
    let server = Server::new(&["{}"]).await;
    server.draining.cancel();
    let refused = server.push("{}", &[]).await;
    assert_eq!(refused.refusal(), (503, "draining".to_owned()));
    assert_eq!(refused.headers["retry-after"], "1");
}
