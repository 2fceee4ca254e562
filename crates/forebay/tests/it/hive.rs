//! Columns from the names of files and folders: declared types, rows of refused values, partitions.

use crate::forebay::Project;

const LOAD: &str = "load:\n  iceberg: {table: ops.logs}\n";

fn pipeline(extract: &str, schema: &str) -> String {
    format!(
        "pipeline: logs\nsource:\n  file: {{path: \"data/**/*\", hive: true, columns: {{file: src}}}}\nextract:\n  {extract}\n{schema}{LOAD}"
    )
}

const DECLARED: &str = "schema:\n  columns:\n    date: {type: date, required: true}\n    region: {type: string, required: true}\n    src: {type: string, required: true}\n    id: {type: long, required: true}\n";

#[test]
fn declared_columns_of_names_have_the_values_of_the_names_in_their_type() {
    for (extract, name, text) in [
        ("csv: {}", "a.csv", "id\n1\n2\n"),
        (
            "json: {nested: tables}",
            "a.ndjson",
            "{\"id\":1}\n{\"id\":2}\n",
        ),
    ] {
        let project = Project::new();
        project.write("pipelines/logs.yaml", &pipeline(extract, DECLARED));
        let path = format!("data/date=2025-01-31/region=eu/{name}");
        project.write(&path, text);
        project.ok(&["run"]);
        let found = "count(*) || ' ' || max(date + INTERVAL '1 day') || ' ' || min(region) || ' ' || min(src)";
        let found = project.value(&format!("SELECT {found} FROM ops.logs"));
        assert_eq!(found, format!("2 2025-02-01 eu {path}"));
        let columns = "SELECT string_agg(column_name || ':' || data_type, ' ' ORDER BY column_name) FROM information_schema.columns WHERE table_name = 'logs' AND column_name IN ('date', 'src', 'src_2', 'region')";
        let columns = project.value(columns);
        assert_eq!(columns, "date:date region:text src:text");
        let rebuilt = project.ok(&["rebuild", "ops.logs"]);
        assert!(
            rebuilt.err.contains("ops.logs: equal, 2 rows"),
            "{}",
            rebuilt.err
        );
    }
}

#[test]
fn a_name_that_does_not_fit_its_declared_type_refuses_the_records_with_their_children() {
    let project = Project::new();
    let yaml = "pipelines/logs.yaml";
    let json = "json: {nested: tables}";
    project.write(yaml, &pipeline(json, DECLARED));
    project.write(
        "data/date=2025-01-31/region=eu/a.ndjson",
        "{\"id\":1,\"items\":[{\"n\":1}]}\n",
    );
    let own = "{\"id\":2,\"items\":[{\"n\":2}]}\n{\"id\":3,\"date\":\"2024-12-31\",\"items\":[{\"n\":3}]}\n";
    project.write("data/date=latest/region=eu/b.ndjson", own);
    project.write("data/region=eu/c.ndjson", "{\"id\":4}\n");
    project.ok(&["run"]);
    let rows = "SELECT string_agg(id || ':' || date, ' ' ORDER BY id) FROM ops.logs";
    assert_eq!(project.value(rows), "1:2025-01-31 3:2024-12-31");
    let children = "SELECT string_agg(CAST(n AS VARCHAR), ' ' ORDER BY n) FROM ops.logs__items";
    assert_eq!(project.value(children), "1 3");
    let codes = "SELECT string_agg(code, ' ' ORDER BY code) FROM quarantine.logs";
    assert_eq!(project.value(codes), "required_missing type_mismatch");

    project.write(
        yaml,
        &pipeline(
            json,
            &DECLARED.replace("{type: date, required: true}", "{type: date}"),
        ),
    );
    std::fs::remove_dir_all(project.path().join("data")).unwrap();
    let replayed = project.run(&["quarantine", "replay", "logs"]);
    assert!(replayed.err.contains("1 record landed"), "{}", replayed.err);
    assert_eq!(
        project.value("SELECT count(*) FROM ops.logs WHERE date IS NULL"),
        "1"
    );
}

#[test]
fn a_table_is_partitioned_by_a_folder_that_the_first_file_is_not_in() {
    for schema in ["", "schema: {columns: {region: {type: string}}}\n"] {
        let project = Project::new();
        let yaml =
            pipeline("csv: {}", schema).replace("ops.logs}", "ops.logs, partition: [region]}");
        project.write("pipelines/logs.yaml", &yaml);
        project.write("data/a.csv", "id\n1\n");
        project.ok(&["run"]);
        project.write("data/region=eu/b.csv", "id\n2\n");
        project.ok(&["run"]);
        let rows = "SELECT string_agg(id || coalesce(region, '-'), ' ' ORDER BY id) FROM ops.logs";
        assert_eq!(project.value(rows), "1- 2eu");
    }
}

#[test]
fn a_run_that_refused_every_record_is_recorded_as_failed() {
    let project = Project::new();
    let yaml = pipeline("csv: {}", "schema: {columns: {id: {type: long}}}\n");
    project.write("pipelines/logs.yaml", &yaml);
    project.write("data/a.csv", "id\nx\n");
    let run = project.run(&["run"]);
    assert!(
        run.err.contains("error[all_records_refused]"),
        "{}",
        run.err
    );
    let runs = project.ok(&["runs", "ls", "--format", "ndjson"]).out;
    assert!(
        runs.contains("\"failed\"") && !runs.contains("succeeded"),
        "{runs}"
    );
    // The source has moved on: another run has nothing to read, and does not fail.
    project.ok(&["run"]);
    let runs = project.ok(&["runs", "ls", "--format", "ndjson"]).out;
    assert!(runs.contains("\"succeeded\""), "{runs}");
}

#[test]
fn a_replay_into_files_is_neither_promised_nor_done() {
    let project = Project::new();
    let yaml = pipeline("csv: {}", "schema: {columns: {id: {type: long}}}\n");
    let yaml = yaml.replace(LOAD, "load:\n  file: {path: out, format: ndjson}\n");
    project.write("pipelines/logs.yaml", &yaml);
    project.write("data/a.csv", "id\nx\n");
    let run = project.run(&["run"]);
    assert!(!run.err.contains("quarantine replay"), "{}", run.err);
    assert!(run.err.contains("forebay run logs --full"), "{}", run.err);
    let replay = project.run(&["quarantine", "replay", "logs"]);
    assert!(replay.err.contains("not supported"), "{}", replay.err);
    assert!(
        replay.err.contains("forebay run logs --full"),
        "{}",
        replay.err
    );
}

#[test]
fn a_misspelled_column_of_a_folder_is_refused_and_nothing_moves() {
    for (schema, load) in [
        (
            "schema: {columns: {regoin: {type: string}}}\n",
            LOAD.to_owned(),
        ),
        (
            "",
            LOAD.replace("ops.logs}", "ops.logs, partition: [regoin]}"),
        ),
    ] {
        let project = Project::new();
        let yaml = pipeline("csv: {}", schema).replace(LOAD, &load);
        project.write("pipelines/logs.yaml", &yaml);
        project.write("data/region=eu/a.csv", "id\n1\n");
        let run = project.run(&["run"]);
        assert!(run.err.contains("folder_misspelled"), "{}", run.err);
        assert!(
            run.err.contains("write `region` in place of `regoin`"),
            "{}",
            run.err
        );
        project.write("pipelines/logs.yaml", &yaml.replace("regoin", "region"));
        project.ok(&["run"]);
        assert_eq!(project.value("SELECT region FROM ops.logs"), "eu");
    }
    // Two columns, one of which some records have.
    let project = Project::new();
    let columns = "{regions: {type: string}, region: {type: string}}";
    let schema = format!("schema: {{columns: {columns}}}\n");
    project.write("pipelines/logs.yaml", &pipeline("csv: {}", &schema));
    project.write("data/region=eu/a.csv", "id,regions\n1,\n");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT region FROM ops.logs"), "eu");
}
