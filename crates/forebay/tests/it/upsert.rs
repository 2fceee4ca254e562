//! One row for each key: late and equal orders, null keys, replay, rebuild, and what other engines read.

use crate::forebay::Project;
use crate::kafka::rows;
use crate::peers::run_peers;

fn project(load: &str) -> Project {
    let project = Project::new();
    project.write("pipelines/orders.yaml", &pipeline(load));
    project
}

fn pipeline(load: &str) -> String {
    format!(
        "pipeline: orders\nsource: {{file: {{path: \"in/*.ndjson\"}}}}\nextract: {{json: {{nested: keep}}}}\n\
         load: {{iceberg: {{table: shop.orders, mode: upsert, key: [id]{load}}}}}\n"
    )
}

const ALL: &str = "SELECT id, state, at FROM shop.orders ORDER BY id";

#[test]
fn the_newest_row_of_each_key_stays() {
    let project = project(", order: at, partition: [state]");
    project.write(
        "in/1.ndjson",
        "{\"id\": 1, \"state\": \"new\", \"at\": 10}\n{\"id\": 2, \"state\": \"new\", \"at\": 10}\n{\"id\": 1, \"state\": \"paid\", \"at\": 20}\n",
    );
    project.ok(&["run", "--quiet"]);
    assert_eq!(rows(&project, ALL), ["1,paid,20", "2,new,10"]);
    // Newer, late, equally old, without an order, and new.
    project.write(
        "in/2.ndjson",
        "{\"id\": 2, \"state\": \"sent\", \"at\": 30}\n{\"id\": 1, \"state\": \"late\", \"at\": 15}\n{\"id\": 3, \"state\": \"a\"}\n{\"id\": 3, \"state\": \"b\"}\n\
         {\"id\": 4, \"state\": \"x\", \"at\": 1, \"note\": \"n\"}\n",
    );
    project.ok(&["run", "--quiet"]);
    assert_eq!(
        rows(&project, ALL),
        ["1,paid,20", "2,sent,30", "3,b,", "4,x,1"]
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "4");
    run_peers(
        &project,
        "upsert_reader.py",
        &["shop.orders", "1:paid,2:sent,3:b,4:x"],
    );
    let rebuilt = project.ok(&["rebuild", "shop.orders"]);
    assert!(
        format!("{}{}", rebuilt.out, rebuilt.err).contains("equal"),
        "{}{}",
        rebuilt.out,
        rebuilt.err
    );
}

#[test]
fn statements_change_tables_that_other_engines_read() {
    let project = project(", order: at");
    project.write(
        "in/1.ndjson",
        "{\"id\": 1, \"state\": \"new\", \"at\": 10}\n",
    );
    project.ok(&["run", "--quiet"]);
    let script = "CREATE TABLE shop.copy AS SELECT id, state FROM shop.orders; \
         INSERT INTO shop.copy VALUES (2, 'a;b'), (3, 'x'), (4, 'y'); \
         UPDATE shop.copy SET state = state || '!' WHERE id >= 3; DELETE FROM shop.copy WHERE id = 4";
    let done = project.ok(&["sql", script]);
    assert_eq!(done.out, "SELECT 1\nINSERT 0 3\nUPDATE 2\nDELETE 1\n");
    run_peers(
        &project,
        "upsert_reader.py",
        &["shop.copy", "1:new,2:a;b,3:x!"],
    );
    for (arguments, code) in [
        (&["sql", "DELETE FROM shop.orders"][..], "table_in_use"),
        (
            &["sql", "--read-only", "DELETE FROM shop.copy"],
            "read_only",
        ),
        (
            &[
                "sql",
                "--as-of",
                "2100-01-01T00:00:00Z",
                "DELETE FROM shop.copy",
            ],
            "read_only",
        ),
    ] {
        let refused = project.run(arguments);
        assert_ne!(refused.code, 0);
        assert!(refused.err.contains(code), "{arguments:?}: {}", refused.err);
    }
    let forced = project.ok(&["sql", "--force", "DELETE FROM shop.orders WHERE id = 1"]);
    assert_eq!(forced.out, "DELETE 1\n");
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "0");
    assert_eq!(project.value("SELECT count(*) FROM shop.copy"), "3");
}

#[test]
fn a_record_without_a_key_is_refused_and_the_others_land() {
    let project = project(", order: at");
    project.write(
        "in/1.ndjson",
        "{\"id\": 1, \"at\": 1}\n{\"id\": null, \"at\": 2}\n{\"at\": 3}\n{\"id\": 2, \"at\": 5}\n",
    );
    project.ok(&["run", "--quiet"]);
    project.write("in/2.ndjson", "{\"id\": 1.5, \"at\": 4}\n");
    project.run(&["run", "--quiet"]);
    assert_eq!(
        rows(&project, "SELECT id, at FROM shop.orders ORDER BY id"),
        ["1,1", "2,5"]
    );
    let refused = rows(
        &project,
        "SELECT code FROM quarantine.orders ORDER BY code DESC",
    );
    assert_eq!(refused, ["null_key", "null_key", "incompatible_type"]);
}

#[test]
fn a_replay_needs_to_know_which_row_is_newer() {
    let write = |project: &Project, more: &str| {
        let text = std::fs::read_to_string(project.path().join("pipelines/orders.yaml")).unwrap();
        let text = text
            .lines()
            .filter(|line| !line.starts_with("schema:"))
            .collect::<Vec<_>>()
            .join("\n");
        project.write("pipelines/orders.yaml", &format!("{text}\n{more}"));
    };
    let check = "schema: {columns: {n: {type: long, check: \"value > 0\"}}}\n";
    let records = "{\"id\": 1, \"n\": 0, \"at\": 5}\n{\"id\": 2, \"n\": 0, \"at\": 9}\n{\"id\": 1, \"n\": 7, \"at\": 7}\n{\"id\": 2, \"n\": 7, \"at\": 7}\n";
    let ordered = project(", order: at");
    write(&ordered, check);
    ordered.write("in/1.ndjson", records);
    ordered.ok(&["run", "--quiet"]);
    write(&ordered, "schema: {columns: {n: {type: long}}}\n");
    ordered.ok(&["quarantine", "replay", "orders"]);
    assert_eq!(
        rows(&ordered, "SELECT id, n, at FROM shop.orders ORDER BY id"),
        ["1,7,7", "2,0,9"]
    );
    let last = project("");
    write(&last, check);
    last.write("in/1.ndjson", records);
    last.ok(&["run", "--quiet"]);
    let refused = last.run(&["quarantine", "replay", "orders"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("order"), "{}", refused.err);
}

const ITEMS: &str = "SELECT o.id, i.product, i.quantity FROM shop.orders o JOIN shop.orders__items i ON i._fb_root_id = o._fb_id ORDER BY 1, 2";

#[test]
fn rows_of_child_tables_go_with_the_row_that_they_hang_from() {
    let project = Project::new();
    let yaml = pipeline(", order: at").replace("nested: keep", "nested: tables");
    project.write("pipelines/orders.yaml", &yaml);
    project.write(
        "in/1.ndjson",
        "{\"id\": 1, \"state\": \"new\", \"at\": 10, \"items\": [{\"product\": \"a\", \"quantity\": 1, \"serials\": [7, 8]}, {\"product\": \"b\", \"quantity\": 2}]}\n\
         {\"id\": 2, \"state\": \"new\", \"at\": 10, \"items\": [{\"product\": \"c\", \"quantity\": 3}]}\n\
         {\"id\": 2, \"state\": \"paid\", \"at\": 20, \"items\": [{\"product\": \"d\", \"quantity\": 4}]}\n",
    );
    project.ok(&["run", "--quiet"]);
    assert_eq!(rows(&project, ITEMS), ["1,a,1", "1,b,2", "2,d,4"]);
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders__items"),
        "3"
    );
    // One that is late, and one without items.
    project.write(
        "in/2.ndjson",
        "{\"id\": 2, \"state\": \"late\", \"at\": 15, \"items\": [{\"product\": \"e\", \"quantity\": 5}]}\n{\"id\": 1, \"state\": \"sent\", \"at\": 30}\n",
    );
    project.ok(&["run", "--quiet"]);
    assert_eq!(rows(&project, ALL), ["1,sent,30", "2,paid,20"]);
    assert_eq!(rows(&project, ITEMS), ["2,d,4"]);
    for (table, count) in [("orders__items", "1"), ("orders__items__serials", "0")] {
        let count_of = format!("SELECT count(*) FROM shop.{table}");
        assert_eq!(project.value(&count_of), count, "{table}");
    }
    let rebuilt = project.ok(&["rebuild", "shop.orders"]);
    let said = format!("{}{}", rebuilt.out, rebuilt.err);
    assert!(said.contains("equal") && !said.contains("differ"), "{said}");
}

#[test]
fn a_table_without_the_ids_of_its_rows_has_no_child_tables() {
    let project = Project::new();
    let yaml = pipeline("").replace("nested: keep", "nested: tables");
    let step = "transform:\n  - sql: \"SELECT id, state FROM input\"\nload:";
    project.write("pipelines/orders.yaml", &yaml.replace("load:", step));
    project.write(
        "in/1.ndjson",
        "{\"id\": 1, \"state\": \"new\", \"items\": [1]}\n",
    );
    let refused = project.run(&["run", "--quiet"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("no_row_ids"), "{}", refused.err);
    let bitemporal = yaml.replace(
        "mode: upsert, key: [id]",
        "mode: bitemporal, key: [id], valid_from: at",
    );
    project.write("pipelines/orders.yaml", &bitemporal);
    let refused = project.run(&["check"]);
    assert!(
        refused.err.contains("bitemporal_children"),
        "{}{}",
        refused.out,
        refused.err
    );
}
