//! Topics of a real broker: each message once, whatever happens to the process, the topic or the cluster.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use forebay_testkit::KafkaServer;
use serde_json::{Value, json};

use crate::flights::variable;
use crate::forebay::Project;
use crate::ledger::Asked;
use crate::served::Server;

/// A topic of a test's own on the shared broker.
pub(crate) struct Topic {
    pub(crate) server: &'static KafkaServer,
    pub(crate) name: String,
    pub(crate) partitions: u32,
}

impl Topic {
    /// `None` where no broker or no Python is installed.
    pub(crate) fn new(partitions: u32) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        variable("FOREBAY_TEST_PYTHON")?;
        let topic = Self {
            server: KafkaServer::shared()?,
            name: format!("topic-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            partitions,
        };
        topic.peer(&[json!({"create": topic.name, "partitions": partitions})]);
        Some(topic)
    }

    /// Another client does these things; returns what it prints.
    pub(crate) fn peer(&self, lines: &[Value]) -> String {
        peer(&self.server.broker(), lines)
    }

    pub(crate) fn send(&self, value: Value, more: Value) -> Value {
        let mut line = json!({"send": self.name, "value": value, "partition": 0});
        line.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        line
    }

    pub(crate) fn fill(&self, from: u64, to: u64) -> Value {
        json!({"fill": self.name, "from": from, "to": to, "partitions": self.partitions})
    }

    pub(crate) fn pipeline(&self, project: &Project, more: &str) {
        project.write(
            "pipelines/orders.yaml",
            &format!(
                "pipeline: orders\nsource:\n  kafka:\n    cluster: {{brokers: ['{}']}}\n    topic: {}\n{more}\
                 extract: {{json: {{}}}}\nbuffer: {{time: 200ms}}\nload: {{iceberg: {{table: shop.orders}}}}\n",
                self.server.broker(),
                self.name,
            ),
        );
    }

    /// [`Self::pipeline`] loads into the database that `WAREHOUSE` names.
    pub(crate) fn pipeline_to_postgres(&self, project: &Project) {
        let path = project.path().join("pipelines/orders.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let into = "postgres: {url: \"${env:WAREHOUSE}\", table: shop.orders}";
        let text = text.replace("iceberg: {table: shop.orders}", into);
        project.write("pipelines/orders.yaml", &text);
    }
}

/// Another client of this broker does these things; returns what it prints.
pub(crate) fn peer(broker: &str, lines: &[Value]) -> String {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    finished(start_peer(broker, &lines.join("\n")))
}

/// What a client has printed that did all it was told to.
pub(crate) fn finished(peer: std::process::Child) -> String {
    let done = peer.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    String::from_utf8(done.stdout).unwrap()
}

pub(crate) fn start_peer(broker: &str, lines: &str) -> std::process::Child {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kafka_peer.py");
    let mut peer = Command::new(variable("FOREBAY_TEST_PYTHON").unwrap());
    let peer = peer
        .arg(script)
        .arg(broker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut peer = peer.spawn().unwrap();
    peer.stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    peer
}

/// Rows of the answer, as CSV without its header.
pub(crate) fn rows(project: &Project, statement: &str) -> Vec<String> {
    let answer = project.ok(&["sql", statement, "--format", "csv"]);
    answer.out.lines().skip(1).map(str::to_owned).collect()
}

pub(crate) fn wait_for(project: &Project, statement: &str, value: &str) {
    for _ in 0..600 {
        let answer = project.run(&["sql", statement, "--format", "csv"]);
        if answer.out.lines().nth(1) == Some(value) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{statement} does not come to {value}");
}

#[test]
fn each_message_is_taken_once_with_what_came_with_it() {
    let Some(topic) = Topic::new(2) else { return };
    let project = Project::new();
    topic.pipeline(
        &project,
        "    columns: {key: k, timestamp: at, partition: p, offset: o, headers: h}\n",
    );
    topic.peer(&[
        topic.send(
            json!(r#"{"id": 1}"#),
            json!({"key": "a", "timestamp": 1_700_000_000_000_u64, "headers": [["from", "x"]]}),
        ),
        topic.send(
            json!(" {\"id\": 2,\n \"note\": \"two\nlines\"}\n"),
            json!({"key": "b"}),
        ),
        topic.send(
            json!("{\"id\": 3,\n \"note\": \"ok\"}"),
            json!({"partition": 1}),
        ),
        topic.send(Value::Null, json!({"key": "a"})),
        topic.send(json!(""), json!({})),
        topic.send(json!({"hex": "ff00"}), json!({"key": "bad"})),
        topic.send(json!(r#"[{"id": 4}, {"id": 5}]"#), json!({"key": "list"})),
    ]);
    project.ok(&["run", "--quiet"]);
    let found = rows(
        &project,
        "SELECT id, note, k, p, o, cardinality(h) FROM shop.orders ORDER BY id",
    );
    assert_eq!(
        found,
        ["1,,a,0,0,1", "3,ok,,1,0,", "4,,list,0,5,", "5,,list,0,5,"]
    );
    assert_eq!(
        rows(&project, "SELECT at FROM shop.orders WHERE id = 1"),
        ["2023-11-14T22:13:20Z"]
    );
    let refused = rows(&project, "SELECT code FROM quarantine.orders ORDER BY code");
    assert_eq!(
        refused,
        ["bad_json", "empty_message", "not_utf8", "tombstone"]
    );
    // The raw zone has every byte and every key.
    let raw = "SELECT sum(length), sum(cardinality(messages)) FROM raw.orders";
    assert_eq!(rows(&project, raw).len(), 1);
    assert!(project.ok(&["run"]).err.contains(": 0 rows"));
    topic.peer(&[topic.send(json!(r#"{"id": 6}"#), json!({"key": "c"}))]);
    project.ok(&["run", "--quiet"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "5");
    let rebuilt = project.ok(&["rebuild", "shop.orders"]);
    assert!(
        rebuilt.err.contains("equal") || rebuilt.out.contains("equal"),
        "{}{}",
        rebuilt.out,
        rebuilt.err
    );
}

#[test]
fn a_small_buffer_gives_small_commits() {
    let Some(topic) = Topic::new(1) else { return };
    let project = Project::new();
    topic.pipeline(&project, "");
    let path = project.path().join("pipelines/orders.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("buffer: {time: 200ms}", "buffer: {rows: 10, time: 1h}");
    project.write("pipelines/orders.yaml", &text);
    topic.peer(&[topic.fill(0, 100)]);
    project.ok(&["run", "--quiet"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "100");
    let commits = project
        .value("SELECT count(*) FROM lake.commits WHERE message LIKE 'orders: 10 rows into%'");
    assert_eq!(commits, "10");
}

#[test]
fn aborted_messages_are_not_there() {
    let Some(topic) = Topic::new(1) else { return };
    let project = Project::new();
    topic.pipeline(&project, "");
    topic.peer(&[
        topic.send(json!(r#"{"id": 1}"#), json!({})),
        json!({"begin": format!("{}-a", topic.name)}),
        topic.send(json!(r#"{"id": 2}"#), json!({})),
        json!({"end": "abort"}),
        json!({"begin": format!("{}-b", topic.name)}),
        topic.send(json!(r#"{"id": 3}"#), json!({})),
        json!({"end": "commit"}),
    ]);
    project.ok(&["run", "--quiet"]);
    assert_eq!(
        rows(&project, "SELECT id FROM shop.orders ORDER BY id"),
        ["1", "3"]
    );
    assert!(project.ok(&["run"]).err.contains(": 0 rows"));
}

#[test]
fn messages_that_are_gone_are_never_passed_over_silently() {
    let Some(topic) = Topic::new(1) else { return };
    let project = Project::new();
    topic.pipeline(&project, "");
    topic.peer(&[topic.fill(0, 10)]);
    project.ok(&["run", "--quiet"]);
    topic.peer(&[
        topic.fill(10, 30),
        json!({"forget": topic.name, "before": {"0": 25}}),
    ]);
    let stopped = project.run(&["run"]);
    assert_eq!(stopped.code, 1, "{}", stopped.err);
    assert!(stopped.err.contains("messages 10 to 24"), "{}", stopped.err);
    assert!(stopped.err.contains("lost: continue"), "{}", stopped.err);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "10");
    topic.pipeline(&project, "    lost: continue\n");
    project.ok(&["run", "--quiet"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "15");
    let told = rows(
        &project,
        "SELECT reason FROM quarantine.orders WHERE code = 'messages_lost'",
    );
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("messages 10 to 24"), "{told:?}");
    // A topic made anew has fewer messages than were read of the old one.
    topic.peer(&[json!({"delete": topic.name})]);
    std::thread::sleep(Duration::from_secs(1));
    topic.peer(&[json!({"create": topic.name}), topic.fill(100, 105)]);
    project.ok(&["run", "--quiet"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "20");
    assert_eq!(project.value("SELECT count(*) FROM quarantine.orders"), "2");
}

#[test]
fn a_topic_that_is_recreated_with_as_many_messages_is_another_topic() {
    let Some(topic) = Topic::new(1) else { return };
    let project = Project::new();
    topic.pipeline(&project, "");
    topic.peer(&[topic.fill(0, 3)]);
    project.ok(&["run", "--quiet"]);
    topic.peer(&[json!({"delete": topic.name})]);
    std::thread::sleep(Duration::from_secs(1));
    topic.peer(&[json!({"create": topic.name}), topic.fill(100, 105)]);
    let stopped = project.run(&["run"]);
    assert_eq!(stopped.code, 1, "{}", stopped.err);
    assert!(stopped.err.contains("was recreated"), "{}", stopped.err);
    topic.pipeline(&project, "    lost: continue\n");
    project.ok(&["run", "--quiet"]);
    project.ok(&["run", "--quiet"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "8");
    assert_eq!(project.value("SELECT count(*) FROM quarantine.orders"), "1");
}

#[test]
fn a_topic_that_is_recreated_while_it_is_followed_is_another_topic() {
    let Some(topic) = Topic::new(1) else { return };
    let project = Project::new();
    topic.pipeline(&project, "    lost: continue\n");
    topic.peer(&[topic.fill(0, 3)]);
    let server = Server::start(&project, "127.0.0.1:0");
    wait_for(&project, "SELECT count(*) FROM shop.orders", "3");
    topic.peer(&[json!({"delete": topic.name})]);
    std::thread::sleep(Duration::from_secs(1));
    // More than were read of the old one: its offsets exist in the new one.
    topic.peer(&[json!({"create": topic.name}), topic.fill(100, 105)]);
    wait_for(&project, "SELECT count(*) FROM shop.orders", "8");
    topic.peer(&[topic.fill(105, 107)]);
    wait_for(&project, "SELECT count(*) FROM shop.orders", "10");
    let told = rows(&project, "SELECT code FROM quarantine.orders");
    assert_eq!(told, ["messages_lost"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn what_comes_after_the_first_run_from_the_end_is_read() {
    let Some(topic) = Topic::new(1) else { return };
    let project = Project::new();
    topic.pipeline(&project, "    start: latest\n");
    topic.peer(&[topic.fill(0, 5)]);
    project.ok(&["run", "--quiet"]);
    topic.peer(&[
        topic.fill(5, 8),
        json!({"grow": topic.name, "partitions": 2}),
    ]);
    topic.peer(&[topic.send(json!(r#"{"id": 10}"#), json!({"partition": 1}))]);
    project.ok(&["run", "--quiet"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "4");
}

#[test]
fn a_topic_or_a_cluster_that_is_not_there_is_said_plainly() {
    let Some(mut topic) = Topic::new(1) else {
        return;
    };
    let project = Project::new();
    topic.name = "missing".to_owned();
    topic.pipeline(&project, "");
    let answer = project.run(&["run"]);
    assert_eq!(answer.code, 1, "{}", answer.err);
    assert!(answer.err.contains("topic `missing`"), "{}", answer.err);
    let text = std::fs::read_to_string(project.path().join("pipelines/orders.yaml")).unwrap();
    project.write(
        "pipelines/orders.yaml",
        &text.replace(&topic.server.broker(), "127.0.0.1:9"),
    );
    let answer = project.run(&["run"]);
    assert_eq!(answer.code, 4, "{}", answer.err);
    assert!(answer.err.contains("127.0.0.1:9"), "{}", answer.err);
}

#[test]
fn a_partition_that_is_added_is_read_from_its_first_message() {
    let Some(topic) = Topic::new(1) else { return };
    let project = Project::new();
    topic.pipeline(&project, "    start: latest\n");
    topic.peer(&[topic.fill(0, 5)]);
    let server = Server::start(&project, "127.0.0.1:0");
    std::thread::sleep(Duration::from_secs(2));
    topic.peer(&[
        topic.fill(5, 10),
        json!({"grow": topic.name, "partitions": 2}),
    ]);
    // A client knows the topic as it was when it began.
    topic.peer(&[topic.send(json!(r#"{"id": 10}"#), json!({"partition": 1}))]);
    wait_for(&project, "SELECT count(*) FROM shop.orders", "6");
    assert_eq!(server.stop(), Some(0));
}

/// What a topic has for those who read what is committed: keys and values.
fn read(topic: &Topic, name: &str) -> Vec<(Option<String>, Value)> {
    let printed = topic.peer(&[json!({"read": name})]);
    let lines = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let pairs = lines.map(|line| {
        let value = serde_json::from_str(line["value"].as_str().unwrap()).unwrap();
        (line["key"].as_str().map(str::to_owned), value)
    });
    pairs.collect()
}

fn to_kafka(topic: &Topic, project: &Project, out: &str) {
    topic.pipeline(project, "");
    let path = project.path().join("pipelines/orders.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let (source, _) = text.split_once("load:").unwrap();
    let load = format!(
        "load: {{kafka: {{cluster: {{brokers: ['{}']}}, topic: {out}, key: id, positions: {out}-positions}}}}\n",
        topic.server.broker()
    );
    project.write("pipelines/orders.yaml", &(source.to_owned() + &load));
}

#[test]
fn rows_become_messages_and_the_poison_stays_behind() {
    let Some(topic) = Topic::new(2) else { return };
    let project = Project::new();
    let out = format!("{}-out", topic.name);
    to_kafka(&topic, &project, &out);
    topic.peer(&[
        topic.fill(0, 10),
        topic.send(json!("not json"), json!({})),
        topic.send(json!({"big": 1}).to_string().into(), json!({})),
    ]);
    project.ok(&["run", "--quiet"]);
    let found = read(&topic, &out);
    assert_eq!(found.len(), 11);
    let (key, value) = found.iter().find(|(_, value)| value["id"] == 3).unwrap();
    assert_eq!(
        (key.as_deref(), &value["name"], &value["price"]),
        (Some("3"), &json!("name 3"), &json!(0.75))
    );
    assert_eq!(project.value("SELECT count(*) FROM quarantine.orders"), "1");
    assert!(project.ok(&["run"]).err.contains(": 0 rows"));
    assert_eq!(read(&topic, &out).len(), 11);
}

#[test]
fn killed_again_and_again_each_row_is_one_message() {
    let mut asked = Asked::new();
    asked.messages /= 5;
    asked.every = asked.every.max(1_750);
    let messages = asked.messages;
    let Some(topic) = Topic::new(2) else { return };
    let project = Project::new();
    let out = format!("{}-out", topic.name);
    to_kafka(&topic, &project, &out);
    let server = asked.survive(&project, &topic, topic.fill(0, messages), &[]);
    let raw = "SELECT sum(cardinality(messages)) FROM raw.orders";
    wait_for(&project, raw, &messages.to_string());
    assert_eq!(server.stop(), Some(0));
    let mut ids: Vec<u64> = read(&topic, &out)
        .iter()
        .map(|(_, value)| value["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len() as u64, messages, "messages in the topic");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(
        ids.len() as u64,
        messages,
        "messages in the topic, each once"
    );
}
