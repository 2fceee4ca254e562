//! Other engines on the REST catalog of `forebay serve`: what they read and write, beside our pipelines, and what they cannot.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::flights::variable;
use crate::forebay::Project;
use crate::kafka::{rows, wait_for};
use crate::served::{PIPELINE, Server, assert_each_once, client, push_until, runtime, until};

const TOKEN: &str = "a token for the catalog";

fn orders() -> Project {
    let project = Project::new();
    project.write(
        "pipelines/orders.yaml",
        "pipeline: orders\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {lines: true}}\n\
         load: {iceberg: {table: shop.orders}}\n",
    );
    project.write(
        "in/1.ndjson",
        "{\"id\": 1, \"note\": \"a\"}\n{\"id\": 2, \"note\": \"b\"}\n",
    );
    project.ok(&["run", "--quiet"]);
    project
}

/// A step of the script beside this file; `None` without Python.
fn start(project: &Project, server: &Server, token: &str, step: &[&str]) -> Option<Child> {
    let Some(python) = variable("FOREBAY_TEST_PYTHON") else {
        println!("skipped: FOREBAY_TEST_PYTHON is not set");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rest_catalog.py");
    let started = Command::new(python)
        .arg(script)
        .args([&server.url("/iceberg"), token])
        .args(step)
        .envs(project.environment())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Some(started.unwrap())
}

fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn run_step(project: &Project, server: &Server, token: &str, step: &[&str]) {
    if let Some(child) = start(project, server, token, step) {
        finish(child);
    }
}

#[test]
fn other_engines_read_and_write_tables_over_rest() {
    let project = orders();
    let variables = [("FOREBAY__SERVER__CATALOG_TOKEN", TOKEN)];
    let server = Server::start_where(&project, "127.0.0.1:0", &[], &variables);
    if start(&project, &server, TOKEN, &["read_and_write"])
        .map(finish)
        .is_none()
    {
        return;
    }
    let ids = "SELECT id FROM shop.orders ORDER BY id";
    assert_eq!(rows(&project, ids), ["2", "3", "5", "6", "7", "8"]);
    assert_eq!(project.value("SELECT count(*) FROM duck.a"), "91");
    // The pipeline goes on where it was.
    project.write("in/2.ndjson", "{\"id\": 9, \"note\": \"c\"}\n");
    project.ok(&["run", "--quiet"]);
    assert_eq!(rows(&project, ids), ["2", "3", "5", "6", "7", "8", "9"]);
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders WHERE tag = 'x'"),
        "1"
    );
    let authors =
        "SELECT DISTINCT author FROM lake.commits WHERE author LIKE 'iceberg rest: PyIceberg%'";
    assert_eq!(rows(&project, authors).len(), 1);
    project.ok(&["verify"]);
}

#[test]
fn a_bitemporal_table_is_read_only_for_other_engines() {
    let project = Project::new();
    project.write(
        "pipelines/prices.yaml",
        "pipeline: prices\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {lines: true}}\n\
         load: {iceberg: {table: shop.prices, mode: bitemporal, key: [id], valid_from: at}}\n",
    );
    project.write(
        "in/1.ndjson",
        "{\"id\": 1, \"at\": \"2026-01-01T00:00:00Z\", \"price\": 1}\n",
    );
    project.ok(&["run", "--quiet"]);
    let server = Server::start(&project, "127.0.0.1:0");
    run_step(&project, &server, "", &["refuse_writes", "shop.prices"]);
}

/// A table that a pipeline loads all the while.
struct PushedTable {
    project: Project,
    server: Server,
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    /// Gives the ids that were acknowledged.
    pushing: JoinHandle<Vec<u64>>,
}

impl PushedTable {
    fn start() -> Self {
        let project = Project::new();
        project.write("pipelines/events.yaml", PIPELINE);
        let runtime = runtime();
        let server = Server::start(&project, "127.0.0.1:0");
        let stop = Arc::new(AtomicBool::new(false));
        let push = push_until(server.url("/v1/ingest/events"), stop.clone(), 1);
        let pushing = runtime.spawn(push);
        until("the table is there", || {
            project.run(&["sql", "SELECT id FROM push.events"]).code == 0
        });
        Self {
            project,
            server,
            runtime,
            stop,
            pushing,
        }
    }
}

#[test]
fn many_writers_and_killed_servers_lose_nothing() {
    let PushedTable {
        project,
        server,
        runtime,
        stop,
        pushing,
    } = PushedTable::start();
    let stop_file = project.path().join("stop");
    let step = [
        "write_many",
        "push.events",
        "8",
        stop_file.to_str().unwrap(),
    ];
    let Some(writers) = start(&project, &server, "", &step) else {
        stop.store(true, Ordering::Relaxed);
        return;
    };
    let foreign = || {
        let count = project.run(&[
            "sql",
            "SELECT count(*) FROM push.events WHERE id < 0",
            "--format",
            "csv",
        ]);
        count
            .out
            .lines()
            .nth(1)
            .and_then(|count| count.parse::<u32>().ok())
            .unwrap_or(0)
    };
    let mut server = server;
    for least in [5, 10, 15] {
        until("other engines append", || foreign() >= least);
        let address = server.kill();
        server = Server::start(&project, &address);
    }
    until("other engines append", || foreign() >= 25);
    stop.store(true, Ordering::Relaxed);
    project.write("stop", "");
    let acknowledged = finish(writers);
    let pushed = runtime.block_on(pushing).unwrap();
    assert_eq!(server.stop(), Some(0));
    let foreign = acknowledged
        .split_whitespace()
        .map(|id| id.parse::<i64>().unwrap());
    let foreign: Vec<i64> = foreign.collect();
    assert!(
        foreign.len() >= 20 && pushed.len() > 20,
        "{} {}",
        foreign.len(),
        pushed.len()
    );
    let ours = "(SELECT id FROM push.events WHERE id >= 0)";
    assert_each_once(&project, ours, pushed.into_iter());
    let theirs = "(SELECT -id AS id FROM push.events WHERE id < 0)";
    assert_each_once(&project, theirs, foreign.into_iter().map(i64::unsigned_abs));
    project.ok(&["verify"]);
}

/// Deletes that read the whole table come through beside a pipeline that commits without a pause.
#[test]
fn deletes_finish_beside_a_fast_appender() {
    let PushedTable {
        project,
        server,
        runtime,
        stop,
        pushing,
    } = PushedTable::start();
    let step = ["delete_beside", "push.events", "5"];
    let deleting = start(&project, &server, "", &step).map(finish);
    stop.store(true, Ordering::Relaxed);
    let pushed = runtime.block_on(pushing).unwrap();
    let Some(attempts) = deleting else { return };
    println!("attempts per delete: {attempts}");
    assert!(pushed.len() > 10, "the pipeline goes on: {}", pushed.len());
    project.ok(&["verify"]);
}

#[test]
fn uuids_are_text() {
    let project = orders();
    let server = Server::start(&project, "127.0.0.1:0");
    if start(&project, &server, "", &["make_uuids"])
        .map(finish)
        .is_none()
    {
        return;
    }
    let id = "123e4567-e89b-12d3-a456-426614174000";
    let all = "SELECT id FROM lab.ids ORDER BY n";
    assert_eq!(
        rows(&project, all),
        [id, "00000000-0000-0000-0000-000000000001"]
    );
    let one = format!("SELECT n FROM lab.ids WHERE id = '{id}'");
    assert_eq!(rows(&project, &one), ["1"]);
    let json = project.ok(&[
        "sql",
        "--format",
        "json",
        "SELECT id, f FROM lab.ids WHERE n = 1",
    ]);
    assert!(json.out.contains(id), "{}", json.out);
    assert!(json.out.contains("61626364"), "{}", json.out);
    let fixed = "SELECT n FROM lab.ids WHERE f = X'61626364'";
    assert_eq!(rows(&project, fixed), ["1"]);
    let grouped = "SELECT count(DISTINCT id), min(id) FROM lab.ids";
    assert_eq!(
        rows(&project, grouped),
        ["2,00000000-0000-0000-0000-000000000001"]
    );
    project.write(
        "pipelines/model.yaml",
        "pipeline: model\nsource: {query: \"SELECT id, n FROM lab.ids\"}\nload: {iceberg: {table: curated.ids, mode: replace}}\n",
    );
    let model = format!("SELECT n FROM curated.ids WHERE id = '{id}'");
    wait_for(&project, &model, "1");
    let _ = server.stop();
}

/// Status and exception of an answer.
struct Asked {
    status: u16,
    exception: String,
}

fn ask(server: &Server, method: &str, path: &str, body: &str) -> Asked {
    let url = server.url(&format!("/iceberg/v1/{path}"));
    runtime().block_on(async {
        let request = client().request(method.parse().unwrap(), url);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let error: Value = serde_json::from_str(&text).unwrap_or_default();
        let exception = error["error"]["type"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Asked { status, exception }
    })
}

#[test]
fn hostile_calls_are_refused_and_change_nothing() {
    let project = orders();
    let server = Server::start(&project, "127.0.0.1:0");
    let table = "main/namespaces/shop/tables/orders";
    let deep = format!(
        "{{\"updates\": [{{\"action\": \"add-schema\", \"schema\": {}{}}}]}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let large = format!("{{\"updates\": [], \"x\": \"{}\"}}", "x".repeat(17 << 20));
    let update = |update: Value| json!({"requirements": [], "updates": [update]}).to_string();
    let register = |location: &str| json!({"name": "x", "metadata-location": location}).to_string();
    let before =
        project.value("SELECT metadata_location FROM lake.tables WHERE \"table\" = 'shop.orders'");
    let raw =
        project.value("SELECT metadata_location FROM lake.tables WHERE \"table\" = 'raw.orders'");
    for (method, path, body, status, exception) in [
        ("POST", table, deep.as_str(), 400, "BadRequestException"),
        (
            "POST",
            table,
            "{\"updates\": 1}",
            400,
            "BadRequestException",
        ),
        ("POST", table, "\0", 400, "BadRequestException"),
        (
            "POST",
            table,
            &update(json!({"action": "set-location", "location": "../../"})),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            table,
            &update(json!({"action": "set-properties", "updates": {"forebay.owner": "x"}})),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            table,
            &json!({"requirements": [{"type": "assert-table-uuid", "uuid": "x"}], "updates": []})
                .to_string(),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            table,
            &json!({"requirements": [{"type": "assert-create"}], "updates": []}).to_string(),
            409,
            "CommitFailedException",
        ),
        (
            "POST",
            table,
            &json!({"identifier": {"namespace": ["raw"], "name": "orders"}, "updates": []})
                .to_string(),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "main/namespaces/raw/tables/orders",
            &update(json!({"action": "set-properties", "updates": {"a": "b"}})),
            403,
            "ForbiddenException",
        ),
        (
            "POST",
            "main/namespaces/raw/tables",
            &json!({"name": "x", "schema": {"type": "struct", "fields": []}}).to_string(),
            403,
            "ForbiddenException",
        ),
        (
            "POST",
            "main/namespaces/shop/register",
            &register("file:///etc/passwd"),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "main/namespaces/shop/register",
            &register("../../../etc/x.metadata.json"),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "main/namespaces/shop/register",
            &register(&before),
            409,
            "AlreadyExistsException",
        ),
        (
            "POST",
            "main/namespaces/shop/register",
            &register(&raw),
            409,
            "AlreadyExistsException",
        ),
        (
            "POST",
            "main/namespaces",
            "{\"namespace\": [\"a\", \"b\"]}",
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "main/namespaces",
            "{\"namespace\": [\"../x\"]}",
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "main/namespaces",
            "{\"namespace\": [\"audit\"]}",
            403,
            "ForbiddenException",
        ),
        (
            "GET",
            "main/namespaces/..%2F..%2Fetc/tables/passwd",
            "",
            404,
            "NoSuchTableException",
        ),
        (
            "GET",
            "main/namespaces/none/tables",
            "",
            404,
            "NoSuchNamespaceException",
        ),
        ("GET", "none/namespaces", "", 404, "NotFoundException"),
        (
            "GET",
            "main/namespaces?pageSize=-1",
            "",
            400,
            "BadRequestException",
        ),
        (
            "GET",
            "main/namespaces?pageSize=0",
            "",
            400,
            "BadRequestException",
        ),
        (
            "GET",
            "main/namespaces/shop/tables?pageSize=99999999999999999999",
            "",
            400,
            "BadRequestException",
        ),
        (
            "GET",
            "main/namespaces/shop/tables?pageSize=ten",
            "",
            400,
            "BadRequestException",
        ),
        (
            "GET",
            "main/namespaces/shop/tables?pageToken=..%2F%00&pageSize=2",
            "",
            400,
            "BadRequestException",
        ),
        ("GET", "config?warehouse=none", "", 404, "NotFoundException"),
        ("DELETE", table, "", 403, "ForbiddenException"),
        (
            "POST",
            "main/transactions/commit",
            "{\"table-changes\": []}",
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "main/transactions/commit",
            &json!({"table-changes": [{"requirements": [], "updates": []}]}).to_string(),
            400,
            "BadRequestException",
        ),
    ] {
        let asked = ask(&server, method, path, body);
        let shown = &body[..body.len().min(120)];
        assert_eq!(
            (asked.status, asked.exception.as_str()),
            (status, exception),
            "{method} {path} {shown}"
        );
    }
    // The answer may come before the body is sent, which ends the connection.
    let url = server.url(&format!("/iceberg/v1/{table}"));
    let sent = runtime().block_on(async { client().post(url).body(large).send().await });
    assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status() == 413));
    let after =
        project.value("SELECT metadata_location FROM lake.tables WHERE \"table\" = 'shop.orders'");
    assert_eq!(before, after);
    assert_eq!(ask(&server, "HEAD", table, "").status, 204);
    assert_eq!(
        ask(
            &server,
            "POST",
            &format!("{table}/metrics"),
            "{\"report-type\": \"x\"}"
        )
        .status,
        204
    );
}

#[test]
fn a_table_of_another_engine_is_registered() {
    let project = orders();
    let moved =
        project.value("SELECT metadata_location FROM lake.tables WHERE \"table\" = 'shop.orders'");
    let twice = project.run(&["tables", "register", "shop.copy", &moved]);
    assert!(twice.err.contains("already_registered"), "{}", twice.err);
    let outside = project.run(&["tables", "register", "shop.copy", "/etc/x.metadata.json"]);
    assert!(outside.err.contains("outside_lake"), "{}", outside.err);
    let server = Server::start(&project, "127.0.0.1:0");
    let body = json!({"name": "made", "schema": {"type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]}});
    assert_eq!(
        ask(
            &server,
            "POST",
            "main/namespaces/shop/tables",
            &body.to_string()
        )
        .status,
        200
    );
    let made =
        project.value("SELECT metadata_location FROM lake.tables WHERE \"table\" = 'shop.made'");
    assert_eq!(
        ask(
            &server,
            "DELETE",
            "main/namespaces/shop/tables/made?purgeRequested=true",
            ""
        )
        .status,
        204
    );
    let done = project.ok(&["tables", "register", "shop.again", &made]);
    assert!(
        done.err.contains("registered shop.again (1 column)"),
        "{}",
        done.err
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.again"), "0");
    let _ = server.stop();
    std::thread::sleep(Duration::from_millis(1));
}
