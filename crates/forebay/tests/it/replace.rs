//! `mode: replace` of a table of the lake: the rows of the last run that came to its end, in one commit.

use crate::forebay::Project;
use crate::kafka::rows;

fn project(more: &str) -> Project {
    let project = Project::new();
    project.write(
        "pipelines/orders.yaml",
        &format!(
            "pipeline: orders\nsource: {{file: {{path: \"in/*.ndjson\"}}}}\nextract: {{json: {{nested: tables}}}}\n\
             buffer: {{rows: 2}}\nload: {{iceberg: {{table: shop.orders, mode: replace}}}}\n{more}"
        ),
    );
    project
}

const IDS: &str = "SELECT id FROM shop.orders ORDER BY id";
const ITEMS: &str = "SELECT value FROM shop.orders__items ORDER BY value";

#[test]
fn a_table_has_the_rows_of_the_last_run() {
    let project = project("");
    project.write(
        "in/1.ndjson",
        "{\"id\": 1, \"items\": [1, 2]}\n{\"id\": 2}\n{\"id\": 3}\n{\"id\": 4}\n{\"id\": 5}\n",
    );
    project.write("in/2.ndjson", "{\"id\": 6, \"items\": [3]}\n");
    project.ok(&["run", "--quiet"]);
    assert_eq!(rows(&project, IDS), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(rows(&project, ITEMS), ["1", "2", "3"]);
    let before = project.value("SELECT id FROM lake.commits ORDER BY at DESC LIMIT 1");
    // One file is gone, the other has other records and a new column; no list any more.
    project.write(
        "in/1.ndjson",
        "{\"id\": 7, \"note\": \"x\"}\n{\"id\": 8}\n{\"id\": 9}\n",
    );
    std::fs::remove_file(project.path().join("in/2.ndjson")).unwrap();
    project.ok(&["run", "--quiet"]);
    assert_eq!(rows(&project, IDS), ["7", "8", "9"]);
    assert_eq!(rows(&project, ITEMS), [""; 0]);
    assert_eq!(
        project.value("SELECT rows FROM lake.tables WHERE \"table\" = 'shop.orders'"),
        "3"
    );
    let then = format!("SELECT count(*) FROM shop.orders FOR SYSTEM_TIME AS OF '{before}'");
    assert_eq!(project.value(&then), "6");
    // The same again: the same rows, once.
    project.ok(&["run", "--quiet"]);
    assert_eq!(rows(&project, IDS), ["7", "8", "9"]);
    project.ok(&["rollback", "--lake", "--to", &before, "--yes"]);
    assert_eq!(rows(&project, ITEMS), ["1", "2", "3"]);
    project.ok(&["verify"]);
}

#[test]
fn a_run_without_rows_or_without_its_end_leaves_the_table_as_it_is() {
    let project = project("schema: {columns: {id: {type: long}}}\n");
    project.write("in/1.ndjson", "{\"id\": 1}\n{\"id\": 2}\n");
    project.ok(&["run", "--quiet"]);
    // All of it is refused.
    project.write("in/1.ndjson", "{\"id\": \"a\"}\n{\"id\": \"b\"}\n");
    assert_ne!(project.run(&["run", "--quiet"]).code, 0);
    assert_eq!(rows(&project, IDS), ["1", "2"]);
    // A record that ends the run after some commits of it.
    project.write(
        "pipelines/orders.yaml",
        "pipeline: orders\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {nested: tables}}\nbuffer: {rows: 2}\n\
         transform: [{check: [{name: sound, where: \"id < 9\", on_fail: fail}]}]\nload: {iceberg: {table: shop.orders, mode: replace}}\n",
    );
    project.write(
        "in/1.ndjson",
        "{\"id\": 3}\n{\"id\": 4}\n{\"id\": 5}\n{\"id\": 6}\n",
    );
    project.write("in/2.ndjson", "{\"id\": 9}\n");
    assert_ne!(project.run(&["run", "--quiet"]).code, 0);
    assert_eq!(rows(&project, IDS), ["1", "2"]);
    std::fs::remove_file(project.path().join("in/2.ndjson")).unwrap();
    std::fs::remove_file(project.path().join("in/1.ndjson")).unwrap();
    let none = project.run(&["run"]);
    assert_eq!(rows(&project, IDS), ["1", "2"], "{}", none.err);
    project.write("in/1.ndjson", "{\"id\": 3}\n");
    project.ok(&["run", "--quiet"]);
    assert_eq!(rows(&project, IDS), ["3"]);
    for refused in [
        vec!["quarantine", "replay", "orders"],
        vec!["rebuild", "shop.orders"],
    ] {
        let refused = project.run(&refused);
        assert!(
            refused.err.contains("forebay run orders"),
            "{}",
            refused.err
        );
    }
}

#[test]
fn rows_of_other_pipelines_are_not_replaced() {
    let project = project("");
    project.write("in/1.ndjson", "{\"id\": 1}\n");
    project.write(
        "pipelines/more.yaml",
        "pipeline: more\nsource: {file: {path: \"more/*.ndjson\"}}\nextract: {json: {nested: tables}}\nload: {iceberg: {table: shop.orders}}\n",
    );
    project.write("more/1.ndjson", "{\"id\": 2}\n");
    project.ok(&["run", "more", "--quiet"]);
    let refused = project.run(&["run", "orders", "--quiet"]);
    assert!(refused.err.contains("table_shared"), "{}", refused.err);
    assert_eq!(rows(&project, IDS), ["2"]);
}
