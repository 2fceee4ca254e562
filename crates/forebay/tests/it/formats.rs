//! Files that are not what the pipeline file says: named for what they are, and never a table of control characters.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Builder, MapBuilder, RecordBatch, StringBuilder};
use parquet::arrow::ArrowWriter;

use crate::columns::parquet;
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
        ("csv: {}", b"ORC\n\x08\x03\x10", "ORC file"),
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
fn rows_without_any_value_land_once_there_is_a_column() {
    let project = Project::new();
    project.write("pipelines/odd.yaml", &pipeline("csv: {}"));
    project.write("data/a.csv", "a,b\n,\n,\n");
    project.run(&["run"]);
    project.write("data/b.csv", "a,b\n1,2.5\n");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT sum(a) FROM t.odd"), "1");
    project.ok(&["rebuild", "t.odd"]);
    project.ok(&["quarantine", "replay", "odd"]);
    assert_eq!(project.value("SELECT count(*) FROM t.odd"), "3");
    project.write("data/c.csv", "a,b\n,\n");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM t.odd"), "4");
}

#[test]
fn a_transform_that_makes_only_nulls_gives_no_column_a_type() {
    let project = Project::new();
    let select = "json: {lines: true}\ntransform: [{sql: SELECT note FROM input}]";
    project.write("pipelines/odd.yaml", &pipeline(select));
    project.write("data/a.ndjson", "{\"id\": 1, \"note\": null}\n");
    project.run(&["run"]);
    project.write("data/b.ndjson", "{\"id\": 2, \"note\": 5}\n");
    project.ok(&["run"]);
    project.ok(&["quarantine", "replay", "odd"]);
    assert_eq!(project.value("SELECT count(*) FROM t.odd"), "2");
    assert_eq!(project.value("SELECT sum(note) FROM t.odd"), "5");
}

/// Whatever is given to whichever extractor: there are rows, or refusals, or the command fails.
#[test]
fn no_extractor_passes_over_a_file_of_another_kind() {
    let parquet = parquet("n", vec![1, 2]);
    let files: [(&str, &[u8]); 8] = [
        ("csv", b"a,b\n1,2\n"),
        ("json", b"[{\"a\": 1}]"),
        ("lines", b"{\"a\": 1}\n{\"a\": 2}\n"),
        ("parquet", parquet.as_slice()),
        ("avro", b"Obj\x01\x02\x16avro.schema\x0e\"bytes\"\x00sixteen bytes it\x02\x04\x02asixteen bytes it"),
        ("orc", b"ORC\n\x08\x03\x10"),
        ("zip", b"PK\x03\x04rest"),
        ("text", b"\x00\x00\x00\x00\x05hello"),
    ];
    let mut extractors = vec![
        "csv: {}",
        "json: {}",
        "json: {lines: true}",
        "json: {lines: false}",
        "parquet: {}",
    ];
    if cfg!(feature = "kafka") {
        extractors.extend(["avro: {}", "protobuf: {}"]);
    }
    for extract in extractors {
        for (name, bytes) in files {
            let project = Project::new();
            project.write("pipelines/odd.yaml", &pipeline(extract));
            project.write_bytes("data/a", bytes);
            let run = project.run(&["run"]);
            let failed = !run.err.contains('✓');
            let tables = project.run(&["tables", "--format", "csv"]).out;
            let counted = |table: &str| {
                let statement = format!("SELECT count(*) FROM {table}");
                tables.contains(table) && project.value(&statement) != "0"
            };
            assert!(
                failed || counted("t.odd") || counted("quarantine.odd"),
                "{name} as {extract}: {}",
                run.err
            );
        }
    }
}

#[cfg(feature = "kafka")]
#[test]
fn an_extractor_of_messages_does_not_check_beside_a_source_of_files() {
    let project = Project::new();
    project.write("pipelines/odd.yaml", &pipeline("protobuf: {}"));
    let checked = project.run(&["check"]);
    assert_ne!(checked.code, 0);
    assert!(checked.err.contains("needs_messages"), "{}", checked.err);
    assert!(checked.err.contains("odd.yaml:5"), "{}", checked.err);
}

#[test]
fn a_pipeline_that_has_landed_no_row_takes_another_extractor() {
    let project = Project::new();
    project.write("pipelines/odd.yaml", &pipeline("csv: {}"));
    project.write_bytes("data/a.parquet", &parquet("n", vec![1, 2]));
    project.run(&["run"]);
    project.write("pipelines/odd.yaml", &pipeline("parquet: {}"));
    project.ok(&["quarantine", "replay", "odd"]);
    assert_eq!(project.value("SELECT sum(n) FROM t.odd"), "3");
    project.write_bytes("data/b.parquet", &parquet("n", vec![4]));
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT sum(n) FROM t.odd"), "7");
    // Now there is a table that it made.
    project.write("pipelines/odd.yaml", &pipeline("csv: {}"));
    let run = project.run(&["run"]);
    assert!(run.err.contains("forebay pipeline reset"), "{}", run.err);
}

#[test]
fn a_table_with_a_map_is_rebuilt() {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for n in 0..3 {
        maps.keys().append_value(format!("k{n}"));
        maps.values().append_value(n);
        maps.append(true).unwrap();
    }
    let maps: ArrayRef = Arc::new(maps.finish());
    let records = RecordBatch::try_from_iter([("m", maps)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), records.schema(), None).unwrap();
    writer.write(&records).unwrap();
    let project = Project::new();
    project.write("pipelines/odd.yaml", &pipeline("parquet: {}"));
    project.write_bytes("data/a.parquet", &writer.into_inner().unwrap());
    project.ok(&["run"]);
    let rebuilt = project.ok(&["rebuild", "t.odd"]);
    assert!(
        rebuilt.err.contains("t.odd: equal, 3 rows"),
        "{}",
        rebuilt.err
    );
}

#[test]
fn a_preview_shows_rows_of_the_source_once_each() {
    let project = Project::new();
    project.write("pipelines/odd.yaml", &pipeline("csv: {}"));
    for n in 1..=2 {
        project.write(&format!("data/{n}.csv"), &format!("id\n{n}\n"));
    }
    for _ in 0..2 {
        let shown = project
            .ok(&["run", "--limit", "10", "odd", "--format", "csv"])
            .out;
        let mut lines: Vec<&str> = shown.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["1", "2", "id"]);
        project.ok(&["run"]);
    }
    assert_eq!(project.value("SELECT count(*) FROM t.odd"), "2");
}
