//! Columns that a pipeline file declares, and payloads that break off, through run, sql and replay.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_testkit::{gzip, zstd};
use parquet::arrow::ArrowWriter;

use crate::forebay::Project;

const ORDERS: &str = "pipeline: orders\nsource:\n  file: {path: \"data/*\"}\nextract: EXTRACT\nschema:\n  columns: {COLUMNS}\nload:\n  iceberg: {table: shop.orders}\n";

const TABLES: &str = "{json: {lines: true, nested: tables}}";

fn pipeline(extract: &str, columns: &str) -> String {
    ORDERS
        .replace("EXTRACT", extract)
        .replace("COLUMNS", columns)
}

impl Project {
    fn kind(&self, table: &str, column: &str) -> String {
        self.value(&format!(
            "SELECT arrow_typeof({column}) FROM {table} LIMIT 1"
        ))
    }
}

#[test]
fn declared_columns_are_in_the_first_commit_and_grow_with_the_file() {
    let project = Project::new();
    let columns = "n: {type: int}, note: {type: string}, items__price: {type: \"decimal(9, 2)\"}";
    project.write("pipelines/orders.yaml", &pipeline(TABLES, columns));
    project.write("data/a.ndjson", "{\"id\":1,\"items\":[{\"sku\":\"a\"}]}\n");
    project.ok(&["run"]);
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders WHERE note IS NULL AND n IS NULL"),
        "1"
    );
    assert_eq!(
        project.kind("shop.orders__items", "price"),
        "\"Decimal128(9, 2)\""
    );
    assert_eq!(project.kind("shop.orders", "n"), "Int32");

    let wider = columns
        .replace("int}", "long}")
        .replace("(9, 2)", "(12, 2)");
    project.write("pipelines/orders.yaml", &pipeline(TABLES, &wider));
    project.write(
        "data/b.ndjson",
        "{\"id\":2,\"n\":3000000000,\"items\":[{\"price\":1234567890.25}]}\n",
    );
    let grown = project.ok(&["run"]);
    assert!(
        grown.err.contains("widened column n from int to long"),
        "{}",
        grown.err
    );
    assert_eq!(project.kind("shop.orders", "n"), "Int64");
    assert_eq!(
        project.value("SELECT sum(n) FROM shop.orders"),
        "3000000000"
    );
    assert_eq!(
        project.value("SELECT max(price) FROM shop.orders__items"),
        "1234567890.25"
    );

    let other = wider.replace("n: {type: long}", "n: {type: date}");
    project.write("pipelines/orders.yaml", &pipeline(TABLES, &other));
    project.write("data/c.ndjson", "{\"id\":3}\n");
    let refused = project.run(&["run"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(
        refused.err.contains("column `n` is long in the table"),
        "{}",
        refused.err
    );
}

#[test]
fn a_transform_sees_a_declared_column_that_no_file_has() {
    let project = Project::new();
    let sql = "transform:\n  - sql: SELECT id, coalesce(note, 'none') AS note FROM input\nload:";
    let text = pipeline("{csv: {}}", "note: {type: string}").replace("load:", sql);
    project.write("pipelines/orders.yaml", &text);
    project.write("data/a.csv", "id\n1\n2\n");
    project.ok(&["run"]);
    assert_eq!(
        project.value("SELECT count(*) FROM shop.orders WHERE note = 'none'"),
        "2"
    );
}

/// A Parquet file with one column of longs.
pub(crate) fn parquet(name: &str, values: Vec<i64>) -> Vec<u8> {
    let column: ArrayRef = Arc::new(Int64Array::from(values));
    let records = RecordBatch::try_from_iter([(name, column)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), records.schema(), None).unwrap();
    writer.write(&records).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn a_payload_that_was_refused_whole_lands_whole() {
    let file = parquet("n", vec![1, 3_000_000_000, 3]);
    let parquet = (
        "{parquet: {}}",
        "n: {type: int}",
        "n: {type: long}",
        "data/a.parquet",
        file,
    );
    // A header that is too wide; the limit goes with the wrong rule.
    let wide = b"n,m\n1,1\n2,2\n3,3\n".to_vec();
    let csv = (
        "{csv: {}}",
        "}\n  columns_max: 1\n  #",
        "}\n  #",
        "data/a.csv",
        wide,
    );
    for (extract, wrong, right, name, bytes) in [parquet, csv] {
        let project = Project::new();
        let yaml = "pipelines/orders.yaml";
        project.write(yaml, &pipeline(extract, wrong));
        project.write_bytes(name, &bytes);
        // Nothing landed, and that is said.
        let run = project.run(&["run"]);
        assert_eq!(run.code, 1, "{}", run.err);
        assert!(
            run.err.contains("error[all_records_refused]"),
            "{}",
            run.err
        );
        assert!(
            run.err.contains("forebay quarantine ls orders"),
            "{}",
            run.err
        );
        let waiting = project
            .ok(&["quarantine", "ls", "orders", "--format", "ndjson"])
            .out;
        assert_eq!(waiting.lines().count(), 1, "{extract}: {waiting}");
        project.write(yaml, &pipeline(extract, right));
        project.ok(&["quarantine", "replay", "orders"]);
        assert_eq!(
            project.value("SELECT count(*) FROM shop.orders"),
            "3",
            "{extract}"
        );
        project.ok(&["quarantine", "replay", "orders"]);
        assert_eq!(
            project.value("SELECT count(*) FROM shop.orders"),
            "3",
            "{extract}"
        );
    }
}

/// What breaks a payload in its middle, and how.
fn broken_payloads(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let gz = gzip(text.as_bytes());
    let zst = zstd(text.as_bytes());
    vec![
        ("cut.gz", gz[..gz.len() * 2 / 3].to_vec()),
        (
            "garbage.gz",
            [gz.as_slice(), b"this is no gzip member"].concat(),
        ),
        ("cut.zst", zst[..zst.len() * 2 / 3].to_vec()),
        (
            "garbage.zst",
            [zst.as_slice(), b"this is no zstd frame"].concat(),
        ),
    ]
}

#[test]
fn nothing_of_a_compressed_payload_with_a_break_is_loaded_however_often_it_is_replayed() {
    // Numbers that do not compress well, so that the break is far from the end of what was decoded.
    let number = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let lines: String = (0..60_000)
        .map(|n| format!("{n},{}\n", number(n)))
        .collect();
    let csv = format!("id,x\n{lines}");
    let ndjson: String = (0..60_000)
        .map(|n| format!("{{\"id\":{n},\"x\":\"{}\"}}\n", number(n)))
        .collect();
    let formats = [("{csv: {}}", csv), ("{json: {lines: true}}", ndjson)];
    for (extract, text) in formats {
        for (name, bytes) in broken_payloads(&text) {
            let project = Project::new();
            project.write(
                "pipelines/orders.yaml",
                &pipeline(extract, "x: {type: string}"),
            );
            project.write_bytes(&format!("data/{name}"), &bytes);
            let begin = text.lines().take(2).collect::<Vec<_>>().join("\n");
            project.write_bytes("data/whole", begin.as_bytes());
            project.ok(&["run"]);
            let rows = project.value("SELECT count(*) FROM shop.orders");
            let wanted = if extract.contains("csv") { "1" } else { "2" };
            assert_eq!(rows, wanted, "{extract} {name}");
            let waiting = project
                .ok(&["quarantine", "ls", "orders", "--format", "ndjson"])
                .out;
            assert_eq!(waiting.lines().count(), 1, "{extract} {name}: {waiting}");
            assert!(waiting.contains("corrupt_"), "{waiting}");
            for _ in 0..2 {
                let replayed = project.run(&["quarantine", "replay", "orders"]);
                assert_eq!(replayed.code, 1, "{extract} {name}: {}", replayed.err);
                let after = project.value("SELECT count(*) FROM shop.orders");
                assert_eq!(after, rows, "{extract} {name}: {}", replayed.err);
            }
        }
    }
}

/// A file whose column is empty throughout stops no statement that names it.
#[test]
fn a_column_without_a_value_yet_can_be_named() {
    for (extract, file, empty, full) in [
        (
            "csv: {}",
            "data.csv",
            "id,note,n\n1,,\n2,,\n",
            "id,note,n\n3,x,7\n",
        ),
        (
            "json: {}",
            "data.ndjson",
            "{\"id\":1,\"note\":null,\"n\":null}\n{\"id\":2,\"note\":null}\n",
            "{\"id\":3,\"note\":\"x\",\"n\":7}\n",
        ),
    ] {
        let project = Project::new();
        let pipeline = format!(
            "pipeline: p\nsource:\n  file: {{path: \"in/*\"}}\nextract:\n  {extract}\nschema:\n  columns: {{n: {{check: \"value < 10 or value is null\"}}}}\ntransform:\n  - sql: SELECT id, note, n, coalesce(note, 'none') AS told FROM input WHERE n IS NULL OR n > 1\nload:\n  iceberg: {{table: a.p}}\n"
        );
        project.write("pipelines/p.yaml", &pipeline);
        project.write(&format!("in/1{file}"), empty);
        project.ok(&["run"]);
        let columns = "SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM information_schema.columns WHERE table_name = 'p'";
        assert_eq!(project.value(columns), "id told", "{extract}");
        project.write(&format!("in/2{file}"), full);
        project.ok(&["run"]);
        assert_eq!(project.value(columns), "id n note told", "{extract}");
        let told = "SELECT string_agg(told, ' ' ORDER BY id) FROM a.p";
        assert_eq!(project.value(told), "none none x", "{extract}");
        let rebuilt = project.ok(&["rebuild", "a.p"]);
        assert!(
            rebuilt.err.contains("a.p: equal, 3 rows"),
            "{}",
            rebuilt.err
        );
    }
}
