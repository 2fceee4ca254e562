//! Curated tables: SQL over other tables, run again after their commits; rows that are new since the last run.

use std::time::Duration;

use crate::forebay::Project;
use crate::kafka::{rows, wait_for};
use crate::served::Server;

const ORDERS: &str = "pipeline: orders\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {}}\nload: {iceberg: {table: shop.orders}}\n";

const TOTALS: &str = "pipeline: totals\nsource:\n  query: SELECT customer, sum(amount) AS amount, count(*) AS orders FROM shop.orders GROUP BY customer\nload: {iceberg: {table: curated.totals, mode: replace}}\n";

const LARGE: &str = "pipeline: large\nsource:\n  query: SELECT id, amount FROM ${new:shop.orders} o WHERE amount > 10\nload: {iceberg: {table: curated.large}}\n";

fn project(files: &[(&str, &str)]) -> Project {
    let project = Project::new();
    for (name, text) in files {
        project.write(&format!("pipelines/{name}.yaml"), text);
    }
    project
}

fn load(project: &Project, file: u64, records: &str) {
    project.write(&format!("in/{file}.ndjson"), records);
    project.ok(&["run", "orders", "--quiet"]);
}

fn order(id: u64, customer: &str, amount: u64) -> String {
    format!("{{\"id\": {id}, \"customer\": \"{customer}\", \"amount\": {amount}}}\n")
}

const ALL_TOTALS: &str = "SELECT * FROM curated.totals ORDER BY customer";

#[test]
fn a_curated_table_is_replaced_by_each_run() {
    let project = project(&[("orders", ORDERS), ("totals", TOTALS)]);
    load(&project, 1, &(order(1, "a", 5) + &order(2, "b", 50)));
    project.ok(&["run", "totals", "--quiet"]);
    assert_eq!(rows(&project, ALL_TOTALS), ["a,5,1", "b,50,1"]);
    load(&project, 2, &order(3, "a", 15));
    project.ok(&["run", "totals", "--quiet"]);
    assert_eq!(rows(&project, ALL_TOTALS), ["a,20,2", "b,50,1"]);
    // Rows, raw result and position are one commit.
    let commits = rows(
        &project,
        "SELECT message FROM lake.commits WHERE message LIKE 'totals%'",
    );
    assert_eq!(commits.len(), 2, "{commits:?}");
    let lineage = rows(&project, "SELECT * FROM lake.lineage");
    assert_eq!(lineage, ["curated.totals,totals,shop.orders"]);
    // What each result was made of is on record.
    let tables = project.value("SELECT attributes FROM raw.totals LIMIT 1");
    assert!(tables.contains("shop.orders"), "{tables}");
}

#[test]
fn a_result_without_rows_empties_the_curated_table() {
    let none = TOTALS.replace("FROM shop.orders", "FROM shop.orders WHERE amount < 10");
    let project = project(&[("orders", ORDERS), ("totals", &none)]);
    load(&project, 1, &order(1, "a", 5));
    project.ok(&["run", "totals", "--quiet"]);
    assert_eq!(rows(&project, ALL_TOTALS), ["a,5,1"]);
    project.write(
        "pipelines/totals.yaml",
        &TOTALS.replace("FROM shop.orders", "FROM shop.orders WHERE amount < 1"),
    );
    project.ok(&["run", "totals", "--quiet"]);
    assert_eq!(project.value("SELECT count(*) FROM curated.totals"), "0");
}

#[test]
fn only_new_rows_are_read() {
    let project = project(&[("orders", ORDERS), ("large", LARGE)]);
    load(&project, 1, &(order(1, "a", 5) + &order(2, "b", 50)));
    project.ok(&["run", "large", "--quiet"]);
    load(&project, 2, &order(3, "a", 15));
    load(&project, 3, &order(4, "a", 3));
    project.ok(&["run", "large", "--quiet"]);
    let again = project.ok(&["run", "large"]);
    assert!(again.err.contains("nothing new"), "{}", again.err);
    let all = "SELECT id FROM curated.large ORDER BY id";
    assert_eq!(rows(&project, all), ["2", "3"]);
    let rebuilt = project.ok(&["rebuild", "curated.large"]);
    assert!(rebuilt.err.contains("equal, 2 rows"), "{}", rebuilt.err);
}

/// A compaction puts rows that were read and rows that were not into one file.
#[test]
fn new_rows_of_a_compacted_table_are_read_once() {
    let project = project(&[("orders", ORDERS), ("large", LARGE)]);
    for id in 1..8 {
        load(&project, id, &order(id, "a", 10 + id));
        if id % 3 == 0 {
            project.ok(&["run", "large", "--quiet"]);
        }
        if id % 2 == 0 {
            let told = project.ok(&["tables", "compact", "shop.orders"]);
            assert!(told.err.contains("became 1"), "{}", told.err);
        }
    }
    project.ok(&["run", "large", "--quiet"]);
    let all = "SELECT id FROM curated.large ORDER BY id";
    assert_eq!(rows(&project, all), ["1", "2", "3", "4", "5", "6", "7"]);
}

/// A statement whose rows are refused, mended and replayed after its table has changed, gives what it would have given then.
#[test]
fn a_refused_row_is_replayed_from_the_result_that_was_kept() {
    let strict =
        format!("{LARGE}schema: {{columns: {{amount: {{type: long, check: value < 100}}}}}}\n");
    let project = project(&[("orders", ORDERS), ("large", &strict)]);
    load(&project, 1, &(order(1, "a", 500) + &order(2, "b", 50)));
    project.run(&["run", "large", "--quiet"]);
    let all = "SELECT id, amount FROM curated.large ORDER BY id";
    assert_eq!(rows(&project, all), ["2,50"]);
    project.ok(&["tables", "drop", "shop.orders", "--force", "--yes"]);
    project.write("pipelines/large.yaml", LARGE);
    project.ok(&["quarantine", "replay", "large"]);
    assert_eq!(rows(&project, all), ["1,500", "2,50"]);
}

#[test]
fn a_table_that_lost_rows_is_not_read_as_if_it_had_grown() {
    let keyed = ORDERS.replace(
        "table: shop.orders",
        "table: shop.orders, mode: upsert, key: [id]",
    );
    let project = project(&[("orders", &keyed), ("large", LARGE)]);
    load(&project, 1, &(order(1, "a", 20) + &order(2, "b", 50)));
    project.ok(&["run", "large", "--quiet"]);
    load(&project, 2, &order(1, "a", 30));
    let stopped = project.run(&["run", "large", "--quiet"]);
    assert!(
        stopped.err.contains("error[table_changed]"),
        "{}",
        stopped.err
    );
    let full = LARGE
        .replace(
            "  query: SELECT",
            "  query:\n    changes: full\n    sql: SELECT",
        )
        .replace(
            "table: curated.large",
            "table: curated.large, mode: upsert, key: [id]",
        );
    let other = self::project(&[("orders", &keyed), ("large", &full)]);
    load(&other, 1, &(order(1, "a", 20) + &order(2, "b", 50)));
    other.ok(&["run", "large", "--quiet"]);
    load(&other, 2, &order(1, "a", 30));
    other.ok(&["run", "large", "--quiet"]);
    let all = "SELECT id, amount FROM curated.large ORDER BY id";
    assert_eq!(rows(&other, all), ["1,30", "2,50"]);
}

/// What the position knows is the state of the inputs: a changed pipeline and a lost target are reasons too.
#[test]
fn a_run_that_is_asked_for_is_made() {
    let keyed = "pipeline: names\nsource:\n  query: SELECT id, customer FROM shop.orders\ntransform:\n- sql: SELECT id, 'one' AS name FROM input\nload: {iceberg: {table: curated.names, mode: upsert, key: [id]}}\n";
    let project = project(&[("orders", ORDERS), ("names", keyed)]);
    load(&project, 1, &order(1, "a", 5));
    let all = "SELECT id, name FROM curated.names";
    project.ok(&["run", "names", "--quiet"]);
    assert_eq!(rows(&project, all), ["1,one"]);
    project.write("pipelines/names.yaml", &keyed.replace("'one'", "'two'"));
    let server = Server::start(&project, "127.0.0.1:0");
    wait_for(&project, "SELECT name FROM curated.names", "two");
    server.kill();
    project.ok(&["tables", "drop", "curated.names", "--force", "--yes"]);
    project.ok(&["run", "names", "--quiet"]);
    assert_eq!(rows(&project, all), ["1,two"]);
}

#[test]
fn a_column_keeps_its_type() {
    let ratio = "pipeline: ratio\nsource:\n  query: SELECT id, 1 AS ratio FROM shop.orders\nload: {iceberg: {table: curated.ratio, mode: replace}}\n";
    let project = project(&[("orders", ORDERS), ("ratio", ratio)]);
    load(&project, 1, &order(1, "a", 5));
    project.ok(&["run", "ratio", "--quiet"]);
    project.write(
        "pipelines/ratio.yaml",
        &ratio.replace("1 AS ratio", "'x' AS ratio"),
    );
    let refused = project.run(&["run", "ratio", "--quiet"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("type_mismatch"), "{}", refused.err);
    assert_eq!(rows(&project, "SELECT * FROM curated.ratio"), ["1,1"]);
}

#[test]
fn what_a_query_may_be_loaded_as() {
    let file = |query: &str, load: &str| {
        format!(
            "pipeline: p\nsource:\n  query: {query}\nload: {{iceberg: {{table: curated.p, {load}}}}}\n"
        )
    };
    for (query, load, code) in [
        (
            "SELECT id FROM ${new:shop.orders}",
            "mode: replace",
            "new_rows_replace",
        ),
        (
            "SELECT id FROM shop.orders",
            "mode: append",
            "result_added_again",
        ),
        (
            "{sql: \"SELECT id FROM ${new:shop.orders}\", changes: full}",
            "mode: append",
            "result_added_again",
        ),
        ("SELECT id FROM curated.p", "mode: replace", "endless_table"),
        (
            "SELECT id FROM ${new:orders}",
            "mode: append",
            "bad_new_rows",
        ),
        (
            "SELECT id, customer AS ID FROM shop.orders",
            "mode: replace",
            "duplicate_column",
        ),
        ("DELETE FROM shop.orders", "mode: replace", "not_a_select"),
        ("SELECT FROM", "mode: replace", "bad_sql"),
    ] {
        let project = project(&[("p", &file(query, load))]);
        let found = project.run(&["check"]);
        assert!(
            found.err.contains(&format!("error[{code}]")),
            "{query}: {}",
            found.err
        );
    }
}

#[test]
fn a_first_result_without_rows_makes_the_table() {
    let none = TOTALS.replace("FROM shop.orders", "FROM shop.orders WHERE amount > 1000");
    let new = LARGE.replace("amount > 10", "amount > 1000");
    let project = project(&[("orders", ORDERS), ("totals", &none), ("large", &new)]);
    load(&project, 1, &order(1, "a", 5));
    project.ok(&["run", "totals", "--quiet"]);
    project.ok(&["run", "large", "--quiet"]);
    assert_eq!(project.value("SELECT count(*) FROM curated.totals"), "0");
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'curated' AND table_name = 'totals' ORDER BY ordinal_position";
    assert_eq!(
        rows(&project, columns)[..3],
        ["customer", "amount", "orders"]
    );
    assert_eq!(project.value("SELECT count(*) FROM curated.large"), "0");
    load(&project, 2, &order(2, "b", 5_000));
    project.ok(&["run", "totals", "--quiet"]);
    project.ok(&["run", "large", "--quiet"]);
    assert_eq!(rows(&project, ALL_TOTALS), ["b,5000,1"]);
    assert_eq!(rows(&project, "SELECT id FROM curated.large"), ["2"]);
}

#[test]
fn models_in_a_cycle_are_named() {
    let model = |name: &str, from: &str| {
        format!(
            "pipeline: {name}\nsource: {{query: \"SELECT id FROM {from}\"}}\nload: {{iceberg: {{table: m.{name}, mode: replace}}}}\n"
        )
    };
    let project = project(&[
        ("orders", ORDERS),
        ("a", &model("a", "m.c")),
        ("b", &model("b", "m.a")),
        ("c", &model("c", "m.b")),
        ("d", &model("d", "m.c")),
    ]);
    for command in [vec!["check"], vec!["check", "b"], vec!["run", "b"]] {
        let found = project.run(&command);
        assert_eq!(found.code, 2, "{command:?}: {}", found.err);
        assert!(found.err.contains("error[pipeline_cycle]"), "{}", found.err);
        for step in ["a reads m.c", "b reads m.a", "c reads m.b"] {
            assert!(found.err.contains(step), "{command:?}: {}", found.err);
        }
        assert!(!found.err.contains("d reads"), "{}", found.err);
    }
    load(&project, 1, &order(1, "a", 5));
    assert_ne!(project.run(&["run", "d"]).code, 0, "its table is not there");
    project.write("pipelines/a.yaml", &model("a", "shop.orders"));
    project.ok(&["check"]);
    for name in ["a", "b", "c", "d"] {
        project.ok(&["run", name, "--quiet"]);
    }
    assert_eq!(rows(&project, "SELECT id FROM m.d"), ["1"]);
}

#[test]
fn a_query_of_the_moment_without_a_schedule_is_warned_of() {
    let timed = TOTALS.replace("SELECT customer", "SELECT now() AS at, customer");
    let project = project(&[("orders", ORDERS), ("totals", &timed)]);
    let found = project.ok(&["check"]);
    assert!(
        found.err.contains("warning:") && found.err.contains("uses now"),
        "{}",
        found.err
    );
    project.write(
        "pipelines/totals.yaml",
        &format!("schedule: {{every: 1h}}\n{timed}"),
    );
    let found = project.ok(&["check"]);
    assert!(!found.err.contains("warning:"), "{}", found.err);
}

/// A target that somebody drops or takes back is made again, by the server too.
#[test]
fn a_target_that_was_dropped_or_taken_back_is_made_again() {
    let project = project(&[("orders", ORDERS), ("totals", TOTALS), ("large", LARGE)]);
    load(&project, 1, &(order(1, "a", 5) + &order(2, "b", 50)));
    let server = Server::start(&project, "127.0.0.1:0");
    let total = "SELECT sum(amount) FROM curated.totals";
    let large = "SELECT count(*) FROM curated.large";
    wait_for(&project, total, "55");
    wait_for(&project, large, "1");
    let before = project.value("SELECT id FROM lake.commits ORDER BY at DESC LIMIT 1");
    load(&project, 2, &order(3, "a", 15));
    wait_for(&project, total, "70");
    wait_for(&project, large, "2");
    for table in ["curated.totals", "curated.large"] {
        project.ok(&["tables", "drop", table, "--force", "--yes"]);
    }
    wait_for(&project, total, "70");
    wait_for(&project, large, "2");
    for table in ["curated.totals", "curated.large"] {
        project.ok(&["rollback", table, "--to", &before, "--yes"]);
    }
    wait_for(&project, total, "70");
    wait_for(&project, large, "2");
    server.kill();
}

/// After all tables have gone back together, each row is in a curated table once.
#[test]
fn a_rollback_of_the_lake_takes_its_readers_back_too() {
    let project = project(&[("orders", ORDERS), ("large", LARGE)]);
    load(&project, 1, &order(1, "a", 20));
    project.ok(&["run", "large", "--quiet"]);
    let before = project.value("SELECT id FROM lake.commits ORDER BY at DESC LIMIT 1");
    load(&project, 2, &order(2, "a", 30));
    project.ok(&["run", "large", "--quiet"]);
    let all = "SELECT id FROM curated.large ORDER BY id";
    assert_eq!(rows(&project, all), ["1", "2"]);
    project.ok(&["rollback", "--lake", "--to", &before, "--yes"]);
    load(&project, 3, &order(3, "a", 40));
    project.ok(&["run", "large", "--quiet"]);
    assert_eq!(rows(&project, all), ["1", "3"]);
    // Its inputs alone: nothing can be known, and the remedy doubles no row.
    project.ok(&["rollback", "shop.orders", "--to", &before, "--yes"]);
    let stopped = project.run(&["run", "large"]);
    assert!(
        stopped.err.contains("error[table_changed]"),
        "{}",
        stopped.err
    );
    assert!(
        stopped.err.contains("forebay pipeline reset large"),
        "{}",
        stopped.err
    );
    project.ok(&["pipeline", "reset", "large", "--yes"]);
    project.ok(&["run", "large", "--quiet"]);
    assert_eq!(rows(&project, all), ["1"]);
}

/// Curated tables of curated tables follow under `serve`, whenever it is killed.
#[test]
fn curated_tables_follow_through_kills() {
    let top = "pipeline: top\nsource:\n  query: SELECT max(amount) AS amount, sum(orders) AS orders FROM curated.totals\nload: {iceberg: {table: curated.top, mode: replace}}\n";
    let often = format!("{ORDERS}schedule: {{every: 100ms}}\n");
    let project = project(&[
        ("orders", &often),
        ("totals", TOTALS),
        ("large", LARGE),
        ("top", top),
    ]);
    let mut server = Server::start(&project, "127.0.0.1:0");
    let (mut sum, mut large) = (0, 0);
    for id in 0..24 {
        let amount = 1 + id * 7 % 20;
        project.write(&format!("in/{id}.ndjson"), &order(id, "a", amount));
        sum += amount;
        large += u64::from(amount > 10);
        std::thread::sleep(Duration::from_millis(id * 137 % 400));
        if id % 4 == 3 {
            server.kill();
            server = Server::start(&project, "127.0.0.1:0");
        }
    }
    wait_for(&project, "SELECT amount FROM curated.top", &sum.to_string());
    wait_for(&project, "SELECT orders FROM curated.top", "24");
    let count = "SELECT count(*) FROM curated.large";
    wait_for(&project, count, &large.to_string());
    server.kill();
    let ids = "SELECT count(DISTINCT id) FROM curated.large";
    assert_eq!(project.value(count), project.value(ids));
}
