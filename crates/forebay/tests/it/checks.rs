//! Checks before a load is published: readers of `main` see all of a run that passes, and nothing of one that does not.

use std::time::Duration;

use crate::forebay::Project;
use crate::served::{Server, until};

const ORDERS: &str = "pipeline: orders
source: {file: {path: \"drop/*.ndjson\"}}
extract: {json: {lines: true, nested: tables}}
schema: {columns: {id: {type: long, check: value < 100000000}}}
load: {iceberg: {table: shop.orders, mode: upsert, key: [id], order: version}}
checks:
  price_is_positive: SELECT id, price FROM shop.orders WHERE price <= 0
  lines_have_their_order: SELECT l.sku FROM shop.orders__lines l LEFT JOIN shop.orders o ON l._fb_parent_id = o._fb_id WHERE o.id IS NULL
  enough:
    sql: SELECT count(*) AS orders FROM shop.orders HAVING count(*) < 3
    severity: warn
";

fn order(id: u64, version: u64, price: i64) -> String {
    format!(
        "{{\"id\":{id},\"version\":{version},\"price\":{price},\"lines\":[{{\"sku\":\"s{id}\"}}]}}\n"
    )
}

fn project(pipeline: &str) -> Project {
    let project = Project::new();
    project.write("pipelines/orders.yaml", pipeline);
    project
}

/// Ids and prices; nothing while there is no table.
fn all(project: &Project) -> String {
    let rows = "SELECT string_agg(id || ':' || price, ' ' ORDER BY id) FROM shop.orders";
    let said = project.run(&["sql", rows, "--format", "csv"]).out;
    said.lines().nth(1).unwrap_or_default().to_owned()
}

fn branches(project: &Project) -> String {
    project.ok(&["branch", "ls", "--format", "csv"]).out
}

#[test]
fn a_run_that_breaks_a_check_is_published_once_the_source_corrects_itself() {
    let project = project(ORDERS);
    project.write("drop/1.ndjson", &(order(1, 1, 10) + &order(2, 1, 20)));
    let first = project.ok(&["run"]);
    for part in [
        "a check found wrong rows",
        "2 of 3 checks passed, published to main",
    ] {
        assert!(first.err.contains(part), "{part}: {}", first.err);
    }
    assert_eq!(all(&project), "1:10 2:20");
    assert!(!branches(&project).contains("checks/"));
    project.write("drop/2.ndjson", &(order(2, 2, -5) + &order(3, 1, 30)));
    let failed = project.run(&["run"]);
    assert_ne!(failed.code, 0);
    for part in [
        "checks_failed",
        "price_is_positive (1 rows)",
        "checks/orders",
    ] {
        assert!(failed.err.contains(part), "{part}: {}", failed.err);
    }
    assert_eq!(all(&project), "1:10 2:20", "nothing was published");
    let lines = "SELECT count(*) FROM shop.orders__lines";
    assert_eq!(project.value(lines), "2");
    let wrong = "SELECT id FROM shop.orders WHERE price <= 0";
    let wrong = project.ok(&["sql", "--branch", "checks/orders", wrong, "--format", "csv"]);
    assert_eq!(wrong.out.lines().nth(1), Some("2"));
    // Others go on meanwhile.
    project.ok(&["sql", "CREATE TABLE shop.notes AS SELECT 1 AS n"]);
    assert_ne!(project.run(&["run"]).code, 0, "it is still wrong");
    project.write("drop/3.ndjson", &order(2, 3, 25));
    project.ok(&["run"]);
    assert_eq!(all(&project), "1:10 2:25 3:30");
    assert_eq!(project.value(lines), "3");
    assert_eq!(project.value("SELECT n FROM shop.notes"), "1");
    assert!(!branches(&project).contains("checks/"));
    let steps = project.ok(&["runs", "show", "orders", "--format", "csv"]);
    assert_eq!(steps.out.matches("\ncheck,").count(), 3, "{}", steps.out);
    assert!(project.ok(&["run"]).err.contains("nothing new"));
    project.ok(&["verify"]);
}

#[test]
fn a_dropped_load_comes_again() {
    let project = project(ORDERS);
    project.write("drop/1.ndjson", &(order(1, 1, 10) + &order(2, 1, -20)));
    assert_ne!(project.run(&["run"]).code, 0);
    project.write(
        "pipelines/orders.yaml",
        &ORDERS.replace(
            "load:",
            "transform: [{sql: 'SELECT * REPLACE (abs(price) AS price) FROM input'}]\nload:",
        ),
    );
    assert_ne!(
        project.run(&["run"]).code,
        0,
        "the rows of before are still there"
    );
    project.ok(&["branch", "drop", "checks/orders"]);
    project.ok(&["run"]);
    assert_eq!(all(&project), "1:10 2:20");
}

#[test]
fn the_same_table_changed_on_main_is_a_conflict_with_a_remedy() {
    let without_lines = ORDERS.lines().filter(|line| !line.contains("lines_have"));
    let project = project(&without_lines.collect::<Vec<_>>().join("\n"));
    project.write("drop/1.ndjson", &(order(1, 1, 10) + &order(2, 1, 20)));
    project.ok(&["run"]);
    project.write("drop/2.ndjson", &order(2, 2, -5));
    assert_ne!(project.run(&["run"]).code, 0);
    project.ok(&["sql", "--force", "DELETE FROM shop.orders WHERE id = 1"]);
    let failed = project.run(&["run"]);
    for part in ["merge_conflict", "forebay branch drop checks/orders"] {
        assert!(failed.err.contains(part), "{part}: {}", failed.err);
    }
    project.ok(&["branch", "drop", "checks/orders"]);
    project.write("drop/3.ndjson", &order(2, 3, 5));
    project.ok(&["run"]);
    assert_eq!(all(&project), "2:5");
}

#[test]
fn a_replay_is_checked_too() {
    let project = project(ORDERS);
    let large = order(200_000_000, 1, -1);
    project.write("drop/1.ndjson", &(order(1, 1, 10) + &large));
    project.ok(&["run"]);
    project.write(
        "pipelines/orders.yaml",
        &ORDERS.replace("value < 100000000", "value > 0"),
    );
    let refused = project.run(&["quarantine", "replay", "orders"]);
    assert!(refused.err.contains("checks_failed"), "{}", refused.err);
    assert_eq!(all(&project), "1:10");
    project.write("drop/2.ndjson", &order(200_000_000, 2, 7));
    project.ok(&["run"]);
    assert_eq!(all(&project), "1:10 200000000:7");
    let open = project.ok(&["quarantine", "ls", "orders"]);
    assert!(!open.out.contains("200000000"), "{}", open.out);
}

/// Killed at any moment: `main` has whole runs, and in the end everything once.
#[test]
fn a_killed_run_publishes_all_or_nothing() {
    let project = project(&ORDERS.replace("load:", "buffer: {rows: 2000}\nload:"));
    let count = || project.run(&["sql", "SELECT count(*) FROM shop.orders", "--format", "csv"]);
    for file in 0..3_u64 {
        let ids = file * 20_000..(file + 1) * 20_000;
        let text: String = ids.map(|id| order(id, 1, 1)).collect();
        project.write(&format!("drop/{file}.ndjson"), &text);
        let before = count().out.lines().nth(1).unwrap_or("0").to_owned();
        for wait in [400, 900, 1_600, 2_500] {
            let program = assert_cmd::cargo::cargo_bin("forebay");
            let mut run = std::process::Command::new(program)
                .args(["run", "--quiet", "--no-progress"])
                .current_dir(project.path())
                .envs(project.environment())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(wait));
            run.kill().unwrap();
            run.wait().unwrap();
            let now = count().out.lines().nth(1).unwrap_or("0").to_owned();
            let whole = ((file + 1) * 20_000).to_string();
            assert!(now == before || now == whole, "{before} became {now}");
        }
        project.ok(&["run", "--quiet"]);
        let rows = "SELECT count(*) || ' ' || count(DISTINCT id) FROM shop.orders";
        let whole = (file + 1) * 20_000;
        assert_eq!(project.value(rows), format!("{whole} {whole}"));
        let lines = "SELECT count(*) FROM shop.orders__lines";
        assert_eq!(project.value(lines), whole.to_string());
    }
    assert!(!branches(&project).contains("checks/"));
    project.ok(&["verify"]);
}

#[test]
fn a_server_publishes_what_passes() {
    let project = project(&ORDERS.replace("extract:", "schedule: {every: 1s}\nextract:"));
    project.write("drop/1.ndjson", &(order(1, 1, 10) + &order(2, 1, 20)));
    let server = Server::start(&project, "127.0.0.1:0");
    until("the first load is published", || {
        all(&project) == "1:10 2:20"
    });
    project.write("drop/2.ndjson", &(order(2, 2, -5) + &order(3, 1, 30)));
    let said = |part: &str| server.said().iter().any(|line| line.contains(part));
    until("the failed check is said", || {
        said("price_is_positive (1 rows)")
    });
    assert_eq!(all(&project), "1:10 2:20");
    project.write("drop/3.ndjson", &order(2, 3, 25));
    until("the corrected load is published", || {
        all(&project) == "1:10 2:25 3:30"
    });
}

#[test]
fn what_cannot_be_checked_is_refused_with_its_place() {
    let project = project(&ORDERS.replace("SELECT id, price FROM", "SELECT id price FORM"));
    let told = project.run(&["check"]);
    assert_ne!(told.code, 0);
    assert!(told.err.contains("orders.yaml:7:"), "{}", told.err);
    let outside = "load: {file: {path: out, format: ndjson}}";
    let lake = ORDERS
        .lines()
        .find(|line| line.starts_with("load:"))
        .unwrap();
    project.write("pipelines/orders.yaml", &ORDERS.replace(lake, outside));
    let told = project.run(&["check"]);
    assert!(told.err.contains("checks_need_lake"), "{}", told.err);
    let pushed = ORDERS.replace(
        "source: {file: {path: \"drop/*.ndjson\"}}",
        "source: {push: {}}",
    );
    project.write("pipelines/orders.yaml", &pushed);
    let told = project.run(&["check"]);
    assert!(told.err.contains("checks_of_pushes"), "{}", told.err);
    project.write("pipelines/orders.yaml", ORDERS);
    let model = "pipeline: totals\nsource: {query: SELECT count(*) AS n FROM shop.orders}\nload: {iceberg: {table: shop.totals, mode: replace}}\nchecks: {some: SELECT n FROM shop.totals WHERE n = 0}\n";
    project.write("pipelines/totals.yaml", model);
    let told = project.ok(&["check"]);
    std::fs::remove_file(project.path().join("pipelines/totals.yaml")).unwrap();
    assert!(
        told.err.contains("give the pipeline a `schedule`"),
        "{}",
        told.err
    );
    project.write(
        "pipelines/orders.yaml",
        &ORDERS.replace("shop.orders WHERE", "shop.order WHERE"),
    );
    project.write("drop/1.ndjson", &order(1, 1, 10));
    let told = project.run(&["run"]);
    for part in ["shop.order", "price_is_positive"] {
        assert!(told.err.contains(part), "{part}: {}", told.err);
    }
}
