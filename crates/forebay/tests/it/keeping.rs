//! Giving up what was refused, adopting what was rebuilt, and whose table it is.

use crate::forebay::Project;

const CHECKED: &str = "pipeline: orders\nsource: {file: {path: \"data/*\"}}\nextract: {json: {nested: tables}}\nschema: {columns: {price: {check: \"value > 0\"}}}\nload: {iceberg: {table: shop.orders}}\n";

/// Records 1 to 4; two have a price that the check refuses, and one is no JSON.
fn refusing() -> Project {
    let project = Project::new();
    project.write("pipelines/orders.yaml", CHECKED);
    project.write(
        "data/a.ndjson",
        "{\"id\":1,\"price\":5}\n{\"id\":2,\"price\":-5,\"items\":[{\"sku\":\"a\"}]}\n{\"id\":\n",
    );
    project.write("data/b.ndjson", "{\"id\":4,\"price\":-1}\n");
    project.run(&["run"]);
    assert_eq!(open(&project).len(), 3);
    project
}

/// Codes and ids of the open refusals.
fn open(project: &Project) -> Vec<(String, String)> {
    let listed = project.ok(&["quarantine", "ls", "orders", "--format", "csv"]);
    let rows = listed.out.lines().skip(1);
    rows.map(|row| {
        let mut fields = row.split(',');
        let id = fields.next().unwrap_or_default().to_owned();
        (fields.nth(1).unwrap_or_default().to_owned(), id)
    })
    .collect()
}

#[test]
fn a_list_of_refusals_says_when_it_is_not_all_of_them() {
    let project = refusing();
    let listed = project.ok(&["quarantine", "ls", "orders", "--limit", "2"]);
    let hint = "2 of 3 records are listed: --limit 3 lists all of them";
    assert!(listed.err.contains(hint), "{}", listed.err);
    let all = project.ok(&["quarantine", "ls", "orders", "--limit", "3"]);
    assert!(!all.err.contains("are listed"), "{}", all.err);
    project.write(
        "pipelines/calm.yaml",
        &CHECKED
            .replace(": orders", ": calm")
            .replace("shop.orders", "shop.calm"),
    );
    for pipeline in ["orders", "calm"] {
        let shown = project.run(&["quarantine", "show", pipeline, "01J"]);
        assert!(shown.err.contains("no_such_record"), "{}", shown.err);
    }
    let unknown = project.run(&["quarantine", "show", "nobody", "01J"]);
    assert!(unknown.err.contains("no_such_pipeline"), "{}", unknown.err);
}

#[test]
fn discarded_records_are_neither_listed_nor_replayed_and_stay_as_evidence() {
    let project = refusing();
    let discard =
        |more: &[&str]| project.run(&[&["quarantine", "discard", "orders"][..], more].concat());
    assert!(discard(&["--yes"]).err.contains("no_filter"));
    let planned = discard(&["--code", "bad_json"]);
    assert!(
        planned.err.contains("would discard 1 record of bad_json"),
        "{}",
        planned.err
    );
    assert_eq!(open(&project).len(), 3, "a dry run");
    assert_eq!(discard(&["--code", "bad_json", "--yes"]).code, 0);
    assert_eq!(open(&project).len(), 2);
    let by_payload = discard(&["--payload", "data/b.ndjson", "--yes"]);
    assert_eq!(by_payload.code, 0, "{}", by_payload.err);
    let left = open(&project);
    assert_eq!(left.len(), 1, "{left:?}");
    let unknown = discard(&["--id", "nothing", "--yes"]);
    assert_eq!(unknown.code, 1, "{}", unknown.err);
    // A fix lands the one that is left.
    project.write(
        "pipelines/orders.yaml",
        &CHECKED.replace("value > 0", "value > -9"),
    );
    project.ok(&["quarantine", "replay", "orders"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "2");
    assert_eq!(
        project.value("SELECT count(*) FROM quarantine.orders WHERE event = 'discarded'"),
        "2"
    );
    let told = "SELECT count(*) FROM lake.commits WHERE message LIKE 'orders: discarded from quarantine: 1 bad_json%'";
    assert_eq!(project.value(told), "1");
    assert_eq!(discard(&["--all", "--yes"]).code, 0);
    let by_table = project.ok(&["quarantine", "discard", "shop.orders", "--all"]);
    assert!(
        by_table.err.contains("no open record matches"),
        "{}",
        by_table.err
    );
}

#[test]
fn an_adopted_rebuild_takes_the_place_of_its_table_and_closes_what_was_refused() {
    let project = refusing();
    let before = project.value("SELECT at FROM lake.commits ORDER BY at DESC LIMIT 1");
    project.write(
        "pipelines/orders.yaml",
        &CHECKED.replace("value > 0", "value > -9"),
    );
    let differs = project.run(&["rebuild", "shop.orders"]);
    assert_eq!(differs.code, 1, "{}", differs.err);
    assert!(differs.err.contains("--adopt"), "{}", differs.err);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "1");
    let adopted = project.ok(&["rebuild", "shop.orders", "--adopt"]);
    assert!(
        adopted
            .err
            .contains("adopted: shop.orders, shop.orders__items"),
        "{}",
        adopted.err
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "3");
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders__items"),
        "1"
    );
    let codes: Vec<String> = open(&project).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["bad_json"], "what still is refused");
    let then = format!("SELECT count(*) FROM shop.orders FOR SYSTEM_TIME AS OF '{before}'");
    assert_eq!(project.value(&then), "1");
    // Nothing lands twice, and the next run goes on behind what is there.
    project.run(&["quarantine", "replay", "orders"]);
    project.write(
        "data/c.ndjson",
        "{\"id\":5,\"price\":1,\"items\":[{\"sku\":\"b\"}]}\n",
    );
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "4");
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders__items"),
        "2"
    );
    project.ok(&["rebuild", "shop.orders"]);
    project.ok(&["verify"]);
}

#[test]
fn the_owner_of_a_table_decides_and_not_its_name() {
    let project = Project::new();
    let pipeline = |name: &str, table: &str| {
        let text = format!(
            "pipeline: {name}\nsource: {{file: {{path: \"{name}/*\"}}}}\nextract: {{json: {{nested: tables}}}}\nload: {{iceberg: {{table: {table}}}}}\n"
        );
        project.write(&format!("pipelines/{name}.yaml"), &text);
        project.write(&format!("{name}/a.ndjson"), "{\"id\":1,\"items\":[1]}\n");
    };
    pipeline("orders", "shop.orders");
    pipeline("archive", "shop.orders__archive");
    project.ok(&["run"]);
    // The pipeline of the other table is gone, so nobody loads it any more, whatever it is called.
    project.ok(&["rebuild", "shop.orders__archive"]);
    std::fs::remove_file(project.path().join("pipelines/archive.yaml")).unwrap();
    let child = project.run(&["tables", "drop", "shop.orders__items"]);
    assert!(child.err.contains("table_in_use"), "{}", child.err);
    project.ok(&["tables", "drop", "shop.orders__archive", "--yes"]);
    pipeline("archive", "shop.orders__archive");
    project.ok(&["pipeline", "reset", "archive", "--yes"]);
    project.ok(&["run", "archive"]);
    // Another pipeline's table that is called like a child is neither shared nor dropped.
    project.ok(&["pipeline", "reset", "orders", "--yes"]);
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders__archive"),
        "1"
    );
    pipeline("second", "shop.orders__archive");
    let shared = project.run(&["rebuild", "shop.orders__archive", "--adopt"]);
    assert!(shared.err.contains("shared_table"), "{}", shared.err);
}

#[test]
fn a_rebuild_never_drops_the_rows_of_a_pipeline_that_was_renamed() {
    let project = Project::new();
    let pipeline = |name: &str| {
        format!(
            "pipeline: {name}\nsource: {{file: {{path: \"data/*\"}}}}\nextract: {{json: {{}}}}\nload: {{iceberg: {{table: t.p}}}}\n"
        )
    };
    project.write("pipelines/p.yaml", &pipeline("p"));
    project.write("data/a.ndjson", "{\"id\":1}\n");
    project.ok(&["run"]);
    project.ok(&["rebuild", "t.p", "--adopt"]);
    std::fs::remove_file(project.path().join("pipelines/p.yaml")).unwrap();
    std::fs::remove_file(project.path().join("data/a.ndjson")).unwrap();
    project.write("pipelines/p2.yaml", &pipeline("p2"));
    project.write("data/b.ndjson", "{\"id\":2}\n");
    project.ok(&["run"]);
    for command in [
        &["rebuild", "t.p"][..],
        &["rebuild", "t.p", "--adopt"],
        &["pipeline", "reset", "p2", "--yes"],
    ] {
        let refused = project.run(command);
        assert_eq!(refused.code, 2, "{}", refused.err);
        assert!(refused.err.contains("shared_table"), "{}", refused.err);
        assert!(refused.err.contains("pipeline p too"), "{}", refused.err);
    }
    assert_eq!(project.value("SELECT sum(id) FROM t.p"), "3");
    // Its rows are given up.
    project.ok(&["tables", "drop", "t.p", "--force", "--yes"]);
    project.ok(&["rebuild", "t.p", "--adopt"]);
    assert_eq!(project.value("SELECT sum(id) FROM t.p"), "2");
    project.ok(&["rebuild", "t.p"]);
}

#[test]
fn a_rebuild_of_a_table_of_two_pipelines_names_the_other_at_once() {
    let project = Project::new();
    for name in ["one", "two"] {
        let text = format!(
            "pipeline: {name}\nsource: {{file: {{path: \"{name}/*\"}}}}\nextract: {{json: {{}}}}\nload: {{iceberg: {{table: t.p}}}}\n"
        );
        project.write(&format!("pipelines/{name}.yaml"), &text);
        project.write(&format!("{name}/a.ndjson"), "{\"id\":1}\n");
    }
    project.ok(&["run"]);
    let refused = project.run(&["rebuild", "t.p"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("shared_table"), "{}", refused.err);
    assert!(!refused.err.contains("--adopt"), "{}", refused.err);
}

#[test]
fn a_replay_says_when_every_record_is_refused_again() {
    let project = Project::new();
    let pipeline = |records: &str| {
        format!(
            "pipeline: p\nsource: {{file: {{path: \"data/*\"}}}}\nextract: {{json: {{lines: false{records}}}}}\nschema: {{columns: {{id: {{type: long}}}}}}\nload: {{iceberg: {{table: t.p}}}}\n"
        )
    };
    // Nothing is at this path, so the documents are refused as a whole.
    project.write("pipelines/p.yaml", &pipeline(", records: rows"));
    project.write("data/a.json", "[{\"id\":\"x\"},{\"id\":\"y\"}]");
    project.run(&["run"]);
    project.write("pipelines/p.yaml", &pipeline(""));
    let replayed = project.run(&["quarantine", "replay", "p"]);
    assert_eq!(replayed.code, 1, "{}", replayed.err);
    assert!(
        !replayed.err.contains("landed in t.p, with"),
        "{}",
        replayed.err
    );
    assert!(
        replayed.err.contains("no rows landed in t.p"),
        "{}",
        replayed.err
    );
    assert!(
        replayed.err.contains("refused again: 2 records"),
        "{}",
        replayed.err
    );
}
