//! Canaries in clients of other systems: Kafka, a schema registry, storage on S3, a collector of traces, the doors for AWS clients.

use forebay_testkit::{Reply, StubHttp};

use super::{Canaries, repeated};
use crate::forebay::Project;

/// Nobody listens there.
#[cfg(feature = "kafka")]
const NOBODY: &str = "127.0.0.1:1";

/// Refuses whoever asks, with everything that was sent.
pub(super) fn refuse(request: &forebay_testkit::Request) -> Reply {
    Reply::status(403).body(repeated(request))
}

#[cfg(feature = "kafka")]
/// Pipelines from and to a cluster that is not there: with a password, and with a key that is none.
pub(super) fn write_kafka(project: &Project, canaries: &mut Canaries) {
    for name in ["kafka_source", "kafka_key", "kafka_sink"] {
        canaries.make(name);
    }
    project.write("client.pem", "no certificate");
    let options = "options: {debug: \"all\", message.timeout.ms: \"1000\"}";
    let sasl = |name: &str| {
        format!(
            "{{brokers: [\"{NOBODY}\"], sasl: {{mechanism: PLAIN, username: me, password: \"${{secret:{name}}}\"}}, {options}}}"
        )
    };
    let tls = format!(
        "{{brokers: [\"{NOBODY}\"], tls: {{certificate: client.pem, key: \"${{secret:kafka_key}}\"}}, {options}}}"
    );
    for (name, cluster) in [("kafka_source", sasl("kafka_source")), ("kafka_key", tls)] {
        let text = format!(
            "pipeline: {name}\nsource: {{kafka: {{cluster: {cluster}, topic: t}}}}\nextract: {{json: {{}}}}\nload: {{iceberg: {{table: c.{name}}}}}\n"
        );
        project.write(&format!("pipelines/{name}.yaml"), &text);
    }
    let text = format!(
        "pipeline: kafka_sink\nsource: {{file: {{path: \"data/*.json\"}}}}\nextract: {{json: {{}}}}\nload: {{kafka: {{cluster: {}, topic: t}}}}\n",
        sasl("kafka_sink")
    );
    project.write("pipelines/kafka_sink.yaml", &text);
    project.write("data/a.json", "{\"id\": 1}");
}

#[cfg(feature = "kafka")]
/// A pipeline whose messages need a schema of a registry that refuses. Nothing where there is no broker.
pub(super) fn write_registry(project: &Project, server: &StubHttp, canaries: &mut Canaries) {
    canaries.make("registry");
    let Some(topic) = crate::kafka::Topic::new(1) else {
        return;
    };
    let value = serde_json::json!({"hex": "000000000706"});
    topic.peer(&[topic.send(value, serde_json::json!({}))]);
    let text = format!(
        "pipeline: registry\nsource: {{kafka: {{cluster: {{brokers: [\"{}\"]}}, topic: {}, registry: {{url: \"{}\", auth: {{username: me, password: \"${{secret:registry}}\"}}, retry_for: 1s}}}}}}\nextract: {{avro: {{}}}}\nload: {{iceberg: {{table: c.registry}}}}\n",
        topic.server.broker(),
        topic.name,
        server.url("/registry"),
    );
    project.write("pipelines/registry.yaml", &text);
}

/// Headers for a collector that refuses.
pub(super) fn write_telemetry(project: &Project, server: &StubHttp, canaries: &mut Canaries) {
    canaries.make("traces");
    let text = format!(
        "[otlp]\nendpoint = \"{}\"\nheaders = {{authorization = \"${{secret:traces}}\"}}\n",
        server.url("/collector")
    );
    project.write("forebay.toml", &text);
}

/// What is said when the storage refuses, with keys of the file and of the environment.
pub(super) fn said_of_storage(
    server: &StubHttp,
    canaries: &mut Canaries,
) -> Vec<(String, Vec<u8>)> {
    let mut said = Vec::new();
    let secret = canaries.make("storage_key");
    for (name, keys) in [
        (
            "file",
            "access_key_id = \"me\"\nsecret_access_key = \"${secret:storage_key}\"\nsession_token = \"${secret:storage_key}\"\n",
        ),
        ("environment", ""),
    ] {
        let project = Project::new();
        let storage = format!(
            "[storage]\nurl = \"s3://bucket/lake\"\n[storage.s3]\nendpoint = \"{}\"\nallow_http = true\n{keys}",
            server.url("")
        );
        project.write("forebay.toml", &storage);
        project.write("data/a.json", "{\"id\": 1}");
        project.write("pipelines/p.yaml", "pipeline: p\nsource: {file: {path: \"data/*\"}}\nextract: {json: {}}\nload: {iceberg: {table: c.t}}\n");
        for args in [&["run", "-v"][..], &["verify"], &["tables"]] {
            let output = project
                .command(args)
                .env_remove("FOREBAY__STORAGE__URL")
                .env("FOREBAY_SECRET_STORAGE_KEY", &secret)
                .env("AWS_ACCESS_KEY_ID", "me")
                .env("AWS_SECRET_ACCESS_KEY", &secret)
                .env("AWS_SESSION_TOKEN", &secret)
                .output()
                .unwrap();
            said.push((format!("{name}: stdout of {args:?}"), output.stdout));
            said.push((format!("{name}: stderr of {args:?}"), output.stderr));
        }
    }
    said
}

/// Headers with which AWS clients push, each with the token in a place where it may be.
pub(super) fn aws_requests(token: &str) -> [Vec<(&'static str, String)>; 3] {
    let target = ("x-amz-target", "Kinesis_20131202.PutRecord".to_owned());
    let media = ("content-type", "application/x-amz-json-1.1".to_owned());
    let date = ("x-amz-date", "20260101T000000Z".to_owned());
    let signed = |key: &str, signature: &str| {
        let text = format!(
            "AWS4-HMAC-SHA256 Credential={key}/20260101/any/kinesis/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature={signature}"
        );
        ("authorization", text)
    };
    [
        vec![
            target.clone(),
            media.clone(),
            date.clone(),
            signed(token, "00"),
        ],
        vec![
            target.clone(),
            media.clone(),
            date.clone(),
            signed("any", token),
        ],
        vec![
            target,
            media,
            date,
            ("x-amz-security-token", token.to_owned()),
        ],
    ]
}
