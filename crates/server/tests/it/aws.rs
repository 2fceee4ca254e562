use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::site::{Answer, Server};

async fn call(server: &Server, target: &str, body: Value) -> Answer {
    let request = Request::post("/").header("x-amz-target", target);
    server
        .ask(request.body(Body::from(body.to_string())).unwrap())
        .await
}

#[tokio::test]
async fn kinesis_records_are_kept_with_their_keys() {
    let server = Server::new(&["{}"]).await;
    let one = json!({"StreamName": "p0", "Data": "YQ==", "PartitionKey": "k"});
    let one = call(&server, "Kinesis_20131202.PutRecord", one).await;
    assert_eq!(one.headers["content-type"], "application/x-amz-json-1.1");
    let two = json!({"StreamARN": "arn:aws:kinesis:eu-west-1:1:stream/p0", "Records": [
        {"Data": "Yg==", "PartitionKey": "k"}, {"Data": "Yw==", "PartitionKey": "l"}]});
    let two = call(&server, "Kinesis_20131202.PutRecords", two)
        .await
        .json();
    assert_eq!(
        (
            &two["FailedRecordCount"],
            two["Records"].as_array().unwrap().len()
        ),
        (&json!(0), 2)
    );
    let kept = server.kept().await;
    let bodies: Vec<&[u8]> = kept.iter().map(|pushed| &pushed.body[..]).collect();
    assert_eq!(bodies, [b"a", b"b", b"c"]);
    assert_eq!(kept[2].head.attributes["partition_key"], "l");
    assert_eq!(
        one.json()["SequenceNumber"],
        format!("{:020}", kept[0].offset)
    );
    let shards = call(
        &server,
        "Kinesis_20131202.ListShards",
        json!({"StreamName": "p0"}),
    )
    .await;
    assert_eq!(
        shards.json()["Shards"][0]["ShardId"],
        "shardId-000000000000"
    );
    let about = call(
        &server,
        "Kinesis_20131202.DescribeStreamSummary",
        json!({"StreamName": "p0"}),
    )
    .await;
    assert_eq!(
        about.json()["StreamDescriptionSummary"]["StreamStatus"],
        "ACTIVE"
    );
}

#[tokio::test]
async fn firehose_records_are_kept() {
    let server = Server::new(&["{}"]).await;
    let one = json!({"DeliveryStreamName": "p0", "Record": {"Data": "YQ=="}});
    assert_eq!(
        call(&server, "Firehose_20150804.PutRecord", one)
            .await
            .status,
        200
    );
    let two = json!({"DeliveryStreamName": "p0", "Records": [{"Data": "Yg=="}, {"Data": "Yw=="}]});
    let two = call(&server, "Firehose_20150804.PutRecordBatch", two)
        .await
        .json();
    assert_eq!(
        (
            &two["FailedPutCount"],
            two["RequestResponses"].as_array().unwrap().len()
        ),
        (&json!(0), 2)
    );
    assert_eq!(server.kept().await.len(), 3);
}

#[tokio::test]
async fn refusals_have_the_names_that_clients_know() {
    let server = Server::new(&["{}"]).await;
    let put = |stream: &str| json!({"StreamName": stream, "Data": "YQ==", "PartitionKey": "k"});
    let many = json!({"StreamName": "p0", "Records": vec![json!({"Data": "YQ==", "PartitionKey": "k"}); 501]});
    for (target, body, name) in [
        (
            "Kinesis_20131202.PutRecord",
            put("nobody"),
            "ResourceNotFoundException",
        ),
        (
            "Kinesis_20131202.PutRecord",
            json!({"StreamName": "p0"}),
            "ValidationException",
        ),
        (
            "Kinesis_20131202.PutRecord",
            json!({"StreamName": "p0", "Data": "!", "PartitionKey": "k"}),
            "ValidationException",
        ),
        ("Kinesis_20131202.PutRecords", many, "ValidationException"),
        (
            "Kinesis_20131202.GetRecords",
            json!({}),
            "UnknownOperationException",
        ),
        ("", json!({}), "UnknownOperationException"),
    ] {
        let answer = call(&server, target, body).await;
        assert_eq!(
            (answer.status, answer.json()["__type"].as_str()),
            (400, Some(name)),
            "{target}"
        );
        assert_eq!(answer.headers["x-amzn-errortype"], name);
    }
    for name in ["p1\u{1b}[31m", "p1\r\nX: y", "p1\0"] {
        let answer = call(&server, "Kinesis_20131202.PutRecord", put(name)).await;
        assert_eq!(answer.json()["__type"], "ValidationException");
    }
    assert!(server.kept().await.is_empty());
}

#[tokio::test]
async fn a_signature_of_another_body_or_time_is_refused() {
    let server = Server::new(&["{auth: {token: \"${secret:token}\"}}"]).await;
    let signed = "AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature=00";
    let request = Request::post("/")
        .header("host", "localhost")
        .header("authorization", signed)
        .header("x-amz-date", "20200101T000000Z")
        .header("x-amz-target", "Kinesis_20131202.PutRecord");
    let body = json!({"StreamName": "p0", "Data": "YQ==", "PartitionKey": "k"}).to_string();
    let answer = server.ask(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.json()["__type"], "InvalidSignatureException");
    assert!(answer.text.contains("15 minutes"), "{}", answer.text);
}

#[tokio::test]
async fn a_call_that_is_tried_again_lands_once() {
    let server = Server::new(&["{}"]).await;
    let put = |invocation: &'static str| {
        let server = &server;
        async move {
            let body = json!({"StreamName": "p0", "Records": [
                {"Data": "YQ==", "PartitionKey": "k"}, {"Data": "Yg==", "PartitionKey": "k"}]});
            let request = Request::post("/")
                .header("x-amz-target", "Kinesis_20131202.PutRecords")
                .header("amz-sdk-invocation-id", invocation)
                .header("amz-sdk-request", "attempt=1");
            let answer = server.ask(request.body(Body::from(body.to_string())).unwrap());
            answer.await.json()["Records"].clone()
        }
    };
    let (first, again, other) = (put("a").await, put("a").await, put("b").await);
    assert_eq!(first[0], again[0]);
    assert_eq!(again.as_array().unwrap().len(), 2);
    assert_ne!(first[0], other[0]);
    assert_eq!(server.kept().await.len(), 4);
}

#[tokio::test]
async fn what_is_broken_in_a_record_is_kept_as_it_came() {
    let server = Server::new(&["{}"]).await;
    // The mark of the Kinesis Producer Library, and then no aggregated records.
    let broken = b"\xf3\x89\x9a\xc2\x00\xff\xff\xff";
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, broken);
    let body = json!({"StreamName": "p0", "Data": data, "PartitionKey": "k"});
    let answer = call(&server, "Kinesis_20131202.PutRecord", body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(server.kept().await[0].body, &broken[..]);
}

/// Made by `aws_kinesis_agg` 1.2.3: `{"n":1}` of key `k`, `{"n":2}` of key `l`, an empty one of key `k`.
const AGGREGATED: &str = "84mawgoBawoBbBInMTcwMTQxMTgzNDYwNDY5MjMxNzMxNjg3MzAzNzE1ODg0MTA1NzI4GgsIABoHeyJuIjoxfRoNCAEQABoHeyJuIjoyfRoECAAaAFX4oRyY05rtogzo/yXP64M=";

#[tokio::test]
async fn aggregated_records_are_taken_apart_and_are_there_together_once() {
    let server = Server::new(&["{}"]).await;
    let body = json!({"StreamName": "p0", "Records": [
        {"Data": "YQ==", "PartitionKey": "a"}, {"Data": AGGREGATED, "PartitionKey": "a"}, {"Data": "Yg==", "PartitionKey": "b"}]});
    for _ in 0..2 {
        let request = Request::post("/")
            .header("x-amz-target", "Kinesis_20131202.PutRecords")
            .header("amz-sdk-invocation-id", "one");
        let answer = server.ask(request.body(Body::from(body.to_string())).unwrap());
        let answer = answer.await.json();
        assert_eq!(answer["FailedRecordCount"], 0);
        assert_eq!(answer["Records"].as_array().unwrap().len(), 3);
    }
    let kept = server.kept().await;
    let of = |name: &str| -> Vec<String> {
        let values = kept.iter().map(|pushed| pushed.head.attributes.get(name));
        values
            .map(|value| value.cloned().unwrap_or_default())
            .collect()
    };
    let bodies: Vec<&[u8]> = kept.iter().map(|pushed| &pushed.body[..]).collect();
    assert_eq!(bodies, [&b"a"[..], br#"{"n":1}"#, br#"{"n":2}"#, b"", b"b"]);
    assert_eq!(of("partition_key"), ["a", "k", "l", "k", "b"]);
    assert_eq!(of("sub_sequence_number"), ["", "0", "1", "2", ""]);
    // Firehose knows no such thing.
    let body = json!({"DeliveryStreamName": "p0", "Record": {"Data": AGGREGATED}});
    call(&server, "Firehose_20150804.PutRecord", body).await;
    assert_eq!(server.kept().await.len(), 6);
}

#[tokio::test]
async fn the_place_of_an_aggregated_record_is_that_of_its_first() {
    let server = Server::new(&["{}"]).await;
    let body = json!({"StreamName": "p0", "Records": [
        {"Data": AGGREGATED, "PartitionKey": "a"}, {"Data": "Yg==", "PartitionKey": "b"}]});
    let answer = call(&server, "Kinesis_20131202.PutRecords", body).await;
    let kept = server.kept().await;
    for (record, pushed) in [(0, 0), (1, 3)] {
        assert_eq!(
            answer.json()["Records"][record]["SequenceNumber"],
            format!("{:020}", kept[pushed].offset)
        );
    }
}

#[tokio::test]
async fn signatures_expire_and_cannot_be_made_ahead() {
    let server = Server::at_rest(&["{auth: {token: \"${secret:token}\"}}"]).await;
    // The server's clock stands at 2023-11-14T22:13:20Z.
    for date in ["20231114T215819Z", "20231114T222821Z", "20991231T000000Z"] {
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20231114/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature=00";
        let request = Request::post("/")
            .header("host", "localhost")
            .header("authorization", signed)
            .header("x-amz-date", date)
            .header("x-amz-target", "Kinesis_20131202.PutRecord");
        let body = json!({"StreamName": "p0", "Data": "YQ==", "PartitionKey": "k"}).to_string();
        let answer = server.ask(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.json()["__type"], "InvalidSignatureException");
        assert!(
            answer.text.contains("15 minutes"),
            "{date}: {}",
            answer.text
        );
    }
    assert!(server.kept().await.is_empty());
}
