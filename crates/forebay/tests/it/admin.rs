//! What a user administers from the command line: previews, drops, resets, branches, and a project with an invalid file.

use crate::forebay::Project;

const PIPELINE: &str = "pipeline: orders\nsource:\n  file: {path: \"data/*.ndjson\"}\nextract:\n  json: {lines: true, nested: tables}\nload:\n  iceberg: {table: shop.orders}\n";

fn project(rows: usize) -> Project {
    let project = Project::new();
    project.write("pipelines/orders.yaml", PIPELINE);
    let lines = (0..rows).map(|n| format!("{{\"id\":{n},\"items\":[{{\"sku\":\"a{n}\"}}]}}\n"));
    project.write("data/a.ndjson", &lines.collect::<String>());
    project
}

fn tables(project: &Project) -> Vec<String> {
    let listed = project.ok(&["tables", "--format", "csv"]).out;
    let names = listed.lines().skip(1);
    names
        .map(|line| line.split(',').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_preview_shows_rows_and_keeps_nothing() {
    let project = project(5_000);
    let shown = project.ok(&["run", "orders", "--limit", "3", "--format", "ndjson"]);
    assert_eq!(shown.out.lines().count(), 3, "{}", shown.out);
    assert_eq!(tables(&project), Vec::<String>::new());
    let branches = project.ok(&["branch", "ls", "--format", "csv"]).out;
    assert_eq!(branches.lines().count(), 2, "{branches}");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "5000");
}

#[test]
fn a_reset_pipeline_starts_from_nothing() {
    let project = project(10);
    project.ok(&["run"]);
    let planned = project.ok(&["pipeline", "reset", "orders"]);
    assert!(
        planned.err.contains("would drop table shop.orders"),
        "{}",
        planned.err
    );
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "10");
    project.ok(&["pipeline", "reset", "orders", "--yes"]);
    let left = tables(&project);
    assert!(
        !left.iter().any(|table| table.contains("orders")),
        "{left:?}"
    );
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "10");
    assert_eq!(project.value("SELECT count(*) FROM raw.orders"), "1");
    project.ok(&["rebuild", "shop.orders"]);
}

#[test]
fn a_reset_refuses_to_drop_the_rows_of_another_pipeline() {
    let project = project(1);
    let other = PIPELINE.replace("pipeline: orders", "pipeline: more");
    project.write("pipelines/more.yaml", &other);
    let refused = project.run(&["pipeline", "reset", "orders", "--yes"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("shared_table"), "{}", refused.err);
}

#[test]
fn a_dropped_table_stays_readable_in_the_past() {
    let project = project(4);
    project.ok(&["run"]);
    let refused = project.run(&["tables", "drop", "shop.orders"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    let before = project.value("SELECT at FROM lake.commits ORDER BY at DESC LIMIT 1");
    let planned = project.ok(&["tables", "drop", "shop.orders", "--force"]);
    assert!(planned.err.contains("pass --yes"), "{}", planned.err);
    assert!(tables(&project).contains(&"shop.orders".to_owned()));
    project.ok(&["tables", "drop", "shop.orders", "--force", "--yes"]);
    assert!(!tables(&project).contains(&"shop.orders".to_owned()));
    let then = format!("SELECT count(*) FROM shop.orders FOR SYSTEM_TIME AS OF '{before}'");
    assert_eq!(project.value(&then), "4");
    let system = project.run(&["tables", "drop", "raw.orders"]);
    assert!(
        system.err.contains("pipeline reset orders"),
        "{}",
        system.err
    );
    let missing = project.run(&["tables", "drop", "shop.nothing"]);
    assert!(missing.err.contains("no_such_table"), "{}", missing.err);
}

#[test]
fn branches_are_listed_created_and_dropped() {
    let project = project(1);
    project.ok(&["run"]);
    project.ok(&["branch", "create", "staging"]);
    project.write("data/b.ndjson", "{\"id\":7,\"items\":[]}\n");
    project.ok(&["run", "--branch", "staging"]);
    let staged = project.ok(&[
        "sql",
        "--branch",
        "staging",
        "SELECT count(*) FROM shop.orders",
        "--format",
        "csv",
    ]);
    assert_eq!(staged.out.lines().nth(1), Some("2"));
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "1");
    project.ok(&["branch", "drop", "staging"]);
    let gone = project.run(&["branch", "drop", "staging"]);
    assert!(gone.err.contains("no_such_branch"), "{}", gone.err);
}

#[test]
fn an_invalid_file_stops_no_other_pipeline() {
    let project = project(2);
    project.write("pipelines/broken.yaml", "pipeline: broken\nsource: [\n");
    let ran = project.run(&["run"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("broken.yaml"), "{}", ran.err);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "2");
    project.ok(&["rebuild", "shop.orders"]);
}

#[test]
fn two_files_with_one_name_are_an_error_of_the_second() {
    let project = project(2);
    project.write("pipelines/second.yaml", PIPELINE);
    for command in ["check", "run"] {
        let said = project.run(&[command]);
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains("duplicate_pipeline"), "{}", said.err);
    }
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "2");
}

#[test]
fn commands_that_read_create_nothing_without_a_project() {
    let project = Project::new();
    for command in [
        &["sql", "select 1"][..],
        &["tables"],
        &["runs", "ls"],
        &["quarantine", "ls"],
    ] {
        let said = project.run(command);
        assert!(said.err.contains("no_project"), "{}", said.err);
    }
    assert_eq!(std::fs::read_dir(project.path()).unwrap().count(), 0);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let project = project(20_000);
    project.ok(&["run"]);
    let binary = project.command(&[]).get_program().to_owned();
    for format in ["csv", "ndjson", "json", "markdown", "table"] {
        let script = format!(
            "set -o pipefail; \"$0\" sql 'SELECT * FROM shop.orders' --format {format} | head -1 >/dev/null"
        );
        let mut shell = std::process::Command::new("bash");
        shell
            .args(["-c", &script])
            .arg(&binary)
            .current_dir(project.path());
        for (name, value) in project.environment() {
            shell.env(name, value);
        }
        let done = shell.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{format}: {said}");
    }
}

#[test]
fn a_pipeline_is_generated_for_a_file_at_hand() {
    let project = Project::new();
    project.write("Sales 2024.csv", "id;price\n1;2\n2;3\n");
    project.ok(&["init", "--from", "Sales 2024.csv"]);
    project.ok(&["check"]);
    project.ok(&["run", "sales_2024"]);
    assert_eq!(project.value("SELECT sum(price) FROM main.sales_2024"), "5");
    let again = project.run(&["init", "--from", "Sales 2024.csv"]);
    assert!(again.err.contains("pipeline_exists"), "{}", again.err);
}

#[test]
fn hostile_text_reaches_no_terminal_as_escape_sequences() {
    let project = Project::new();
    project.write("pipelines/orders.yaml", PIPELINE);
    let hostile = "\\u001b]52;c;cm0gLXJmIC8K\\u0007\\u202e\\u009b2J";
    project.write(
        "data/a.ndjson",
        &format!("{{\"id\":1,\"note\":\"{hostile}\"}}\n"),
    );
    project.ok(&["run"]);
    let table = project.ok(&["sql", "SELECT note FROM shop.orders"]);
    let error = project.run(&["sql", "SELECT CAST(note AS int) FROM shop.orders"]);
    for text in [table.out, error.err] {
        let sent = text
            .chars()
            .any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
        assert!(!sent, "{text:?}");
    }
}

#[test]
fn a_quarantine_that_is_empty_says_so() {
    let project = project(1);
    project.ok(&["run"]);
    let said = project.ok(&["quarantine", "ls", "orders"]);
    assert!(said.err.contains("no rejected records"), "{}", said.err);
    let unknown = project.run(&["quarantine", "ls", "order"]);
    assert!(
        unknown.err.contains("did you mean `orders`?"),
        "{}",
        unknown.err
    );
}
