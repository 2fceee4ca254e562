//! Connections over TLS and HTTP/2, ones that never read, and more of them than there is place for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_server::TlsFiles;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::site::{Door, Server};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/tls")
        .join(name)
}

/// A folder with the certificate and key of this name as `cert.pem` and `key.pem`.
fn files(folder: &Path, name: &str) -> TlsFiles {
    let files = TlsFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::copy(fixture(&format!("{name}.key")), &files.key).unwrap();
    std::fs::copy(fixture(&format!("{name}.pem")), &files.certificate).unwrap();
    files
}

/// What a client is made with.
fn builder() -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

/// A client that trusts this certificate and no other.
fn client(trusted: &str) -> reqwest::Client {
    let pem = std::fs::read(fixture(&format!("{trusted}.pem"))).unwrap();
    let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
    builder().tls_certs_only([certificate]).build().unwrap()
}

async fn get(client: &reqwest::Client, door: &Door) -> Result<reqwest::Response, reqwest::Error> {
    let url = format!("https://localhost:{}/healthz", door.address.port());
    client.get(url).send().await
}

#[tokio::test]
async fn tls_speaks_http2_and_a_changed_certificate_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(&["{}"]).await;
    let tls = files(folder.path(), "first");
    let every = Some(Duration::from_millis(20));
    let door = server
        .open_with(|listening| listening.with_tls(tls, every).unwrap())
        .await;
    let answer = get(&client("first"), &door).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, reqwest::Version::HTTP_2)
    );
    assert!(get(&client("second"), &door).await.is_err());
    let plain = builder().build().unwrap();
    let plain = plain.get(format!("http://{}/healthz", door.address));
    assert!(plain.send().await.is_err());
    // A key without its certificate changes nothing.
    #[expect(clippy::disallowed_methods, reason = "a test\'s own file")]
    std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(get(&client("first"), &door).await.is_ok());
    files(folder.path(), "second");
    for _ in 0..100 {
        if get(&client("second"), &door).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the second certificate is not shown");
}

#[tokio::test]
async fn files_that_make_no_tls_are_named_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    files(folder.path(), "first");
    std::fs::copy(fixture("second.key"), path("other.pem")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test\'s own file")]
    std::fs::write(path("empty.pem"), "").unwrap();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    #[expect(clippy::disallowed_methods, reason = "a test\'s own file")]
    std::fs::write(path("encrypted.pem"), encrypted).unwrap();
    for (certificate, key, code, named) in [
        ("missing.pem", "key.pem", "bad_certificate", "missing.pem"),
        ("empty.pem", "key.pem", "bad_certificate", "empty.pem"),
        ("cert.pem", "missing.pem", "bad_key", "missing.pem"),
        ("cert.pem", "empty.pem", "bad_key", "empty.pem"),
        ("cert.pem", "encrypted.pem", "bad_key", "encrypted.pem"),
        ("cert.pem", "other.pem", "bad_key", "other.pem"),
    ] {
        let listening = forebay_server::listen("127.0.0.1:0").await.unwrap();
        let tls = TlsFiles {
            certificate: path(certificate),
            key: path(key),
        };
        let error = listening.with_tls(tls, None).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[tokio::test]
async fn http2_without_tls_is_spoken_on_prior_knowledge() {
    let server = Server::new(&["{}"]).await;
    let door = server.open(Duration::from_secs(5)).await;
    let client = builder().http2_prior_knowledge();
    let client = client.build().unwrap();
    let url = format!("http://{}/v1/ingest/p0", door.address);
    let pushes = (0..100).map(|n| client.post(&url).body(format!("{{\"n\": {n}}}")).send());
    for answer in futures::future::join_all(pushes).await {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.version()),
            (200, reqwest::Version::HTTP_2)
        );
    }
    assert_eq!(server.kept().await.len(), 100);
}

/// Asks for much and never reads: an answer to this many requests fits into no buffer.
async fn never_reads(door: &Door) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(door.address).await.unwrap();
    let ask = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2_000);
    let sent = tokio::time::timeout(Duration::from_secs(1), stream.write_all(ask.as_bytes()));
    let _ = sent.await;
    stream
}

/// Whether the other end has closed, or reset, the connection.
async fn is_closed(mut stream: TcpStream) -> bool {
    let mut bytes = vec![0; 1 << 20];
    loop {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
    }
}

#[tokio::test]
async fn who_never_reads_is_cut_off() {
    let server = Server::new(&["{}"]).await;
    let door = server
        .open_with(|listening| listening.with_write_time(Duration::from_millis(300)))
        .await;
    let slow: Vec<_> = futures::future::join_all((0..2).map(|_| never_reads(&door))).await;
    for mut stream in slow {
        // Nothing is read, which would give the server room to write: a write fails once the other end is gone.
        let cut_off = async { while stream.write_all(b"GET ").await.is_ok() {} };
        let cut_off = tokio::time::timeout(Duration::from_secs(10), cut_off);
        cut_off.await.expect("the connection is reset");
    }
}

#[tokio::test]
async fn a_connection_ends_after_its_life_and_an_idle_one_of_http2_too() {
    let server = Server::new(&["{}"]).await;
    let door = server
        .open_with(|listening| listening.with_life(Duration::from_millis(200)))
        .await;
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), is_closed(stream));
    assert!(closed.await.unwrap());
    let door = server.open(Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), is_closed(stream));
    assert!(closed.await.unwrap());
}

#[tokio::test]
async fn health_is_answered_when_every_connection_is_taken() {
    let server = Server::new(&["{}"]).await;
    let door = server.open_for(Duration::from_secs(30), 2).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(b"POST ").await.unwrap();
        idle.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let client = builder().build().unwrap();
    let health = client
        .get(format!("http://{}/healthz", door.address))
        .send();
    let health = tokio::time::timeout(Duration::from_secs(5), health).await;
    assert_eq!(health.unwrap().unwrap().status(), 200);
    // Everything else waits for a place.
    let push = client
        .post(format!("http://{}/v1/ingest/p0", door.address))
        .body("{}")
        .send();
    tokio::pin!(push);
    let early = tokio::time::timeout(Duration::from_millis(300), push.as_mut()).await;
    assert!(early.is_err());
    drop(idle);
    let late = tokio::time::timeout(Duration::from_secs(10), push).await;
    assert_eq!(late.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn one_peer_has_a_part_of_the_connections() {
    let server = Server::new(&["{}"]).await;
    let door = server.open_for(Duration::from_secs(30), 80).await;
    let mut streams = Vec::new();
    for _ in 0..70 {
        streams.push(TcpStream::connect(door.address).await.unwrap());
    }
    let (mut refused, mut open) = (0, Vec::new());
    for mut stream in streams {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        refused += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
        open.push(stream);
    }
    assert_eq!(refused, 70 - 64);
}

#[tokio::test]
async fn callers_that_cannot_authenticate_take_no_memory_from_those_who_can() {
    let token = crate::site::secret("token");
    let server = Server::new(&[
        "{auth: {token: \"${secret:token}\"}}",
        "{auth: {hmac: {secret: \"${secret:key}\"}}}",
    ])
    .await;
    let door = server.open(Duration::from_secs(30)).await;
    let heads = [
        "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Kinesis_20131202.PutRecords\r\nContent-Length: 33000000\r\n\r\n",
        "POST /v1/ingest/p1 HTTP/1.1\r\nHost: x\r\nX-Signature-256: sha256=00\r\nContent-Length: 16000000\r\n\r\n",
    ];
    let part = vec![b' '; 1 << 20];
    let mut held = Vec::new();
    for head in heads.iter().cycle().take(8) {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..15 {
            let sent = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&part));
            if !matches!(sent.await, Ok(Ok(()))) {
                break;
            }
        }
        held.push(stream);
    }
    let bearer = format!("Bearer {token}");
    let body = vec![b'x'; 8 << 20];
    for _ in 0..5 {
        let answer = server
            .push(body.clone(), &[("authorization", &bearer)])
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let metrics = server.get("/metrics").await.text;
    let bytes = metrics
        .lines()
        .find_map(|line| line.strip_prefix("forebay_http_bodies_bytes "));
    let bytes: f64 = bytes.unwrap().parse().unwrap();
    assert!((1.0..=32.0 * 1024.0 * 1024.0).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_signed_body_that_comes_too_slowly_is_cut_off() {
    let server = Server::at_rest(&["{auth: {hmac: {secret: \"${secret:key}\"}}}"]).await;
    let door = server.open(Duration::from_secs(30)).await;
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let head = "POST /v1/ingest/p0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Signature-256: sha256=00\r\nContent-Length: 1000000\r\n\r\nx";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::pin!(read);
    let mut passed = 0;
    loop {
        tokio::select! {
            _ = &mut read => break,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                passed += 1;
                server.advance(Duration::from_secs(1));
            }
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("slow_push"),
        "{answer}"
    );
    assert!(passed < 40, "it took {passed} s");
}
