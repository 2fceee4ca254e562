//! What the command line says and which codes it ends with.

use crate::forebay::Project;

#[test]
fn help_names_every_command_and_starts_with_what_it_is_for() {
    let help = Project::new().ok(&["--help"]).out;
    assert!(
        help.starts_with("Data pipelines and a lakehouse in one binary"),
        "{help}"
    );
    for command in [
        "demo",
        "init",
        "check",
        "run",
        "sql",
        "test",
        "tables",
        "branch",
        "pipeline",
        "runs",
        "quarantine",
        "rebuild",
        "schema",
        "components",
        "explain",
        "completions",
    ] {
        assert!(
            help.contains(&format!("\n  {command}")),
            "{command} is missing:\n{help}"
        );
    }
}

#[test]
fn a_wrong_file_gets_all_its_errors_at_once_and_exit_code_2() {
    let project = Project::new();
    project.write("pipelines/a.yaml", "pipeline: a\nsource:\n  fil: {path: x}\nextract:\n  json: {linse: true}\nload:\n  stdout: {format: ndjsn}\n");
    let answer = project.run(&["check"]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    for part in [
        "a.yaml:3:3",
        "`file`",
        "a.yaml:5:10",
        "`lines`",
        "a.yaml:7:20",
        "`ndjson`",
        "3 errors",
    ] {
        assert!(
            answer.err.contains(part),
            "{part} is missing:\n{}",
            answer.err
        );
    }
}

#[test]
fn mistakes_in_several_steps_and_files_are_all_reported() {
    let project = Project::new();
    for name in ["a", "b"] {
        let text = format!(
            "pipeline: {name}\nsource: {{file: {{path: x}}}}\nextract: {{json: {{}}}}\ntransform:\n  - sql: SELEC 1\n  - check:\n      - {{name: x, where: id >}}\n      - {{name: y, where: 1 +}}\n  - sql: SELECT nope(1) FROM input\nload: {{stdout: {{}}}}\n"
        );
        project.write(&format!("pipelines/{name}.yaml"), &text);
    }
    let answer = project.run(&["check"]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    for name in ["a", "b"] {
        for line in [5, 7, 8, 9] {
            let place = format!("{name}.yaml:{line}:");
            assert!(answer.err.contains(&place), "{place}\n{}", answer.err);
        }
    }
    assert!(answer.err.contains("8 errors in 2 files"), "{}", answer.err);
}

#[test]
fn check_finds_faults_of_declared_types() {
    let project = Project::new();
    let file = |steps: &str| {
        format!(
            "pipeline: a\nsource: {{file: {{path: x}}}}\nextract: {{json: {{}}}}\nschema: {{columns: {{name: {{type: string}}, n: {{type: long}}}}}}\ntransform:\n{steps}load: {{iceberg: {{table: a.b}}}}\n"
        )
    };
    for (steps, place) in [
        (
            "  - sql: SELECT other, name - 1 AS x FROM input\n",
            "a.yaml:6:",
        ),
        (
            "  - rename: {n: m}\n  - sql: SELECT name FROM input WHERE m\n",
            "a.yaml:7:",
        ),
        (
            "  - cast: {q: boolean}\n  - sql: SELECT q + n AS x FROM input\n",
            "a.yaml:7:",
        ),
        (
            "  - sql: SELECT n > 1 AS big, name FROM input\n  - sql: SELECT big + 1 AS x FROM input\n",
            "a.yaml:7:",
        ),
    ] {
        project.write("pipelines/a.yaml", &file(steps));
        let answer = project.run(&["check"]);
        assert_eq!(answer.code, 2, "{steps}: {}{}", answer.out, answer.err);
        assert!(answer.err.contains(place), "{steps}: {}", answer.err);
    }
    project.write(
        "pipelines/a.yaml",
        &file("  - sql: SELECT name || n AS x, other - 1 AS y FROM input WHERE flag\n"),
    );
    project.ok(&["check"]);
}

#[test]
fn no_message_repeats_a_large_value() {
    const BYTES_MAX: usize = 6 << 10;
    let project = Project::new();
    let value = "x".repeat(1 << 20);
    let pipeline = |statement: &str| {
        format!(
            "pipeline: a\nsource: {{file: {{path: 'in/*'}}}}\nextract: {{json: {{lines: true}}}}\ntransform:\n  - sql: {statement}\nload: {{iceberg: {{table: a.b}}}}\n"
        )
    };
    project.write(
        "in/a",
        &format!("{{\"id\": 1, \"v\": \"7\"}}\n{{\"id\": 2, \"v\": \"{value}\"}}\n"),
    );
    let name = "y".repeat(100 << 10);
    let wrong = project.run(&["sql", &format!("SELECT {name}")]);
    assert!(wrong.err.len() < BYTES_MAX, "{}", wrong.err.len());
    for statement in [
        format!("SELEC {name}"),
        format!("SELECT {name}(id) FROM input"),
    ] {
        project.write("pipelines/a.yaml", &pipeline(&statement));
        let wrong = project.run(&["check"]);
        assert_eq!(wrong.code, 2);
        assert!(wrong.err.len() < BYTES_MAX, "{}", wrong.err.len());
    }
    // Only the first rows show that the column does not exist.
    let statement = format!("SELECT id, {name} FROM input");
    project.write("pipelines/a.yaml", &pipeline(&statement));
    let failed = project.run(&["run"]);
    assert_ne!(failed.code, 0);
    assert!(failed.err.len() < BYTES_MAX, "{}", failed.err.len());
    let runs = project.ok(&["runs", "ls", "--format", "json"]);
    assert!(runs.out.len() < BYTES_MAX, "{}", runs.out.len());
    project.write(
        "pipelines/a.yaml",
        &pipeline("SELECT id, CAST(v AS bigint) AS v FROM input"),
    );
    project.ok(&["run"]);
    let reasons = "SELECT length(reason) BETWEEN 20 AND 2048 FROM quarantine.a";
    assert_eq!(project.value(reasons), "true");
}

#[test]
fn a_pipeline_that_is_not_there_gets_a_suggestion() {
    let project = Project::new();
    project.ok(&["init"]);
    let answer = project.run(&["run", "ordres"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.contains("did you mean `orders`?"),
        "{}",
        answer.err
    );
}

#[test]
fn a_new_project_runs() {
    let project = Project::new();
    project.ok(&["init"]);
    project.ok(&["check"]);
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT item FROM shop.orders"), "tea");
    let again = project.ok(&["run"]);
    assert!(again.err.contains("0 rows"), "{}", again.err);
    assert_eq!(project.run(&["init"]).code, 2);
    let runs = project.ok(&["runs", "ls", "--format", "csv"]).out;
    assert_eq!(runs.lines().count(), 3, "{runs}");
    let id = runs
        .lines()
        .nth(1)
        .and_then(|line| line.split(',').next())
        .unwrap()
        .to_owned();
    let steps = project.ok(&["runs", "show", &id, "--format", "csv"]).out;
    assert!(steps.contains("extract"), "{steps}");
}

#[test]
fn sql_reads_and_nothing_else() {
    let project = Project::new();
    project.write("forebay.toml", "");
    for statement in [
        "DROP TABLE a.b",
        "COPY (SELECT 1) TO 'x.csv'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "SELECT * FROM '/etc/passwd'",
    ] {
        let answer = project.run(&["sql", "--read-only", statement]);
        assert_eq!(answer.code, 2, "{statement}: {}", answer.err);
    }
    for statement in ["CREATE VIEW a.v AS SELECT 1", "COPY (SELECT 1) TO 'x.csv'"] {
        let answer = project.run(&["sql", statement]);
        assert_eq!(answer.code, 2, "{statement}: {}", answer.err);
    }
    assert_eq!(project.value("SELECT 40 + 2"), "42");
    assert_eq!(project.run(&["sql", "SELECT 1/0"]).code, 1);
}

#[test]
fn a_server_that_is_not_there_is_exit_code_4() {
    let project = Project::new();
    let pipeline = "pipeline: a\nsource:\n  http: {url: \"http://127.0.0.1:9/x\", allow_private: true, retry: {attempts: 2, max_delay: 10ms}}\nextract:\n  json: {}\nload:\n  iceberg: {table: a.b}\n";
    project.write("pipelines/a.yaml", pipeline);
    let answer = project.run(&["run"]);
    assert_eq!(answer.code, 4, "{}", answer.err);
    assert!(
        answer.err.contains("to resume: forebay run a"),
        "{}",
        answer.err
    );
    assert_eq!(project.value("SELECT count(*) FROM audit.requests"), "2");
    assert!(
        project
            .ok(&["runs", "ls", "--format", "csv"])
            .out
            .contains("failed")
    );
}

#[test]
fn the_schema_is_json_and_refuses_what_is_unknown() {
    let text = Project::new().ok(&["schema"]).out;
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(schema["additionalProperties"], serde_json::json!(false));
    assert!(
        Project::new()
            .ok(&["completions", "bash"])
            .out
            .contains("forebay")
    );
}
