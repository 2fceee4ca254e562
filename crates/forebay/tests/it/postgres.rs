//! The catalog on Postgres, the data on the local disk.

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
