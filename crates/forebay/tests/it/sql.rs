//! SQL steps: records keep their places through them, so that what is refused can be replayed, each record once.

use crate::forebay::Project;

fn pipeline(nested: &str, transform: &str) -> String {
    format!(
        "pipeline: orders\nsource:\n  file: {{path: \"data/*.ndjson\"}}\nextract:\n  json: {{lines: true, nested: {nested}}}\ntransform:\n{transform}load:\n  iceberg: {{table: shop.orders}}\n"
    )
}

fn project(nested: &str, transform: &str, data: &str) -> Project {
    let project = Project::new();
    project.write("pipelines/orders.yaml", &pipeline(nested, transform));
    project.write("data/a.ndjson", data);
    project
}

/// Replays twice after the transform has been fixed: the second time nothing may land.
fn fixed(project: &Project, nested: &str, transform: &str, landed: u64) {
    project.write("pipelines/orders.yaml", &pipeline(nested, transform));
    let replayed = project.run(&["quarantine", "replay", "orders"]);
    let records = if landed == 1 { "record" } else { "records" };
    let told = format!("{landed} {records} landed");
    assert!(replayed.err.contains(&told), "{}", replayed.err);
    let again = project.run(&["quarantine", "replay", "orders"]);
    assert!(again.err.contains("0 records landed"), "{}", again.err);
}

fn quarantined(project: &Project) -> String {
    project.value("SELECT count(*) FROM quarantine.orders WHERE event = 'rejected'")
}

#[test]
fn what_a_later_step_refuses_keeps_its_place_and_lands_once() {
    let statement = "  - sql: SELECT id, qty * 2 AS twice FROM input WHERE id <> 5\n";
    let check = "  - check: [{name: small, where: \"twice < 10\"}]\n";
    let data = (1..=6).map(|n| {
        format!(
            "{{\"id\":{n},\"qty\":{n},\"items\":[{{\"sku\":\"a{n}\"}},{{\"sku\":\"b{n}\"}}]}}\n"
        )
    });
    // Keys go with the SQL step, and children still do not land without their record.
    let project = project(
        "tables",
        &format!("{statement}{check}"),
        &data.collect::<String>(),
    );
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT sum(twice) FROM shop.orders"), "20");
    assert_eq!(quarantined(&project), "1");
    let children = "SELECT count(*) FROM shop.orders__items WHERE sku LIKE '%6'";
    assert_eq!(project.value(children), "0");
    // A row that WHERE leaves out is not refused: its children are there.
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders__items"),
        "10"
    );
    let place = "SELECT count(*) FROM quarantine.orders WHERE \"offset\" > 0 AND stage = 'transform[1]' AND payload LIKE '%a.ndjson'";
    assert_eq!(project.value(place), "1");

    fixed(&project, "tables", statement, 1);
    assert_eq!(project.value("SELECT sum(twice) FROM shop.orders"), "32");
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "5");
    assert_eq!(project.value(children), "2");
}

#[test]
fn a_record_on_which_a_statement_fails_waits_and_the_others_go_on() {
    let cast = "  - sql: SELECT id, CAST(qty AS bigint) AS qty FROM input\n";
    let data = (1..=100).map(|n| {
        let qty = if n % 25 == 0 {
            "many".to_owned()
        } else {
            n.to_string()
        };
        format!("{{\"id\":{n},\"qty\":\"{qty}\"}}\n")
    });
    let project = project("flatten", cast, &data.collect::<String>());
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "96");
    let shown = project
        .ok(&["quarantine", "ls", "orders", "--format", "ndjson"])
        .out;
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert!(shown.contains("bad_cast"), "{shown}");
    let record = project.value(
        "SELECT CAST(record AS VARCHAR) LIKE '{\"id\":25,\"qty\":\"many\"%' FROM quarantine.orders ORDER BY id LIMIT 1",
    );
    assert_eq!(record, "true");

    fixed(
        &project,
        "flatten",
        "  - sql: SELECT id, TRY_CAST(qty AS bigint) AS qty FROM input\n",
        4,
    );
    assert_eq!(
        project.value("SELECT count(DISTINCT id) FROM shop.orders WHERE qty IS NULL"),
        "4"
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "100");
}

#[test]
fn a_record_of_several_rows_is_refused_and_lands_as_a_whole() {
    let unnest = "  - sql: SELECT id, unnest(xs) AS x FROM input\n";
    let check = "  - check: [{name: small, where: \"x < 10\"}]\n";
    let data = "{\"id\":1,\"xs\":[1,2]}\n{\"id\":2,\"xs\":[3,40,5,60]}\n{\"id\":3,\"xs\":[7]}\n";
    let project = project("keep", &format!("{unnest}{check}"), data);
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT sum(x) FROM shop.orders"), "10");
    assert_eq!(quarantined(&project), "1");
    // Refused again, it does not land in part.
    project.run(&["quarantine", "replay", "orders"]);
    assert_eq!(project.value("SELECT sum(x) FROM shop.orders"), "10");

    fixed(&project, "keep", unnest, 1);
    assert_eq!(
        project.value("SELECT sum(x) FROM shop.orders WHERE id = 2"),
        "108"
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "7");
}

#[test]
fn a_condition_that_fails_on_a_value_refuses_that_row() {
    let rules = "  - check: [{name: ratio, where: \"10 / qty > 1\"}]\n";
    let data = "{\"id\":1,\"qty\":2}\n{\"id\":2,\"qty\":0}\n{\"id\":3,\"qty\":50}\n";
    let project = project("flatten", rules, data);
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "1");
    let codes = "SELECT string_agg(code, ' ' ORDER BY id) FROM quarantine.orders";
    assert_eq!(project.value(codes), "divide_by_zero check_failed");
    fixed(
        &project,
        "flatten",
        "  - check: [{name: ratio, where: \"id > 0\"}]\n",
        2,
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "3");
}

#[test]
fn a_record_on_which_a_join_or_a_sort_fails_waits_and_the_others_go_on() {
    let names = "(VALUES (1, 'one'), (2, 'two')) AS names(id, name)";
    let cast = "CAST(qty AS bigint) AS qty";
    for step in [
        format!("SELECT id, {cast} FROM input ORDER BY id"),
        format!("SELECT input.id, {cast}, name FROM input LEFT JOIN {names} USING (id)"),
        format!(
            "SELECT id, {cast} FROM input WHERE id < 2 UNION ALL SELECT id, {cast} FROM input WHERE id > 1"
        ),
    ] {
        let data =
            "{\"id\":1,\"qty\":\"5\"}\n{\"id\":2,\"qty\":\"many\"}\n{\"id\":3,\"qty\":\"7\"}\n";
        let project = project("flatten", &format!("  - sql: \"{step}\"\n"), data);
        project.ok(&["run"]);
        assert_eq!(
            project.value("SELECT sum(qty) FROM shop.orders"),
            "12",
            "{step}"
        );
        assert_eq!(quarantined(&project), "1", "{step}");
        let payloads = "SELECT count(payload) FROM quarantine.orders WHERE code = 'bad_cast'";
        assert_eq!(project.value(payloads), "1", "{step}");
    }
}

#[test]
fn a_list_on_whose_value_a_cast_fails_is_refused_alone() {
    let step = "SELECT id, CAST(l AS bigint[]) AS l, s['k'] AS k FROM input";
    let data = "{\"id\":1,\"l\":[\"1\"],\"s\":{\"k\":[1]}}\n{\"id\":2,\"l\":[\"x\"],\"s\":{\"k\":[2]}}\n{\"id\":3,\"l\":[\"3\",null],\"s\":{\"k\":[3]}}\n";
    let project = project("keep", &format!("  - sql: \"{step}\"\n"), data);
    project.ok(&["run"]);
    let lists = "SELECT sum(l[1] * 10 + k[1]) FROM shop.orders";
    assert_eq!(project.value(lists), "44");
    assert_eq!(quarantined(&project), "1");
}

#[test]
fn an_error_names_its_place_in_the_whole_text() {
    let project = Project::new();
    project.write("q.sql", "SELECT 1;\n\n  SELECT\n    2;\nSELECT no_column\n");
    project.write(
        "marked.sql",
        "\u{feff}SELECT 1;\n  SELECT 1 / (id - 1) FROM (VALUES (1)) t(id);\n",
    );
    project.write("tests/a.sql", "SELECT 1 WHERE false;\nSELECT no_column\n");
    project.write("pipelines/a.yaml", "pipeline: a\nsource: {file: {path: a.csv}}\nextract: {csv: {}}\nload: {iceberg: {table: a.b}}\n");
    project.write("a.csv", "a\n1\n");
    project.ok(&["run"]);
    for (args, place) in [
        (&["sql", "SELECT 1; SELECT no_column"][..], " 1:18: "),
        (&["sql", "SELECT 'é;'; SELECT 1 1"], " 1:23: "),
        (&["sql", "-f", "q.sql"], " q.sql:5:8: "),
        (&["sql", "SELECT 1; SELECT sum(; SELECT 2"], " 1:22: "),
        (
            &["sql", "SELECT 1; -- one\n SELECT 1 / 0; SELECT 2"],
            " 2:2: ",
        ),
        (&["sql", "-f", "marked.sql"], " marked.sql:2:3: "),
        (&["test"], " 2:8: "),
    ] {
        let wrong = project.run(args);
        assert_ne!(wrong.code, 0);
        assert!(wrong.err.contains(place), "{place}: {}", wrong.err);
    }
}

#[test]
fn a_refused_row_of_csv_has_its_line_at_every_step() {
    let project = Project::new();
    project.write("pipelines/a.yaml", "pipeline: a\nsource: {file: {path: 'in/*'}}\nextract: {csv: {}}\nschema: {columns: {id: {type: long, check: 'value <> 2'}}}\ntransform:\n  - cast: {n: long}\n  - sql: SELECT id, 10 / n AS part FROM input\n  - check: [{name: small, where: part < 10}]\nload: {iceberg: {table: a.b}}\n");
    // A value over two lines, so that lines and records differ.
    project.write(
        "in/a.csv",
        "id,n,t\n1,2,\"a\nb\"\n2,2,\n3,2.5,\n4,0,\n5,1,\n6,2,\n",
    );
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM a.b"), "2");
    let lines = "SELECT string_agg(concat(stage, ' ', line), ', ' ORDER BY line) FROM quarantine.a";
    assert_eq!(
        project.value(lines),
        "\"extract 4, transform[0] 5, transform[1] 6, transform[2] 7\""
    );
}

#[test]
fn a_refused_line_of_json_has_its_number_at_every_step() {
    let project = Project::new();
    project.write("pipelines/a.yaml", "pipeline: a\nsource: {file: {path: 'in/*'}}\nextract: {json: {}}\ntransform:\n  - cast: {n: long}\n  - sql: SELECT id, 10 / n AS part FROM input\n  - check: [{name: small, where: part < 10}]\nload: {iceberg: {table: a.b}}\n");
    let lines = [
        ("1", "\"2\""),
        ("2", "\"2.5\""),
        ("3", "\"0\""),
        ("4", "\"1\""),
    ];
    let lines = lines.map(|(id, n)| format!("{{\"id\":{id},\"n\":{n}}}\n\n"));
    project.write("in/a.ndjson", &lines.concat());
    project.ok(&["run"]);
    let lines = "SELECT string_agg(concat(stage, ' ', line), ', ' ORDER BY line) FROM quarantine.a";
    assert_eq!(
        project.value(lines),
        "\"transform[0] 3, transform[1] 5, transform[2] 7\""
    );
}

#[test]
fn a_limit_holds_in_whatever_order_columns_are_asked_for() {
    let project = Project::new();
    project.write(
        "pipelines/p.yaml",
        "pipeline: p\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {}}\nload: {iceberg: {table: a.b}}\n",
    );
    for file in 1..4 {
        project.write(&format!("in/{file}.ndjson"), "{\"k\": 1}\n");
        project.ok(&["run", "--quiet"]);
    }
    for columns in [
        "at, id FROM lake.commits",
        "files, \"table\" FROM lake.tables",
        "table_name, table_schema FROM information_schema.tables",
        "column2, column1 FROM (VALUES (1, 2), (3, 4))",
    ] {
        let counted = crate::kafka::rows(&project, &format!("SELECT {columns} LIMIT 1"));
        assert_eq!(counted.len(), 1, "{columns}: {counted:?}");
    }
}
