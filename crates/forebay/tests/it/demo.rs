//! The demo, run twice and once more, and the project that it leaves.

use crate::forebay::Project;

#[test]
fn the_demo_pulls_everything_then_only_what_is_new() {
    let project = Project::new();
    let first = project.ok(&["demo", "--port", "0"]);
    assert!(
        first.err.contains("1,507 rows committed, each once"),
        "{}",
        first.err
    );
    assert!(
        !first.err.contains(" 0 of them repeated"),
        "the API's bad days must be met:\n{}",
        first.err
    );

    let second = project.ok(&["demo", "--port", "0"]);
    assert!(
        second.err.contains("200 rows committed, each once"),
        "{}",
        second.err
    );

    let third = project.ok(&["demo", "--port", "0"]);
    assert!(
        third.err.contains("nothing new since the last run"),
        "{}",
        third.err
    );

    let at = |args: &[&str]| {
        let mut all = vec!["--project", "forebay-demo"];
        all.extend(args);
        project.ok(&all)
    };
    let counts = at(&[
        "sql",
        "SELECT count(*), count(DISTINCT id) FROM quakes.events",
        "--format",
        "csv",
    ]);
    assert_eq!(counts.out.lines().nth(1), Some("1707,1707"));
    at(&["test"]);
    let rebuilt = at(&["rebuild", "quakes.events"]);
    assert!(
        rebuilt.err.contains("quakes.events: equal, 1,707 rows"),
        "{}",
        rebuilt.err
    );
    let tables = at(&["tables", "--format", "csv"]);
    assert!(tables.out.contains("quakes"), "{}", tables.out);
}

#[test]
fn what_was_reported_stays_and_what_is_true_follows() {
    let project = Project::new();
    let told = project.ok(&["demo", "markets"]);
    for line in [
        "2,500 records in 5 calls of PutRecords",
        "byte for byte what it was",
        "Cedar Water     400  65520100.00",
        "Cedar Water     400  65560100.00",
        "✓ rolled back in commit",
        "forebay tables compact: ",
        "the report of last month: byte for byte",
    ] {
        assert!(told.err.contains(line), "{line}\n{}", told.err);
    }
    let again = project.run(&["demo", "markets"]);
    assert!(again.err.contains("error[demo_exists]"), "{}", again.err);
    let at = |args: &[&str]| project.ok(&[&["--project", "forebay-markets"], args].concat());
    at(&["check"]);
    at(&["test"]);
}

#[test]
fn every_request_is_on_record() {
    let project = Project::new();
    project.ok(&["demo", "--port", "0"]);
    let statement =
        "SELECT outcome, count(*) FROM audit.requests GROUP BY outcome ORDER BY outcome";
    let answer = project.ok(&[
        "--project",
        "forebay-demo",
        "sql",
        statement,
        "--format",
        "csv",
    ]);
    let lines = answer.out.lines().skip(1).collect::<Vec<_>>();
    assert!(
        lines.iter().any(|line| line.starts_with("ok,")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("retry,")),
        "{lines:?}"
    );
}
