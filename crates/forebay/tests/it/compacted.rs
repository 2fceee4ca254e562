//! `forebay tables compact`, and compaction under `forebay serve`: other engines, rebuild, rollback, verify and readers of
//! changes see the same rows.

use std::time::Duration;

use crate::forebay::Project;
use crate::kafka::rows;
use crate::peers::run_peers;
use crate::served::{PIPELINE, Server, client, runtime, until};

const UPSERT: &str = "pipeline: orders\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {nested: keep}}\n\
    load: {iceberg: {table: shop.orders, mode: upsert, key: [id], order: at, partition: [kind]}}\n";

/// The pairs of ids and states, as the readers of other engines expect them.
fn pairs(project: &Project) -> String {
    let pairs = rows(project, "SELECT id, state FROM shop.orders ORDER BY id");
    pairs.join(";").replace(',', ":").replace(';', ",")
}

fn files(project: &Project, table: &str, content: &str) -> u64 {
    let statement = format!(
        "SELECT count(*) FROM lake.files WHERE \"table\" = '{table}' AND content = '{content}'"
    );
    project.value(&statement).parse().unwrap()
}

fn load(project: &Project, times: std::ops::Range<u64>) {
    for n in times {
        let records: Vec<String> = (n..n + 3)
            .map(|id| {
                format!(
                    "{{\"id\": {id}, \"kind\": {}, \"state\": \"s{n}\", \"at\": {n}}}\n",
                    id % 2
                )
            })
            .collect();
        project.write(&format!("in/{n}.ndjson"), &records.concat());
        project.ok(&["run", "orders", "--quiet"]);
    }
}

#[test]
fn a_compacted_table_is_the_same_to_everybody() {
    let project = Project::new();
    project.write("pipelines/orders.yaml", UPSERT);
    load(&project, 0..8);
    let before = pairs(&project);
    let commit = project.value("SELECT id FROM lake.commits ORDER BY at DESC LIMIT 1");
    let (data, deletes) = (
        files(&project, "shop.orders", "data"),
        files(&project, "shop.orders", "position_deletes"),
    );
    assert!(data >= 16 && deletes >= 7, "{data} and {deletes}");

    let dry = project.ok(&["tables", "compact", "--dry-run", "--format", "csv"]);
    assert!(
        dry.err.contains("dry run: ") && dry.err.contains("would become 2"),
        "{}",
        dry.err
    );
    assert!(
        !dry.out.contains("raw.orders"),
        "the raw zone keeps its index: {}",
        dry.out
    );
    assert_eq!(files(&project, "shop.orders", "data"), data);

    let done = project.ok(&["tables", "compact"]);
    assert!(done.err.contains("became"), "{}", done.err);
    assert_eq!(files(&project, "shop.orders", "data"), 2);
    assert_eq!(files(&project, "shop.orders", "position_deletes"), 0);
    assert_eq!(pairs(&project), before);
    run_peers(&project, "upsert_reader.py", &["shop.orders", &before]);
    let again = project.ok(&["tables", "compact"]);
    assert!(again.err.contains("nothing to compact"), "{}", again.err);

    let then = format!("SELECT count(*) FROM shop.orders FOR VERSION AS OF '{commit}'");
    assert_eq!(project.value(&then), "10");
    project.ok(&["verify"]);
    load(&project, 8..10);
    project.ok(&["tables", "compact", "shop.orders", "--sort", "at,id"]);
    let sorted = pairs(&project);
    run_peers(&project, "upsert_reader.py", &["shop.orders", &sorted]);
    let rebuilt = project.ok(&["rebuild", "shop.orders"]);
    let said = format!("{}{}", rebuilt.out, rebuilt.err);
    assert!(said.contains("equal"), "{said}");
    project.ok(&["rollback", "shop.orders", "--to", &commit, "--yes"]);
    assert_eq!(pairs(&project), before);
    project.ok(&["verify"]);
}

#[test]
fn what_cannot_be_compacted_is_an_error_with_a_way_out() {
    let project = Project::new();
    project.write("pipelines/orders.yaml", UPSERT);
    load(&project, 0..2);
    let missing = project.run(&["tables", "compact", "shop.ordres"]);
    assert!(
        missing.code != 0 && missing.err.contains("no_such_table"),
        "{}",
        missing.err
    );
    let column = project.run(&["tables", "compact", "shop.orders", "--sort", "att"]);
    assert!(
        column.code == 2 && column.err.contains("no_sort_column"),
        "{}",
        column.err
    );
    let small = project.run(&["tables", "compact", "shop.orders", "--target-size", "10B"]);
    assert!(
        small.code == 2 && small.err.contains("bad_target_size"),
        "{}",
        small.err
    );
}

/// A server that compacts all the time, beside pushes and a pipeline that follows their table.
#[test]
fn a_server_compacts_beside_pushes_and_readers_and_nothing_is_lost_or_doubled() {
    let project = Project::new();
    project.write("forebay.toml", "[lake]\ncompact_every = \"200ms\"\n");
    project.write("pipelines/events.yaml", PIPELINE);
    project.write(
        "pipelines/copies.yaml",
        "pipeline: copies\nsource: {table: {name: push.events}}\nextract: {table: {}}\nload: {iceberg: {table: push.copies}}\nbuffer: {time: 500ms}\n",
    );
    let server = Server::start(&project, "127.0.0.1:0");
    let (runtime, client) = (runtime(), client());
    let _inside = runtime.enter();
    let url = server.url("/v1/ingest/events");
    let mut next = 0;
    until("three compactions of the pushed table", || {
        for _ in 0..5 {
            let push = client.post(&url).body(format!("{{\"n\": {next}}}\n"));
            assert_eq!(runtime.block_on(push.send()).unwrap().status(), 200);
            next += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = server.said();
        let compactions = said
            .iter()
            .filter(|line| line.contains("compacted table") && line.contains("push.events"));
        compactions.count() >= 3
    });
    let count = |table: &str| {
        let counted = project.run(&[
            "sql",
            &format!("SELECT count(*) FROM {table}"),
            "--format",
            "csv",
        ]);
        counted.out.lines().nth(1).unwrap_or("0").to_owned()
    };
    until("all rows in the copy", || {
        count("push.copies") == next.to_string()
    });
    let said = server.said();
    let failures: Vec<_> = said
        .iter()
        .filter(|line| line.contains("ERROR") || line.contains("WARN"))
        .filter(|line| !line.contains("waiting for it"))
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(server.stop(), Some(0));
    for table in ["push.events", "push.copies"] {
        assert_eq!(count(table), next.to_string());
        let distinct = format!("SELECT count(DISTINCT n) FROM {table}");
        assert_eq!(project.value(&distinct), next.to_string());
    }
    project.ok(&["verify"]);
}
