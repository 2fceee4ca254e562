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
            "pipeline: p\nsource:\n  file: {{path: \"in/*\"}}\nextract:\n  {extract}\nschema:\n  columns: {{n: {{check: \"value < 10 or value is null\"}}}}\ntransform:\n  - sql: SELECT id, note, n, coalesce(note, 'none') AS told, nullif(id, id) AS never FROM input WHERE n IS NULL OR n > 1\nload:\n  iceberg: {{table: a.p}}\n"
        );
        project.write("pipelines/p.yaml", &pipeline);
        project.write(&format!("in/1{file}"), empty);
        project.ok(&["run"]);
        let columns = "SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM information_schema.columns WHERE table_schema = 'a' AND table_name = 'p'";
        assert_eq!(project.value(columns), "id never told", "{extract}");
        project.write(&format!("in/2{file}"), full);
        project.ok(&["run"]);
        assert_eq!(project.value(columns), "id n never note told", "{extract}");
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

/// Ids say when a column came, not what is in it.
#[test]
fn a_rebuild_is_equal_whenever_columns_came() {
    for (nested, first, second) in [
        ("keep", "{\"id\":1,\"a\":[1]}", "{\"id\":2,\"b\":1}"),
        (
            "keep",
            "{\"id\":1,\"a\":{\"q\":1}}",
            "{\"id\":2,\"b\":1,\"a\":{\"p\":1}}",
        ),
        ("flatten", "{\"id\":1,\"a\":[1]}", "{\"id\":2,\"a\":[1.5]}"),
        (
            "keep",
            "{\"id\":1,\"a\":{\"p\":1}}",
            "{\"id\":2,\"a\":{\"p\":1.5}}",
        ),
        (
            "keep",
            "{\"id\":1,\"z\":{\"q\":1,\"b\":2}}",
            "{\"z\":{\"a\":1},\"id\":2}",
        ),
    ] {
        let project = Project::new();
        let extract = format!("{{json: {{lines: true, nested: {nested}}}}}");
        project.write("pipelines/orders.yaml", &pipeline(&extract, ""));
        for (name, line) in [("1", first), ("2", second)] {
            project.write(&format!("data/{name}"), &format!("{line}\n"));
            project.ok(&["run"]);
        }
        let rebuilt = project.ok(&["rebuild", "shop.orders"]);
        assert!(
            rebuilt.err.contains("shop.orders: equal, 2 rows"),
            "{}",
            rebuilt.err
        );
    }
}

/// A record with a value that the column's type cannot hold is never taken for one without.
#[test]
fn a_step_that_does_not_read_the_value_refuses_the_record() {
    for (transform, lost) in [
        (
            "sql: SELECT id, amount * 1.19 AS gross FROM input WHERE amount > 0.00",
            true,
        ),
        (
            "sql: \"SELECT id, coalesce(amount, 0) AS z FROM input\"",
            true,
        ),
        ("sql: SELECT * FROM input WHERE amount > 0", true),
        ("cast: {amount: int}", true),
        ("rename: {amount: a}", true),
        (
            "sql: \"SELECT id, coalesce(amount, amount__v_double) AS z FROM input\"",
            false,
        ),
        ("sql: SELECT id FROM input", false),
        ("sql: SELECT * FROM input", false),
        ("sql: \"SELECT id, amount FROM input WHERE id < 9\"", false),
    ] {
        for (extract, files) in [
            (
                "json: {}",
                [
                    "{\"id\":1,\"amount\":5}\n",
                    "{\"id\":2,\"amount\":7.5}\n{\"id\":3,\"amount\":8}\n",
                ],
            ),
            ("csv: {}", ["id,amount\n1,5\n", "id,amount\n2,7.5\n3,8\n"]),
        ] {
            let project = Project::new();
            let text = format!(
                "pipeline: p\nsource:\n  file: {{path: \"in/*\"}}\nextract:\n  {extract}\ntransform:\n  - {transform}\nload:\n  iceberg: {{table: a.p}}\n"
            );
            project.write("pipelines/p.yaml", &text);
            for (n, file) in files.iter().enumerate() {
                project.write(&format!("in/{n}"), file);
                project.ok(&["run"]);
            }
            let waiting = project
                .ok(&["quarantine", "ls", "p", "--format", "ndjson"])
                .out;
            assert_eq!(
                waiting.contains("variant_not_read"),
                lost,
                "{transform}: {waiting}"
            );
            let rows = if lost { "2" } else { "3" };
            assert_eq!(
                project.value("SELECT count(*) FROM a.p"),
                rows,
                "{transform}"
            );
            let rebuilt = project.run(&["rebuild", "a.p"]);
            println!("{transform} {extract}: {}", rebuilt.err);
        }
    }
}

/// A payload without a column that a statement names is one whose rows have none.
#[test]
fn a_payload_without_a_column_of_the_statement_stops_nothing() {
    let project = Project::new();
    project.write("pipelines/p.yaml", "pipeline: p\nsource:\n  file: {path: \"in/*\"}\nextract:\n  csv: {}\ntransform:\n  - sql: SELECT id, a, a * 2 AS b FROM input\nload:\n  iceberg: {table: a.p}\n");
    for (n, file) in ["id,a\n1,5\n", "id\n2\n", "foo,bar\n1,2\n", "id,a\n3,6\n"]
        .iter()
        .enumerate()
    {
        project.write(&format!("in/{n}.csv"), file);
        let code = project.run(&["run"]).code;
        assert_eq!(code, i32::from(n == 2), "{file}");
    }
    let sums = "SELECT count(*), sum(id), sum(a), sum(b) FROM a.p";
    assert_eq!(project.value(sums), "3,6,11,22");
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'a'";
    assert_eq!(project.value(columns), "3");
    let waiting = project.ok(&["quarantine", "ls", "p"]).out;
    assert!(waiting.contains("columns_missing"), "{waiting}");
}

/// A statement can be planned whatever it does with a column that has no type yet, and gives no other column its type.
#[test]
fn what_is_made_of_nulls_alone_has_no_type() {
    for (expression, value, shown) in [
        (
            "to_timestamp(x, '%d.%m.%Y')",
            "31.12.2026",
            "2026-12-31T00:00:00Z",
        ),
        (
            "x + interval '1 day'",
            "2026-12-30T00:00:00",
            "2026-12-31T00:00:00",
        ),
        ("extract(year FROM x)", "2026-12-31", "2026"),
        ("x * 2", "7.5", "15.0"),
        ("upper(x)", "abc", "ABC"),
    ] {
        let project = Project::new();
        let text = format!(
            "pipeline: p\nsource:\n  file: {{path: \"in/*\"}}\nextract:\n  csv: {{}}\ntransform:\n  - sql: \"SELECT id, {expression} AS y FROM input\"\nload:\n  iceberg: {{table: a.p}}\n"
        );
        project.write("pipelines/p.yaml", &text);
        project.write("in/1.csv", "id,x\n1,\n2,\n");
        project.ok(&["run"]);
        project.write("in/2.csv", &format!("id,x\n3,{value}\n"));
        project.ok(&["run"]);
        assert_eq!(
            project.value("SELECT count(*) FROM a.p"),
            "3",
            "{expression}"
        );
        assert_eq!(
            project.value("SELECT y FROM a.p WHERE id = 3"),
            shown,
            "{expression}"
        );
    }
}

#[test]
fn names_of_columns_do_not_depend_on_the_commits() {
    for (extract, records) in [
        (
            "nested: keep",
            &[
                "{\"n\":{\"x\":1},\"n.x\":2}\n",
                "{\"id\":11,\"n\":{\"X\":7}}\n",
            ][..],
        ),
        (
            "nested: keep",
            &[
                "{\"n\":{\"y\":1}}\n",
                "{\"n.x\":2}\n",
                "{\"n\":{\"x\":3.5}}\n",
            ],
        ),
        (
            "nested: flatten",
            &[
                "{\"l\":[{\"y\":1}]}\n",
                "{\"l.element.x\":2}\n",
                "{\"l\":[{\"x\":3}]}\n",
            ],
        ),
        (
            "nested: keep",
            &[
                "{\"n\":{\"x\":1}}\n",
                "{\"n.x\":\"a\"}\n",
                "{\"n\":{\"x\":1.5}}\n",
            ],
        ),
    ] {
        let project = Project::new();
        project.write(
            "pipelines/p.yaml",
            &format!("pipeline: p\nsource: {{file: {{path: \"data/*\"}}}}\nextract: {{json: {{lines: true, {extract}}}}}\nload: {{iceberg: {{table: t.p}}}}\n"),
        );
        for (n, record) in records.iter().enumerate() {
            project.write(&format!("data/{n}.ndjson"), record);
            project.ok(&["run"]);
        }
        let rebuilt = project.run(&["rebuild", "t.p"]);
        assert_eq!(rebuilt.code, 0, "{records:?}: {}", rebuilt.err);
    }
}
