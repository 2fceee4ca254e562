//! Pipelines over files: child tables, quarantine and replay, with real records where they are at hand.

use crate::forebay::Project;

const ORDERS: &str = "pipeline: orders\nsource:\n  file: {path: \"data/*.ndjson\"}\nextract:\n  json: {lines: true, nested: tables}\nSCHEMAload:\n  iceberg: {table: shop.orders}\n";

fn pipeline(schema: &str) -> String {
    ORDERS.replace("SCHEMA", schema)
}

#[test]
fn lists_become_child_tables_that_join_up() {
    let project = Project::new();
    project.write("pipelines/orders.yaml", &pipeline(""));
    let rows = (1..=50).map(|n| format!("{{\"id\":{n},\"items\":[{{\"sku\":\"a\",\"qty\":{n}}},{{\"sku\":\"b\",\"qty\":1}}]}}\n")).collect::<String>();
    project.write("data/a.ndjson", &rows);
    project.ok(&["run"]);
    let joined = "SELECT count(*), sum(qty) FROM shop.orders o JOIN shop.orders__items i ON i._fb_parent_id = o._fb_id";
    assert_eq!(
        project
            .ok(&["sql", joined, "--format", "csv"])
            .out
            .lines()
            .nth(1),
        Some("100,1325")
    );
    let rebuilt = project.ok(&["rebuild", "shop.orders"]);
    assert!(
        rebuilt.err.contains("shop.orders__items: equal, 100 rows"),
        "{}",
        rebuilt.err
    );
}

#[test]
fn a_refused_record_waits_and_a_replay_lands_it_once() {
    let project = Project::new();
    project.write("pipelines/orders.yaml", &pipeline("schema:\n  columns: {id: {type: long, required: true}, qty: {check: \"value < 10\"}}\n"));
    project.write("data/a.ndjson", "{\"id\":1,\"qty\":1}\n{\"qty\":2}\n{\"id\":3,\"qty\":99}\n{\"id\":4,\"qty\":4}\nnot json\n");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "2");
    let waiting = project
        .ok(&["quarantine", "ls", "orders", "--format", "ndjson"])
        .out;
    assert_eq!(waiting.lines().count(), 3, "{waiting}");

    // Nothing has been fixed: everything is refused again, nothing lands.
    assert_eq!(project.run(&["quarantine", "replay", "orders"]).code, 1);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "2");

    project.write("pipelines/orders.yaml", &pipeline(""));
    let replayed = project.run(&["quarantine", "replay", "orders"]);
    assert!(
        replayed.err.contains("2 records landed"),
        "{}",
        replayed.err
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "4");
    assert_eq!(project.value("SELECT sum(qty) FROM shop.orders"), "106");
    // A second replay has nothing to land.
    assert!(
        project
            .run(&["quarantine", "replay", "orders"])
            .err
            .contains("0 records landed")
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "4");
}

#[test]
fn an_earlier_state_can_be_asked() {
    let project = Project::new();
    project.write("pipelines/orders.yaml", &pipeline(""));
    project.write("data/a.ndjson", "{\"id\":1}\n");
    project.ok(&["run"]);
    let commit = project.value(
        "SELECT id FROM lake.commits WHERE message LIKE 'orders:%' ORDER BY at DESC LIMIT 1",
    );
    project.write("data/b.ndjson", "{\"id\":2,\"note\":\"new\"}\n");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "2");
    let then = format!("SELECT count(*) FROM shop.orders FOR SYSTEM_TIME AS OF '{commit}'");
    assert_eq!(project.value(&then), "1");
    assert_eq!(
        project
            .ok(&[
                "sql",
                "SELECT count(*) FROM shop.orders",
                "--as-of",
                &commit,
                "--format",
                "csv"
            ])
            .out,
        "count(*)\n1\n"
    );
}

#[test]
fn two_processes_do_not_run_one_pipeline() {
    let project = Project::new();
    project.write("pipelines/orders.yaml", &pipeline(""));
    let rows = (1..=200_000)
        .map(|n| format!("{{\"id\":{n}}}\n"))
        .collect::<String>();
    project.write("data/a.ndjson", &rows);
    let (first, second) = std::thread::scope(|scope| {
        let runs = [
            scope.spawn(|| project.run(&["run"])),
            scope.spawn(|| project.run(&["run"])),
        ];
        let mut answers = runs
            .into_iter()
            .map(|run| run.join().unwrap())
            .collect::<Vec<_>>();
        (answers.remove(0), answers.remove(0))
    });
    let codes = [first.code, second.code];
    assert!(codes.contains(&0), "{} {}", first.err, second.err);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "200000");
}

#[test]
fn the_patients_of_a_hospital_become_tables_with_the_known_counts() {
    let Some(data) = forebay_testkit::shared_data() else {
        println!("the shared data is not here: this test has checked nothing");
        return;
    };
    let project = Project::new();
    let bundles = data.join("hospital/fhir-r4-bundles");
    std::fs::create_dir_all(project.path().join("data")).unwrap();
    for entry in std::fs::read_dir(bundles).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(
            &path,
            project.path().join("data").join(path.file_name().unwrap()),
        )
        .unwrap();
    }
    let pipeline = "pipeline: fhir\nsource:\n  file: {path: \"data/*\"}\nextract:\n  json: {records: entry, nested: tables}\nload:\n  iceberg: {table: fhir.entries}\n";
    project.write("pipelines/fhir.yaml", pipeline);
    project.ok(&["run"]);
    let answers: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(data.join("ANSWERS.json")).unwrap()).unwrap();
    let known = &answers["hospital/fhir-r4-bundles"];
    assert_eq!(
        project.value("SELECT count(*) FROM fhir.entries"),
        known["resources_total"].to_string()
    );
    let claims = "SELECT count(*) FROM fhir.entries__resource__item i JOIN fhir.entries e ON i._fb_root_id = e._fb_id WHERE e.\"resource__resourceType\" = 'Claim'";
    assert_eq!(project.value(claims), known["claim_items"].to_string());
    let total = "SELECT CAST(sum(CAST(\"resource__total__value\" AS DECIMAL(20, 2))) AS VARCHAR) FROM fhir.entries WHERE \"resource__resourceType\" = 'Claim'";
    assert_eq!(
        project.value(total),
        known["claim_total_sum"].as_str().unwrap()
    );
}

#[test]
fn a_growing_file_its_name_and_its_folders_land_once() {
    let project = Project::new();
    let yaml = "pipeline: logs\nsource:\n  file: {path: \"data/**/*.csv\", columns: {file: path}, hive: true}\nextract:\n  csv: {}\nload:\n  iceberg: {table: ops.logs}\n";
    project.write("pipelines/logs.yaml", yaml);
    let mut text = "id,note\n".to_owned();
    for id in 1..=3 {
        text.push_str(&format!("{id},\"a\nb\"\n"));
        project.write("data/day=2025-01-31/a.csv", &text);
        project.ok(&["run"]);
    }
    project.write("data/b.csv", "id,note\n9,x\n");
    std::fs::rename(
        project.path().join("data/day=2025-01-31/a.csv"),
        project.path().join("data/day=2025-01-31/moved.csv"),
    )
    .unwrap();
    project.ok(&["run"]);
    let columns = "string_agg(CAST(id AS VARCHAR), ' ' ORDER BY id) || ' ' || max(day) || ' ' || count(day) || ' ' || max(path)";
    let found = project.value(&format!("SELECT {columns} FROM ops.logs"));
    assert_eq!(found, "1 2 3 9 2025-01-31 3 data/day=2025-01-31/a.csv");
    let rebuilt = project.ok(&["rebuild", "ops.logs"]);
    assert!(
        rebuilt.err.contains("ops.logs: equal, 4 rows"),
        "{}",
        rebuilt.err
    );
}

#[test]
fn a_pattern_that_matches_nothing_is_a_warning() {
    let project = Project::new();
    project.write(
        "pipelines/orders.yaml",
        &pipeline("").replace("data/*", "dta/*"),
    );
    project.write("data/a.ndjson", "{\"id\":1}\n");
    let run = project.ok(&["run"]);
    assert!(
        run.err.contains("dta/*.ndjson") && run.err.contains("did you mean data/?"),
        "{}",
        run.err
    );
}

const STATE: &str = "pipeline: state\nsource:\n  file: {path: \"data/*\"}\nextract:\n  csv: {}\nload:\n  iceberg: {table: ops.state}\n";

#[test]
fn a_path_that_comes_back_to_an_earlier_content_lands_again() {
    let project = Project::new();
    project.write("pipelines/state.yaml", STATE);
    for content in ["on", "off", "on", "off", "idle"] {
        project.write("data/latest.csv", &format!("id,s\n1,{content}\n"));
        project.ok(&["run"]);
        project.ok(&["run"]);
    }
    let counts = "SELECT string_agg(s || n, ' ' ORDER BY s) FROM (SELECT s, count(*) n FROM ops.state GROUP BY s)";
    assert_eq!(project.value(counts), "idle1 off2 on2");
    std::fs::remove_file(project.path().join("data/latest.csv")).unwrap();
    project.write("data/other.csv", "id,s\n2,idle\n");
    project.ok(&["run"]);
    project.write("data/latest.csv", "id,s\n1,idle\n");
    project.ok(&["run"]);
    assert_eq!(project.value(counts), "idle3 off2 on2");
    // One commit for each run that loaded something: what became of earlier contents is part of it.
    let commits = "SELECT count(*) FROM lake.commits WHERE run IS NOT NULL";
    assert_eq!(project.value(commits), "7");
}

#[test]
fn a_log_that_grew_before_it_was_rotated_lands_once() {
    let project = Project::new();
    project.write("pipelines/state.yaml", STATE);
    let path = |name: &str| project.path().join(name);
    project.write("data/app.log", "id\n1\n2\n");
    project.ok(&["run"]);
    project.write("data/app.log", "id\n1\n2\n3\n");
    std::fs::rename(path("data/app.log"), path("data/app.log.1")).unwrap();
    project.write("data/app.log", "id\n4\n");
    project.ok(&["run"]);
    let ids = "SELECT string_agg(CAST(id AS VARCHAR), ' ' ORDER BY id) FROM ops.state";
    assert_eq!(project.value(ids), "1 2 3 4");

    // A copy that is made before the log is cut has another inode: nobody can tell, so it is loaded and said.
    std::fs::copy(path("data/app.log"), path("data/app.log.2")).unwrap();
    project.write("data/app.log", "id\n5\n");
    let run = project.ok(&["run"]);
    assert!(
        run.err
            .contains("begins with the content of a removed file"),
        "{}",
        run.err
    );
    assert_eq!(project.value(ids), "1 2 3 4 4 5");
}

#[test]
fn a_preview_shows_the_first_rows() {
    let project = Project::new();
    project.write("pipelines/state.yaml", STATE);
    let lines: String = (1..=2_000).map(|n| format!("{n}\n")).collect();
    project.write("data/1.csv", &format!("id\n{lines}"));
    project.write("data/2.csv", "id\n-1\n");
    for limit in ["1", "3", "7"] {
        let shown = project.ok(&["run", "state", "--limit", limit, "--format", "csv"]);
        let first = 1..=limit.parse().unwrap();
        let expected: Vec<String> = first.map(|n: u32| n.to_string()).collect();
        let rows: Vec<&str> = shown.out.lines().skip(1).collect();
        assert_eq!(rows, expected, "--limit {limit}");
    }
}
