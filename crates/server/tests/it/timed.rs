//! Signatures that have a time.

use std::time::Duration;

use ring::hmac;

use crate::site::{Answer, Server, secret};

/// When the clock of these servers stands.
const NOW: i64 = 1_700_000_000;

const PUSH: &str = "{auth: {hmac: {secret: \"${secret:key}\", header: stripe-signature, scheme: timestamped, tolerance: 5m, signed_headers: [idempotency-key]}}}";

/// The header for this time, idempotency key and body.
fn signature(time: i64, key: &str, body: &str) -> String {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret("key").as_bytes());
    let made = hmac::sign(&secret, format!("{time}.{key}.{body}").as_bytes());
    let hex: String = made
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={time},v1=00ff,v1={hex}")
}

async fn push(server: &Server, shown: &str, key: Option<&str>, body: &'static str) -> Answer {
    let mut headers = vec![("stripe-signature", shown)];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    server.push(body, &headers).await
}

#[tokio::test]
async fn a_timed_signature_lands_once_and_expires() {
    let server = Server::at_rest(&[PUSH]).await;
    let shown = signature(NOW - 60, "", "{}");
    let first = push(&server, &shown, None, "{}").await;
    assert_eq!(first.status, 200, "{}", first.text);
    let again = push(&server, &shown, None, "{}").await.json();
    assert_eq!(
        (&again["duplicate"], &again["offset"]),
        (&true.into(), &first.json()["offset"])
    );
    server.advance(Duration::from_secs(241));
    assert_eq!(
        push(&server, &shown, None, "{}").await.refusal(),
        (401, "bad_signature".to_owned())
    );
    for time in [NOW - 300, NOW + 1_000, i64::MAX, i64::MIN] {
        let shown = signature(time, "", "{}");
        assert_eq!(
            push(&server, &shown, None, "{}").await.refusal().0,
            401,
            "{time}"
        );
    }
    assert_eq!(server.kept().await.len(), 1);
}

#[tokio::test]
async fn a_timed_signature_covers_time_headers_and_body() {
    let server = Server::at_rest(&[PUSH]).await;
    let shown = signature(NOW, "a", "{}");
    for (shown, key, body) in [
        (shown.as_str(), None, "{}"),
        (&shown, Some("b"), "{}"),
        (&shown, Some("a"), "{ }"),
        (
            &shown.replace("t=1700000000", "t=1700000001"),
            Some("a"),
            "{}",
        ),
        (&shown.replace("v1=", "v0="), Some("a"), "{}"),
        ("t=1700000000", Some("a"), "{}"),
        ("", Some("a"), "{}"),
    ] {
        let answer = push(&server, shown, key, body).await;
        assert_eq!(
            answer.refusal(),
            (401, "bad_signature".to_owned()),
            "{shown} {key:?}"
        );
    }
    assert_eq!(push(&server, &shown, Some("a"), "{}").await.status, 200);
    assert_eq!(server.kept().await.len(), 1);
}
