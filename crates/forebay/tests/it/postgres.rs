//! The catalog on Postgres, the data on the local disk.

use std::time::Duration;

use forebay_core::{RefName, RunId, SystemClock};
use forebay_store::{LeaseRequest, RunRecord, RunStatus, Store};
use forebay_testkit::PostgresServer;

use crate::forebay::Project;

const PIPELINE: &str = "pipeline: NAME\nsource:\n  file: {path: \"NAME/*.ndjson\"}\nextract:\n  json: {lines: true}\nload:\n  iceberg: {table: shop.NAME}\n";
const NAMES: [&str; 2] = ["orders", "visits"];

fn project(settings: &str) -> Project {
    let project = Project::new();
    project.write("forebay.toml", settings);
    for name in NAMES {
        let pipeline = PIPELINE.replace("NAME", name);
        project.write(&format!("pipelines/{name}.yaml"), &pipeline);
        let rows: String = (1..=500).map(|n| format!("{{\"id\":{n}}}\n")).collect();
        for file in 0..4 {
            project.write(&format!("{name}/{file}.ndjson"), &rows);
        }
    }
    project
}

#[test]
fn two_pipelines_run_at_once_with_their_catalog_on_a_server() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = format!("{}&schema=shop_lake", server.url());
    let project = project(&format!("[store]\nurl = \"{url}\"\n"));
    project.ok(&["check"]);
    std::thread::scope(|scope| {
        for name in NAMES {
            let project = &project;
            scope.spawn(move || project.ok(&["run", name]));
        }
    });
    for name in NAMES {
        let count = format!("SELECT count(*) FROM shop.{name}");
        assert_eq!(project.value(&count), "2000");
    }
    // A second run finds nothing new: the positions are on the server too.
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "2000");
    assert!(!project.path().join(".forebay/store.db").exists());
    // Over the environment the same project has another, empty lake.
    let other = format!("{}&schema=other", server.url());
    let listed = project
        .command(&["tables"])
        .env("FOREBAY__STORE__URL", other)
        .output()
        .unwrap();
    assert!(listed.status.success());
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("orders"));
}

#[test]
fn a_store_that_cannot_be_reached_is_named_without_its_password() {
    let project = project("[store]\nurl = \"postgres://ann:hunter2@127.0.0.1:1/lake\"\n");
    project.ok(&["check"]);
    let answer = project.run(&["run"]);
    assert_ne!(answer.code, 0);
    let shown = format!("{}{}", answer.out, answer.err);
    assert!(shown.contains("postgres://ann@127.0.0.1:1/lake"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// What a run leaves that was killed: a record that says it goes on, and a lease that ends by itself.
async fn killed_run(url: &str) -> RunId {
    let clock = SystemClock::shared();
    let store = Store::open_url(&url.parse().unwrap(), clock.clone())
        .await
        .unwrap();
    let id = RunId::new(clock.now(), 1);
    let record = RunRecord {
        id,
        pipeline: "orders".parse().unwrap(),
        branch: RefName::main(),
        status: RunStatus::Running,
        started_at: clock.now(),
        ended_at: None,
        error: None,
        steps: Vec::new(),
    };
    store.record_run(&record).await.unwrap();
    let lease = LeaseRequest {
        branch: RefName::main(),
        pipeline: "orders".parse().unwrap(),
        split: "gone".parse().unwrap(),
        owner: "killed".to_owned(),
        duration: Duration::from_secs(3),
    };
    store.take_lease(&lease, false).await.unwrap();
    store.close().await;
    id
}

#[test]
fn a_run_that_was_killed_is_lost_once_its_lease_has_ended() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let url = format!("{}&schema=killed", server.url());
    let project = project(&format!("[store]\nurl = \"{url}\"\n"));
    project.ok(&["tables"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let killed = runtime.block_on(killed_run(&url));
    let status = || {
        let listed = project.ok(&["runs", "ls", "orders", "--format", "csv"]).out;
        let line = listed
            .lines()
            .find(|line| line.contains(&killed.to_string()));
        line.unwrap().split(',').nth(2).unwrap().to_owned()
    };
    project.ok(&["run", "orders"]);
    assert_eq!(status(), "running", "another machine may be at it");
    std::thread::sleep(Duration::from_secs(3));
    // Something to read, so that a split is taken.
    project.write("orders/more.ndjson", "{\"id\":1}\n");
    project.ok(&["run", "orders"]);
    assert_eq!(status(), "lost");
}
