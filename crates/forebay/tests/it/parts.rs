//! A file that is too large for one commit: taken in parts, killed between them, replayed and made again.

use std::time::Duration;

use crate::forebay::Project;

const ROWS: usize = 300_000;

/// Rows with too few fields, or too many.
fn is_ragged(n: usize) -> bool {
    n % 50_000 == 49_999
}

/// More than 16 MiB, so that the source offers positions inside; a third of the lines end inside quotes.
fn csv() -> String {
    let row = |n: usize| match n {
        n if is_ragged(n) => format!("{n}\n"),
        n => format!(
            "{n},\"first line of {n}\nsecond, and \"\"last\"\" of {n}\",{}\n",
            n * 7
        ),
    };
    let rows: String = (0..ROWS).map(row).collect();
    format!("id,text,number\n{rows}")
}

fn ndjson() -> String {
    let row = |n: usize| match n {
        n if is_ragged(n) => format!("{{\"id\":{n}}}\n"),
        n => format!(
            "{{\"id\":{n},\"text\":\"the text of row {n}, longer than it need be\",\"number\":{n}}}\n"
        ),
    };
    (0..ROWS).map(row).collect()
}

fn pipeline(extract: &str, columns: &str) -> String {
    format!(
        "pipeline: big\nsource:\n  file: {{path: \"data/*\"}}\nextract: {extract}\nschema:\n  columns: {{{columns}}}\nbuffer: {{rows: 20_000}}\nload:\n  iceberg: {{table: a.big}}\n"
    )
}

/// Starts a run, waits for its first commit of rows, and kills it.
fn kill_after_the_first_commit(project: &Project) {
    let mut run = std::process::Command::new(assert_cmd::cargo::cargo_bin("forebay"))
        .current_dir(project.path())
        .args(["run"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        std::thread::sleep(Duration::from_millis(50));
        let tables = project.run(&["tables"]);
        if tables.out.contains("a.big") || run.try_wait().unwrap().is_some() {
            break;
        }
    }
    run.kill().unwrap();
    run.wait().unwrap();
}

fn check(extract: &str, columns: &str, fixed: (&str, &str), file: &str, text: &str) {
    let project = Project::new();
    let yaml = "pipelines/big.yaml";
    project.write(yaml, &pipeline(extract, columns));
    project.write(file, text);
    kill_after_the_first_commit(&project);
    let rows = |what: &str| project.value(&format!("SELECT count({what}) FROM a.big"));
    let taken: usize = rows("*").parse().unwrap();
    assert!(
        taken > 0 && taken < ROWS - 10,
        "{taken} rows before the kill"
    );
    project.ok(&["run"]);
    let refused = (0..ROWS).filter(|n| is_ragged(*n)).count();
    let good = (ROWS - refused).to_string();
    assert_eq!((rows("*"), rows("DISTINCT id")), (good.clone(), good));
    let waiting = project.ok(&[
        "quarantine",
        "ls",
        "big",
        "--format",
        "ndjson",
        "--limit",
        "1000",
    ]);
    assert_eq!(waiting.out.lines().count(), refused, "{}", waiting.out);
    let rebuilt = project.ok(&["rebuild", "a.big"]);
    assert!(rebuilt.err.contains("a.big: equal"), "{}", rebuilt.err);

    project.write(yaml, &pipeline(fixed.0, fixed.1));
    let replayed = project.ok(&["quarantine", "replay", "big"]);
    assert!(
        replayed.err.contains(&format!("{refused} records landed")),
        "{}",
        replayed.err
    );
    assert_eq!(
        (rows("*"), rows("DISTINCT id")),
        (ROWS.to_string(), ROWS.to_string())
    );
}

#[test]
fn a_large_csv_file_is_committed_in_parts_and_survives_a_kill() {
    let text = csv();
    assert!(text.len() > 16 << 20, "{}", text.len());
    let columns = "id: {type: long}, text: {type: string}, number: {type: long}";
    let fixed = ("{csv: {ragged: fill}}", columns);
    check("{csv: {}}", columns, fixed, "data/a.csv", &text);
}

#[test]
fn a_large_ndjson_file_is_committed_in_parts_and_every_part_can_be_replayed() {
    let text = ndjson();
    assert!(text.len() > 16 << 20, "{}", text.len());
    let lines = "{json: {lines: true}}";
    let columns = "number: {type: long, required: true}";
    check(
        lines,
        columns,
        (lines, "number: {type: long}"),
        "data/a.ndjson",
        &text,
    );
}
