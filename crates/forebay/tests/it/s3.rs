//! Storage on S3: the pipelines of the other tests once more, and a store that goes away. Needs what `test.sh` installs.

use std::process::{Command, Stdio};
use std::time::Duration;

use forebay_testkit::{S3Server, again_on_s3};

use crate::forebay::Project;

#[test]
fn pipelines_run_again_on_s3() {
    again_on_s3(&["files::", "flights::", "rest_catalog::other_engines"]);
}

const ROWS: usize = 400_000;

/// A project whose storage is `server`, with files that take a while, and a client that gives up soon.
fn project(server: &S3Server) -> Project {
    let project = Project::new().on(server);
    project.write("forebay.toml", "[storage]\nretry_for = \"1s\"\n");
    project.write(
        "pipelines/orders.yaml",
        "pipeline: orders\nsource:\n  file: {path: \"data/*.ndjson\"}\nextract:\n  json: {lines: true}\nbuffer: {rows: 5_000}\nload:\n  iceberg: {table: shop.orders}\n",
    );
    for file in 0..40 {
        let first = file * ROWS / 40;
        let rows: String = (first..first + ROWS / 40)
            .map(|n| format!("{{\"id\":{n},\"text\":\"{n:040}\"}}\n"))
            .collect();
        project.write(&format!("data/{file:02}.ndjson"), &rows);
    }
    project
}

fn count(project: &Project) -> u64 {
    let rows = "SELECT count(*) FROM shop.orders";
    let answer = project.run(&["sql", rows, "--format", "csv"]);
    let second = answer.out.lines().nth(1);
    second.and_then(|line| line.parse().ok()).unwrap_or(0)
}

#[test]
fn a_store_that_goes_away_ends_the_run_and_the_next_run_completes_it() {
    let Some(mut server) = S3Server::start() else {
        return;
    };
    let project = project(&server);
    let run = Command::new(assert_cmd::cargo::cargo_bin("forebay"))
        .args(["run", "--quiet"])
        .current_dir(project.path())
        .envs(project.environment())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while count(&project) == 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    server.stop();
    let ended = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(!said.contains(S3Server::SECRET_KEY), "{said}");

    server.start_again();
    let before = count(&project);
    assert!(
        before > 0 && before < ROWS as u64,
        "{before} rows were committed"
    );
    project.ok(&["run"]);
    let figures = "SELECT count(*), count(DISTINCT id), max(id) FROM shop.orders";
    let answer = project.ok(&["sql", figures, "--format", "csv"]);
    assert_eq!(answer.out.lines().nth(1), Some("400000,400000,399999"));
    for folder in ["raw", "tables"] {
        let path = format!(".forebay/{folder}");
        assert!(
            !project.path().join(path).exists(),
            "{folder} lies in the bucket"
        );
    }
}

#[test]
fn who_may_not_use_the_storage_is_told_so() {
    let Some(server) = S3Server::shared() else {
        return;
    };
    let project = project(server);
    let mut command = project.command(&["run"]);
    command.env("AWS_SECRET_ACCESS_KEY", "hunter2");
    let answer = command.output().unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(3), "{said}");
    assert!(said.contains("bucket-") && said.contains("AWS_"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");

    project.write("forebay.toml", "[storage]\nurl = \"gs://b/x\"\n");
    let mut command = project.command(&["tables"]);
    command.env_remove("FOREBAY__STORAGE__URL");
    let answer = command.output().unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(2), "{said}");
    assert!(said.contains("s3://BUCKET"), "{said}");
}
