//! A bad load is rolled back, a rollback too, and a dropped table comes back.

use crate::forebay::Project;
use crate::kafka::rows;

fn project() -> Project {
    let project = Project::new();
    project.write(
        "pipelines/orders.yaml",
        "pipeline: orders\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {nested: tables}}\nload: {iceberg: {table: shop.orders}}\n",
    );
    project
}

fn load(project: &Project, file: &str, records: &str) -> String {
    project.write(&format!("in/{file}.ndjson"), records);
    project.ok(&["run", "--quiet"]);
    project.value("SELECT id FROM lake.commits ORDER BY at DESC LIMIT 1")
}

const IDS: &str = "SELECT id FROM shop.orders ORDER BY id";

#[test]
fn a_bad_load_is_rolled_back_and_the_pipeline_goes_on() {
    let project = project();
    let good = load(&project, "1", "{\"id\": 1, \"items\": [1, 2]}\n");
    let bad = load(
        &project,
        "2",
        "{\"id\": 2, \"price\": \"n/a\", \"items\": [3]}\n",
    );
    let dry = project.ok(&["rollback", "shop.orders", "--to", &good]);
    assert!(
        dry.err.contains("shop.orders: from 2 rows to 1 row"),
        "{}",
        dry.err
    );
    assert!(dry.err.contains("dry run"), "{}", dry.err);
    assert_eq!(rows(&project, IDS), ["1", "2"]);
    project.ok(&["rollback", "--lake", "--to", &good, "--yes"]);
    assert_eq!(rows(&project, IDS), ["1"]);
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders__items"),
        "2"
    );
    assert_eq!(project.value("SELECT count(*) FROM raw.orders"), "2");
    assert_eq!(
        rows(
            &project,
            &format!("SELECT id FROM shop.orders FOR VERSION AS OF '{bad}' ORDER BY id")
        ),
        ["1", "2"]
    );
    // The next load lands on the state that the table has now, with the column that it had learned.
    load(
        &project,
        "3",
        "{\"id\": 3, \"price\": \"9\", \"items\": []}\n",
    );
    assert_eq!(
        rows(&project, "SELECT id, price FROM shop.orders ORDER BY id"),
        ["1,", "3,9"]
    );
    project.ok(&["rollback", "shop.orders", "--to", &bad, "--yes"]);
    assert_eq!(rows(&project, IDS), ["1", "2"]);
    project.ok(&["rebuild", "shop.orders", "--adopt"]);
    assert_eq!(rows(&project, IDS), ["1", "2", "3"]);
    let again = project.ok(&["rollback", "shop.orders", "--to", &bad, "--yes"]);
    assert!(again.err.contains("rolled back"), "{}", again.err);
    let nothing = project.ok(&["rollback", "shop.orders", "--to", &bad, "--yes"]);
    assert!(nothing.err.contains("nothing to do"), "{}", nothing.err);
    project.ok(&["verify"]);
}

#[test]
fn a_table_comes_back_that_was_dropped_and_goes_that_was_not_there() {
    let project = project();
    let first = load(&project, "1", "{\"id\": 1}\n");
    project.ok(&["tables", "drop", "shop.orders", "--force", "--yes"]);
    assert_ne!(project.run(&["sql", IDS]).code, 0);
    project.ok(&["tables", "undrop", "shop.orders"]);
    assert_eq!(rows(&project, IDS), ["1"]);
    let there = project.run(&["tables", "undrop", "shop.orders"]);
    assert!(there.err.contains("table_exists"), "{}", there.err);
    load(&project, "2", "{\"id\": 2, \"items\": [1]}\n");
    let dry = project.ok(&["rollback", "--lake", "--to", &first]);
    assert!(
        dry.err.contains("shop.orders__items: is dropped"),
        "{}",
        dry.err
    );
    project.ok(&["rollback", "--lake", "--to", &first, "--yes"]);
    assert_ne!(
        project
            .run(&["sql", "SELECT * FROM shop.orders__items"])
            .code,
        0
    );
    load(&project, "3", "{\"id\": 3, \"items\": [7, 8]}\n");
    assert_eq!(rows(&project, IDS), ["1", "3"]);
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders__items"),
        "2"
    );
    for (wrong, code) in [
        (["rollback", "raw.orders", "--to", &first], "system_table"),
        (["rollback", "shop.none", "--to", &first], "no_such_table"),
        (["rollback", "shop.orders", "--to", "soon"], "bad_as_of"),
    ] {
        let refused = project.run(&wrong);
        assert!(refused.err.contains(code), "{}", refused.err);
    }
    let gone = project.run(&["tables", "undrop", "shop.none"]);
    assert!(gone.err.contains("not_dropped"), "{}", gone.err);
}

#[test]
fn child_tables_go_back_with_their_parent_and_tables_of_nobody_stay() {
    let project = Project::new();
    project.write(
        "pipelines/orders.yaml",
        "pipeline: orders\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {nested: tables}}\n\
         load: {iceberg: {table: shop.orders, mode: upsert, key: [id]}}\n",
    );
    let first = load(
        &project,
        "1",
        "{\"id\": 1, \"items\": [{\"n\": 1}, {\"n\": 2}]}\n",
    );
    project.ok(&["sql", "CREATE TABLE shop.orders__mine AS SELECT 1 AS n"]);
    project.ok(&["sql", "CREATE TABLE shop.notes AS SELECT 1 AS n"]);
    let state = project.value("SELECT id FROM lake.commits ORDER BY at DESC LIMIT 1");
    load(
        &project,
        "2",
        "{\"id\": 1, \"items\": [{\"n\": 3}], \"tags\": [\"a\"]}\n",
    );
    project.ok(&["sql", "INSERT INTO shop.notes VALUES (2)"]);
    project.ok(&["sql", "INSERT INTO shop.orders__mine VALUES (2)"]);
    let dry = project.ok(&["rollback", "shop.orders", "--to", &state]);
    assert!(
        dry.err.contains("shop.orders__items: from 1 row to 2 rows"),
        "{}",
        dry.err
    );
    assert!(!dry.err.contains("orders__mine"), "{}", dry.err);
    project.ok(&["rollback", "shop.orders", "--to", &state, "--yes"]);
    let joined = "SELECT i.n FROM shop.orders o JOIN shop.orders__items i ON i._fb_parent_id = o._fb_id ORDER BY 1";
    assert_eq!(rows(&project, joined), ["1", "2"]);
    assert_ne!(
        project
            .run(&["sql", "SELECT * FROM shop.orders__tags"])
            .code,
        0
    );
    let dry = project.ok(&["rollback", "--lake", "--to", &first]);
    assert!(!dry.err.contains("shop.notes"), "{}", dry.err);
    project.ok(&["rollback", "--lake", "--to", &first, "--yes"]);
    assert_eq!(
        rows(&project, "SELECT n FROM shop.notes ORDER BY n"),
        ["1", "2"]
    );
    assert_eq!(
        rows(&project, "SELECT n FROM shop.orders__mine ORDER BY n"),
        ["1", "2"]
    );
}
