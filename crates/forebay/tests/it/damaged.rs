//! A disk that has damaged a batch of a broker, or lost the newest commits of the catalog: what cannot be read is said, and
//! nothing else is lost.

use std::ops::Range;
use std::path::Path;

use forebay_testkit::KafkaServer;
use serde_json::json;

use crate::flights::variable;
use crate::forebay::Project;
use crate::kafka::{peer, rows, wait_for};
use crate::served::{self, Server, client, runtime};

/// Bytes before the records of a batch, and where the last offset's delta stands in it
/// (<https://kafka.apache.org/documentation/#recordbatch>).
const HEADER: usize = 61;
const LAST_OFFSET_DELTA: usize = 23;
/// Bytes before what `length` counts.
const LENGTH_FROM: usize = 12;

/// Flips one bit in the last record of the batch that holds this offset; returns the offsets of the batch.
fn damage(segments: &Path, offset: i64) -> Range<i64> {
    let path = segments.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let mut at = 0;
    loop {
        let batch = &bytes[at..];
        let number = |from: usize| i32::from_be_bytes(batch[from..from + 4].try_into().unwrap());
        let base = i64::from_be_bytes(batch[..8].try_into().unwrap());
        let end = base + i64::from(number(LAST_OFFSET_DELTA)) + 1;
        let length = LENGTH_FROM + usize::try_from(number(8)).unwrap();
        assert!(length > HEADER);
        if (base..end).contains(&offset) {
            bytes[at + length - 3] ^= 1;
            #[expect(clippy::disallowed_methods, reason = "a broker's file, on purpose")]
            std::fs::write(&path, bytes).unwrap();
            return base..end;
        }
        at += length;
    }
}

fn pipeline(project: &Project, broker: &str, lost: &str) {
    project.write(
        "pipelines/orders.yaml",
        &format!(
            "pipeline: orders\nsource:\n  kafka: {{cluster: {{brokers: ['{broker}']}}, topic: orders, lost: {lost}}}\n\
             extract: {{json: {{}}}}\nbuffer: {{time: 200ms}}\nload: {{iceberg: {{table: shop.orders}}}}\n",
        ),
    );
}

/// A topic with messages 0 to 39 in partition 0 and 40 to 59 in partition 1, ten a batch; the ids are the offsets there, and
/// 40 more in partition 1.
fn filled(broker: &str) {
    peer(
        broker,
        &[json!({"create": "orders", "partitions": 2, "config": {"segment.bytes": 1 << 30}})],
    );
    for tens in 0..6 {
        let partition = i32::from(tens >= 4);
        let message = |id: i32| json!({"send": "orders", "value": json!({"id": id}).to_string(), "partition": partition});
        let messages: Vec<_> = (tens * 10..tens * 10 + 10).map(message).collect();
        peer(broker, &messages);
    }
}

#[test]
fn a_batch_with_a_wrong_checksum_is_lost_whole_and_nothing_else_is() {
    if variable("FOREBAY_TEST_PYTHON").is_none() {
        return;
    }
    let Some(mut server) = KafkaServer::start(&[]) else {
        return;
    };
    let (broker, project) = (server.broker(), Project::new());
    filled(&broker);
    server.stop();
    let middle = damage(&server.segments("orders", 0), 15);
    let last = damage(&server.segments("orders", 1), 19);
    server.start_again();
    assert!(middle.end < 40, "{middle:?} is in the middle");
    assert_eq!(last.end, 20, "the last batch of its partition");

    pipeline(&project, &broker, "stop");
    for _ in 0..2 {
        let stopped = project.run(&["run"]);
        assert_eq!(stopped.code, 1, "{}", stopped.err);
        let said =
            [&middle, &last].map(|gone| format!("messages {} to {}", gone.start, gone.end - 1));
        let places = ["orders/0", "orders/1"];
        let told = said
            .iter()
            .zip(places)
            .any(|(what, place)| stopped.err.contains(&format!("{what} of {place}")));
        assert!(told, "{}", stopped.err);
        assert!(stopped.err.contains("lost: continue"), "{}", stopped.err);
    }

    pipeline(&project, &broker, "continue");
    project.ok(&["run", "--quiet"]);
    let gone: Vec<i64> = middle
        .clone()
        .chain(last.clone().map(|offset| offset + 40))
        .collect();
    let there = rows(&project, "SELECT id FROM shop.orders ORDER BY id");
    let expected: Vec<String> = (0..60)
        .filter(|id| !gone.contains(id))
        .map(|id: i64| id.to_string())
        .collect();
    assert_eq!(there, expected);
    let mut told = rows(&project, "SELECT code, reason FROM quarantine.orders");
    told.sort();
    assert_eq!(told.len(), 2, "{told:#?}");
    for (told, (partition, gone)) in told.iter().zip([(0, &middle), (1, &last)]) {
        let what = format!(
            "messages_lost,messages {} to {} of orders/{partition} cannot be read",
            gone.start,
            gone.end - 1
        );
        assert!(told.trim_matches('"').starts_with(&what), "{told}");
        assert!(told.contains("CRC32C"), "{told}");
    }
    // Each loss is told once, and what comes later is taken.
    assert!(project.ok(&["run"]).err.contains(": 0 rows"));
    let following = Server::start(&project, "127.0.0.1:0");
    peer(
        &broker,
        &[0, 1].map(
            |partition| json!({"send": "orders", "value": r#"{"id": 99}"#, "partition": partition}),
        ),
    );
    wait_for(
        &project,
        "SELECT count(*) FROM shop.orders WHERE id = 99",
        "2",
    );
    assert_eq!(following.stop(), Some(0));
    assert_eq!(project.value("SELECT count(*) FROM quarantine.orders"), "2");
}

/// Pushes each id as one record, and waits until all are in the table.
fn push_all(project: &Project, server: &Server, ids: Range<usize>) {
    let url = server.url("/v1/ingest/events");
    let end = ids.end;
    runtime().block_on(async {
        for id in ids {
            let push = client().post(&url).body(json!({"id": id}).to_string());
            assert_eq!(push.send().await.unwrap().status(), 200);
        }
    });
    served::wait_for(project, end);
}

/// A project whose newest commits were in the log of SQLite, which is gone.
fn without_log() -> Project {
    let project = Project::new();
    project.write("pipelines/events.yaml", served::PIPELINE);
    let server = Server::start(&project, "127.0.0.1:0");
    push_all(&project, &server, 0..5);
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&project, "127.0.0.1:0");
    push_all(&project, &server, 5..12);
    server.kill();
    let log = project.path().join(".forebay/store.db-wal");
    assert!(
        std::fs::metadata(&log).unwrap().len() > 0,
        "nothing to lose"
    );
    std::fs::remove_file(&log).unwrap();
    project
}

/// Tries to be killed at another moment than while SQLite moves the log into the file: that one is damaged then, and refused as such.
const KILLS_MAX: usize = 10;

#[test]
fn a_catalog_whose_log_is_gone_is_refused_until_the_loss_is_accepted() {
    let is_whole = |project: &Project| {
        let refused = project.run(&["sql", "SHOW TABLES"]);
        assert!(refused.err.contains("store_corrupt"), "{}", refused.err);
        !refused.err.contains("malformed")
    };
    let mut projects = (0..KILLS_MAX).map(|_| without_log());
    let project = projects.find(is_whole).expect("a file that is whole");

    for args in [
        &["sql", "SHOW TABLES"][..],
        &["verify"],
        &["run"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        let refused = project.run(args);
        assert_ne!(refused.code, 0, "{args:?}");
        for part in ["store_corrupt", "newest commit", "forebay verify --repair"] {
            assert!(refused.err.contains(part), "{args:?}: {}", refused.err);
        }
    }
    let accepted = project.run(&["verify", "--repair"]);
    assert_eq!(accepted.code, 1, "{}", accepted.err);
    assert!(accepted.err.contains("1 repaired"), "{}", accepted.err);

    project.ok(&["verify"]);
    // What SQLite had moved out of the log by then, which may be nothing.
    project.ok(&["sql", "SHOW TABLES"]);
    // The journal still has the pushes: their position is as old as the catalog.
    let server = Server::start(&project, "127.0.0.1:0");
    served::wait_for(&project, 12);
    assert_eq!(server.stop(), Some(0));
    served::assert_each_once(&project, "push.events", 0..12);
    project.ok(&["verify"]);
}
