//! Calls of AWS clients, signed as their SDKs sign.

use std::fmt::Write;

use axum::body::Body;
use axum::http::Request;
use ring::hmac;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::site::{Answer, Server, secret};

/// When the clock of these servers stands.
const NOW: &str = "20231114T221320Z";

const PUT: &str = "Kinesis_20131202.PutRecord";

/// A call, and all that is signed of it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) body: Vec<u8>,
    pub(crate) date: String,
    /// Region, service and end of the scope, behind its date.
    pub(crate) scope: String,
    pub(crate) signed: Vec<(&'static str, String)>,
    /// Sent and not signed.
    pub(crate) unsigned: Vec<(&'static str, Vec<u8>)>,
    pub(crate) secret: String,
}

impl Call {
    pub(crate) fn new(target: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let service = if target.starts_with("Kinesis") {
            "kinesis"
        } else {
            "firehose"
        };
        Self {
            body: body.into(),
            date: NOW.to_owned(),
            scope: format!("{}/eu-central-1/{service}/aws4_request", &NOW[..8]),
            signed: vec![
                ("host", "localhost".to_owned()),
                ("x-amz-date", NOW.to_owned()),
                ("x-amz-target", target.to_owned()),
            ],
            unsigned: Vec::new(),
            secret: secret("token"),
        }
    }

    pub(crate) fn put(stream: &str) -> Self {
        let body = json!({"StreamName": stream, "Data": "YQ==", "PartitionKey": "k"});
        Self::new(PUT, body.to_string())
    }

    pub(crate) fn request(&self) -> Request<Body> {
        let mut canonical = "POST\n/\n\n".to_owned();
        for (name, value) in &self.signed {
            let _ = writeln!(canonical, "{name}:{value}");
        }
        let names: Vec<&str> = self.signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let _ = write!(canonical, "\n{names}\n{}", hex(&Sha256::digest(&self.body)));
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.date,
            self.scope,
            hex(&Sha256::digest(canonical))
        );
        let start = format!("AWS4{}", self.secret).into_bytes();
        let sign = |key: &[u8], text: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        };
        let key = self
            .scope
            .split('/')
            .fold(start, |key, part| sign(&key, part));
        let signature = hex(&sign(&key, &to_sign));
        let mut request = Request::post("/").header(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential=AKID/{}, SignedHeaders={names}, Signature={signature}",
                self.scope
            ),
        );
        for (name, value) in &self.signed {
            request = request.header(*name, value);
        }
        for (name, value) in &self.unsigned {
            request = request.header(*name, &value[..]);
        }
        request.body(Body::from(self.body.clone())).unwrap()
    }

    pub(crate) async fn send(&self, server: &Server) -> Answer {
        server.ask(self.request()).await
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A server with a pipeline that has a token, one with another token, and one that takes no calls.
async fn server() -> Server {
    Server::at_rest(&[
        "{auth: {token: \"${secret:token}\"}}",
        "{auth: {token: \"${secret:other}\"}}",
        "{auth: {hmac: {secret: \"${secret:key}\"}}}",
    ])
    .await
}

fn refusal(answer: &Answer) -> String {
    let name = answer.json()["__type"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(answer.status, 400, "{}", answer.text);
    name
}

#[tokio::test]
async fn a_signature_covers_its_date_its_service_and_every_amz_header() {
    let server = server().await;
    let good = Call::put("p0");
    let mut bad = Vec::new();
    for scope in [
        "19990101/eu-central-1/kinesis/aws4_request",
        "20231114/eu-central-1/firehose/aws4_request",
        "20231114/eu-central-1/kinesis/aws4",
    ] {
        let mut call = good.clone();
        call.scope = scope.to_owned();
        bad.push(call);
    }
    let mut untargeted = good.clone();
    untargeted.signed.pop();
    untargeted.unsigned.push(("x-amz-target", PUT.into()));
    bad.push(untargeted);
    let mut added = good.clone();
    added.unsigned.push(("x-amz-security-token", b"x".to_vec()));
    bad.push(added);
    let mut latin = good.clone();
    latin.unsigned.push(("x-amz-date", b"\xe9".to_vec()));
    bad.push(latin);
    for call in &bad {
        assert_eq!(
            refusal(&call.send(&server).await),
            "InvalidSignatureException",
            "{}",
            call.scope
        );
    }
    assert!(server.kept().await.is_empty());
    assert_eq!(good.send(&server).await.status, 200);
}

#[tokio::test]
async fn a_replayed_call_lands_once_and_is_answered_as_the_first_time() {
    let server = server().await;
    let first = Call::put("p0").send(&server).await;
    assert_eq!(first.status, 200, "{}", first.text);
    for id in ["1", "2", "3"] {
        let mut again = Call::put("p0");
        again.unsigned.push(("amz-sdk-invocation-id", id.into()));
        let again = again.send(&server).await;
        assert_eq!((again.status, again.json()), (200, first.json()));
    }
    assert_eq!(server.kept().await.len(), 1);
    // What an SDK tries again is signed again, and has the same name.
    let invoked = |date: &str| {
        let mut call = Call::put("p0");
        call.date = date.to_owned();
        call.signed[1].1 = date.to_owned();
        call.signed
            .insert(0, ("amz-sdk-invocation-id", "a".to_owned()));
        call
    };
    let (one, two) = (invoked(NOW), invoked("20231114T221325Z"));
    let (one, two) = (one.send(&server).await, two.send(&server).await);
    assert_eq!((two.status, two.json()), (200, one.json()));
    assert_eq!(server.kept().await.len(), 2);
}

#[tokio::test]
async fn a_wrong_signature_does_not_tell_whether_a_stream_exists() {
    let server = server().await;
    let unsigned = |stream: &str| {
        let body = json!({"StreamName": stream, "Data": "YQ==", "PartitionKey": "k"});
        let request = Request::post("/").header("x-amz-target", PUT);
        request.body(Body::from(body.to_string())).unwrap()
    };
    let mut answers = Vec::new();
    for stream in ["p0", "p1", "p2", "nobody"] {
        let mut wrong = Call::put(stream);
        wrong.secret = "something else".to_owned();
        let wrong = wrong.send(&server).await;
        let missing = server.ask(unsigned(stream)).await;
        answers.push((wrong.text, missing.text));
    }
    assert!(answers[0].0.contains("InvalidSignatureException"));
    assert!(answers[0].1.contains("MissingAuthenticationTokenException"));
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
    // Whoever has a token that is right for one stream is told the same of all others.
    for stream in ["p1", "p2", "nobody"] {
        let answer = Call::put(stream).send(&server).await;
        assert_eq!(refusal(&answer), "ResourceNotFoundException");
    }
    let list = Call::new("Kinesis_20131202.ListStreams", "{}")
        .send(&server)
        .await;
    assert_eq!(list.json()["StreamNames"], json!(["p0"]));
    let list = Call::new("Firehose_20150804.ListDeliveryStreams", "{}")
        .send(&server)
        .await;
    assert_eq!(list.json()["DeliveryStreamNames"], json!(["p0"]));
}

#[tokio::test]
async fn a_record_that_cannot_be_kept_stops_no_other_of_its_call() {
    let server = server().await;
    let body = json!({"StreamName": "p0", "Records": [
        {"Data": "YQ==", "PartitionKey": "k"}, {"Data": "!", "PartitionKey": "k"}, {"PartitionKey": "k"}, {"Data": "Yg==", "PartitionKey": "l"}]});
    let answer = Call::new("Kinesis_20131202.PutRecords", body.to_string())
        .send(&server)
        .await;
    let answer: Value = answer.json();
    assert_eq!(answer["FailedRecordCount"], 2);
    assert_eq!(answer["Records"][1]["ErrorCode"], "ValidationException");
    assert!(answer["Records"][1]["SequenceNumber"].is_null());
    let kept = server.kept().await;
    assert_eq!(kept.len(), 2);
    assert_eq!(
        answer["Records"][3]["SequenceNumber"],
        format!("{:020}", kept[1].offset)
    );
}

#[tokio::test]
async fn cbor_is_taken_and_answered_in_cbor() {
    let server = server().await;
    // {_ "StreamName": "p0", "Records": [_ {_ "Data": h'61', "PartitionKey": "k", "ExplicitHashKey": null}]}, as Java writes it.
    let body = b"\xBF\x6AStreamName\x62p0\x67Records\x9F\xBF\x64Data\x41a\x6CPartitionKey\x61k\x6FExplicitHashKey\xF6\xFF\xFF\xFF";
    let cbor = |target, body: &[u8]| {
        let mut call = Call::new(target, body);
        call.signed
            .insert(0, ("content-type", "application/x-amz-cbor-1.1".to_owned()));
        call
    };
    let request = cbor("Kinesis_20131202.PutRecords", body).request();
    let answer = server.bytes(request).await;
    assert_eq!(answer.0, 200);
    assert_eq!(answer.1["content-type"], "application/x-amz-cbor-1.1");
    let text = String::from_utf8_lossy(&answer.2).into_owned();
    assert!(text.contains("SequenceNumber"), "{text}");
    let kept = server.kept().await;
    assert_eq!(&kept[0].body[..], b"a");
    assert_eq!(kept[0].head.attributes["partition_key"], "k");
    let deep = [
        &b"\xA2\x61x"[..],
        &[0x81; 100_000],
        b"\x01\x6AStreamName\x62p0",
    ]
    .concat();
    let (status, headers, _) = server.bytes(cbor(PUT, &deep).request()).await;
    assert_eq!(
        (status, &headers["x-amzn-errortype"]),
        (400, &"ValidationException".parse().unwrap())
    );
}

#[tokio::test]
async fn a_call_that_cannot_be_right_is_refused_before_its_body_is_read() {
    let open = Server::new(&["{auth: {hmac: {secret: \"${secret:key}\"}}}"]).await;
    let never = || Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let post = |target: &str| {
        Request::post("/")
            .header("x-amz-target", target)
            .body(never())
            .unwrap()
    };
    // No pipeline of this server takes calls.
    assert_eq!(
        refusal(&open.ask(post(PUT)).await),
        "ResourceNotFoundException"
    );
    let server = server().await;
    assert_eq!(
        refusal(&server.ask(post(PUT)).await),
        "MissingAuthenticationTokenException"
    );
    assert_eq!(
        refusal(&server.ask(post("Kinesis_20131202.GetRecords")).await),
        "UnknownOperationException"
    );
    let mut late = Call::put("p0");
    late.signed[1].1 = "20231114T200000Z".to_owned();
    let (parts, _) = late.request().into_parts();
    let late = server.ask(Request::from_parts(parts, never())).await;
    assert_eq!(refusal(&late), "InvalidSignatureException");
}

/// Other tests of this process need memory too, so this one has a process of its own.
#[test]
fn a_deep_request_of_a_stranger_costs_no_memory_beside_its_bytes() {
    let tests = std::env::current_exe().unwrap();
    let inner = "signed::deep_requests_in_a_process_of_their_own";
    let done = std::process::Command::new(tests)
        .args(["--exact", inner, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    println!("{said}");
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn deep_requests_in_a_process_of_their_own() {
    let server = server().await;
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB").trim();
        kib.parse::<u64>().unwrap() << 10
    };
    let nested = format!("{}0{}", "[".repeat(100), "]".repeat(100));
    let count = (31 << 20) / (nested.len() + 1);
    let nested = vec![nested; count].join(",");
    let body = format!("{{\"StreamName\":\"p0\",\"x\":[{nested}],\"Records\":[]}}");
    let mut call = Call::new("Kinesis_20131202.PutRecords", body);
    call.secret = "something else".to_owned();
    let before = peak();
    for _ in 0..2 {
        let answer = call.send(&server).await;
        assert_eq!(refusal(&answer), "InvalidSignatureException");
    }
    // The same with the right signature.
    call.secret = secret("token");
    assert_eq!(refusal(&call.send(&server).await), "ValidationException");
    let grown = peak() - before;
    println!("{} MiB more for requests of 31 MiB", grown >> 20);
    assert!(grown < 128 << 20, "{} MiB more", grown >> 20);
}
