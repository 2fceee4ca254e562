//! Files that are not what the pipeline file says: named for what they are, and never a table of control characters.

use crate::forebay::Project;

fn pipeline(extract: &str) -> String {
    format!(
        "pipeline: odd\nsource:\n  file: {{path: \"data/*\"}}\nextract:\n  {extract}\nload:\n  iceberg: {{table: t.odd}}\n"
    )
}

#[test]
fn files_of_another_format_are_refused_by_name() {
    let zip = [b"PK\x03\x04".as_slice(), &[0; 60]].concat();
    let tar = [
        vec![b'a'; 100],
        vec![0; 157],
        b"ustar\x0000".to_vec(),
        vec![0; 300],
    ]
    .concat();
    for (extract, bytes, name) in [
        ("csv: {}", zip.as_slice(), "ZIP archive"),
        ("csv: {}", &tar, "tar archive"),
        ("csv: {}", b"PAR1\x15\x04\x15", "Parquet"),
        ("json: {}", b"<?xml version=\"1.0\"?><a/>", "XML"),
        ("json: {lines: true}", b"SQLite format 3\0rest", "SQLite"),
    ] {
        let project = Project::new();
        project.write("pipelines/odd.yaml", &pipeline(extract));
        project.write_bytes("data/a", bytes);
        project.run(&["run"]);
        let reasons = project
            .ok(&["quarantine", "ls", "odd", "--format", "ndjson"])
            .out;
        assert_eq!(reasons.lines().count(), 1, "{name}: {reasons}");
        assert!(reasons.contains(name), "{name}: {reasons}");
        assert!(reasons.contains("foreign_format"), "{name}: {reasons}");
        let tables = project.ok(&["tables", "--format", "csv"]).out;
        assert!(!tables.contains("t.odd"), "{tables}");
    }
}

#[test]
fn rows_without_any_value_are_counted() {
    let project = Project::new();
    project.write("pipelines/odd.yaml", &pipeline("csv: {}"));
    project.write("data/a.csv", "a,b\n,\n,\n");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM t.odd"), "2");
    project.write("data/b.csv", "a,b\n1,2\n");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM t.odd"), "3");
    project.ok(&["rebuild", "t.odd"]);
}
