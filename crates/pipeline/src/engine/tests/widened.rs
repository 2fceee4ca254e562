//! Columns of whole numbers that turn decimal: the types of a table do not depend on which file came first.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use forebay_core::RefName;
use forebay_store::AsOf;
use serde_json::Value;

use super::world::World;
use crate::engine::{rebuild, scan};

pub(super) fn pipeline(extract: &str, more: &str) -> String {
    format!(
        "pipeline: p\nsource: {{file: {{path: \"data/*\"}}}}\nextract: {extract}\n{more}load: {{iceberg: {{table: t.rows}}}}\n"
    )
}

/// Runs the pipeline after each file; the files are read in the order of their names.
async fn loaded(pipeline: &str, files: &[&str]) -> World {
    let world = World::new().await;
    for (n, text) in files.iter().enumerate() {
        let ending = if pipeline.contains("csv") {
            "csv"
        } else {
            "ndjson"
        };
        world.folder.write(&format!("data/{n}.{ending}"), text);
        world.run(pipeline).await.unwrap();
    }
    world
}

impl World {
    pub(super) async fn types_of(&self, branch: &RefName, table: &str) -> BTreeMap<String, String> {
        let head = AsOf::Head(branch.clone());
        let table = self.lake.table(&head, &table.parse().unwrap()).await;
        let schema = table.unwrap().unwrap().schema();
        let fields = schema.fields().iter();
        let fields = fields.filter(|field| !field.name().starts_with('_'));
        fields
            .map(|field| (field.name().clone(), kind(field.data_type())))
            .collect()
    }

    pub(super) async fn types(&self, table: &str) -> BTreeMap<String, String> {
        self.types_of(&RefName::main(), table).await
    }

    /// Values of a column, ordered, as JSON text.
    pub(super) async fn values(&self, table: &str, column: &str) -> Vec<String> {
        let rows = self.rows(table).await;
        let values = rows.iter().filter_map(|row| row.get(column));
        let mut values: Vec<String> = values.map(Value::to_string).collect();
        values.sort();
        values
    }
}

fn kind(kind: &DataType) -> String {
    match kind {
        DataType::List(element) => format!("list of {}", kind_of(element.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter();
            let fields =
                fields.map(|field| format!("{} {}", field.name(), kind_of(field.data_type())));
            format!("({})", fields.collect::<Vec<_>>().join(", "))
        }
        kind => kind.to_string(),
    }
}

fn kind_of(inner: &DataType) -> String {
    kind(inner)
}

pub(super) fn types<'a>(columns: &[(&'a str, &'a str)]) -> BTreeMap<String, String> {
    let columns = columns.iter();
    columns
        .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
        .collect()
}

const CSV: &str = "{csv: {}}";
pub(super) const LINES: &str = "{json: {lines: true}}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_numbers_and_decimals_are_one_column_whichever_file_comes_first() {
    let csv = ["price\n5\n7\n", "price\n5.25\n"];
    let json = ["{\"price\":5}\n{\"price\":7}\n", "{\"price\":5.25}\n"];
    for (extract, [whole, decimal]) in [(CSV, csv), (LINES, json)] {
        for files in [[whole, decimal], [decimal, whole]] {
            let world = loaded(&pipeline(extract, ""), &files).await;
            assert_eq!(
                world.types("t.rows").await,
                types(&[("price", "Float64")]),
                "{files:?}"
            );
            assert_eq!(
                world.values("t.rows", "price").await,
                ["5.0", "5.25", "7.0"],
                "{files:?}"
            );
            // And so on.
            let more = files[0].replace('5', "6");
            let ending = if extract == CSV { "csv" } else { "ndjson" };
            world.folder.write(&format!("data/2.{ending}"), more);
            world.run(&pipeline(extract, "")).await.unwrap();
            assert_eq!(world.types("t.rows").await.len(), 1);
            assert!(world.open().await.is_empty());
        }
    }
}

/// A rebuild makes a table with the same columns and as many rows.
pub(super) async fn check_rebuilt(world: &World, pipeline: &str, table: &str) {
    let rebuilt = rebuild(World::spec(pipeline), world.context())
        .await
        .unwrap();
    assert_eq!(
        world.types_of(&rebuilt.branch, table).await,
        world.types(table).await
    );
    let name = table.parse().unwrap();
    let rows = async |branch: &RefName| {
        let rows = scan::rows(&world.lake, branch, &name).await.unwrap();
        let batches: Vec<_> = futures::TryStreamExt::try_collect(rows).await.unwrap();
        let count = |batch: &arrow::array::RecordBatch| batch.num_rows();
        batches.iter().map(count).sum::<usize>()
    };
    assert_eq!(rows(&rebuilt.branch).await, rows(&RefName::main()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_in_objects_lists_and_child_tables_are_one_column_too() {
    let whole = "{\"id\":1,\"o\":{\"x\":5},\"l\":[1,2],\"ll\":[[3]],\"t\":[{\"y\":1,\"z\":[7]}]}\n";
    let decimal = "{\"id\":2,\"o\":{\"x\":0.5},\"l\":[1.5,4],\"ll\":[[],[2.5]],\"t\":[{\"y\":1.5,\"z\":[7.5]}]}\n";
    let kept = types(&[
        ("id", "Int64"),
        ("o", "(x Float64)"),
        ("l", "list of Float64"),
        ("ll", "list of list of Float64"),
        ("t", "list of (y Float64, z list of Float64)"),
    ]);
    let tables = types(&[("id", "Int64"), ("o__x", "Float64")]);
    for (nested, expected) in [("keep", &kept), ("tables", &tables)] {
        let pipeline = pipeline(&format!("{{json: {{lines: true, nested: {nested}}}}}"), "");
        for files in [[whole, decimal], [decimal, whole]] {
            let world = loaded(&pipeline, &files).await;
            assert_eq!(&world.types("t.rows").await, expected, "{files:?}");
            if nested == "tables" {
                let value = types(&[("value", "Float64")]);
                for table in ["t.rows__l", "t.rows__t__z"] {
                    assert_eq!(world.types(table).await, value, "{table} {files:?}");
                }
                let values = world.values("t.rows__l", "value").await;
                assert_eq!(values, ["1.0", "1.5", "2.0", "4.0"]);
                assert_eq!(world.types("t.rows__t").await["y"], "Float64");
            } else {
                let mut rows = world.rows("t.rows").await;
                rows.sort_by_key(|row| row["id"].as_i64());
                assert_eq!(rows[0]["l"], serde_json::json!([1.0, 2.0]));
                assert_eq!(rows[1]["l"], serde_json::json!([1.5, 4.0]));
                assert_eq!(rows[1]["ll"], serde_json::json!([[], [2.5]]));
                assert_eq!(rows[1]["t"], serde_json::json!([{"y": 1.5, "z": [7.5]}]));
            }
            check_rebuilt(&world, &pipeline, "t.rows").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_number_that_is_no_double_keeps_its_own_column() {
    let inexact = (1_i64 << 53) + 1;
    for (extract, head, line) in [(CSV, "v\n", false), (LINES, "", true)] {
        let file = |values: &[String]| {
            let line = |value: &String| match line {
                true => format!("{{\"v\":{value}}}\n"),
                false => format!("{value}\n"),
            };
            format!("{head}{}", values.iter().map(line).collect::<String>())
        };
        let big = file(&[inexact.to_string()]);
        let small = file(&["0.5".to_owned()]);
        let pipeline = pipeline(extract, "");
        let world = loaded(&pipeline, &[&big, &small]).await;
        let expected = types(&[("v", "Int64"), ("v__v_double", "Float64")]);
        assert_eq!(world.types("t.rows").await, expected, "{extract}");
        assert_eq!(world.values("t.rows", "v").await, [inexact.to_string()]);
        assert_eq!(world.values("t.rows", "v__v_double").await, ["0.5"]);

        let exact = file(&["3".to_owned(), "1000000000000000".to_owned()]);
        let world = loaded(&pipeline, &[&small, &big, &exact]).await;
        let expected = types(&[("v", "Float64"), ("v__v_long", "Int64")]);
        assert_eq!(world.types("t.rows").await, expected, "{extract}");
        assert_eq!(
            world.values("t.rows", "v__v_long").await,
            [inexact.to_string()]
        );
        assert_eq!(
            world.values("t.rows", "v").await,
            ["0.5", "1000000000000000.0", "3.0"]
        );

        // In one run: widened first, then the number without an exact double.
        let world = World::new().await;
        let ending = if line { "ndjson" } else { "csv" };
        for (n, text) in [&exact, &small, &big].into_iter().enumerate() {
            world.folder.write(&format!("data/{n}.{ending}"), text);
        }
        world.run(&pipeline).await.unwrap();
        let mut values = world.values("t.rows", "v").await;
        values.extend(world.values("t.rows", "v__v_long").await);
        values.extend(world.values("t.rows", "v__v_double").await);
        assert_eq!(values.len(), 4, "{values:?}");
        assert!(values.contains(&inexact.to_string()), "{values:?}");
        check_rebuilt(&world, &pipeline, "t.rows").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_that_is_held_and_a_declared_type_widen_nothing() {
    let files = ["{\"v\":5}\n", "{\"v\":5.25}\n"];
    let long = types(&[("v", "Int64")]);
    for (schema, refused) in [
        ("schema: {new_columns: quarantine}\n", 1),
        ("schema: {columns: {v: {type: long}}}\n", 1),
    ] {
        let world = loaded(&pipeline(LINES, schema), &files).await;
        assert_eq!(world.types("t.rows").await, long, "{schema}");
        assert_eq!(world.open().await.len(), refused, "{schema}");
    }
    let two = types(&[("v", "Int64"), ("v__v_double", "Float64")]);
    let sql = "transform: [{sql: \"SELECT * FROM input\"}]\n";
    let world = loaded(&pipeline(LINES, sql), &files).await;
    assert_eq!(world.types("t.rows").await, two);
    let text = pipeline(LINES, "").replace("t.rows}", "t.rows, partition: ['bucket(4, v)']}");
    let world = loaded(&text, &files).await;
    assert_eq!(world.types("t.rows").await, two);
    assert_eq!(world.open().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_record_widens_nothing_and_teaches_no_column() {
    let files = [
        "{\"id\":1,\"v\":5}\n",
        "{\"id\":9000000000,\"v\":5.25,\"new\":1}\n{\"id\":2,\"v\":6}\n",
    ];
    let cast = "transform: [{cast: {id: int}}]\n";
    let world = loaded(&pipeline(LINES, cast), &files).await;
    assert_eq!(world.open().await.len(), 1);
    let expected = types(&[("id", "Int32"), ("v", "Int64")]);
    assert_eq!(world.types("t.rows").await, expected);
    world
        .folder
        .write("data/2.ndjson", "{\"id\":3,\"v\":0.5}\n");
    world.run(&pipeline(LINES, cast)).await.unwrap();
    let widened = types(&[("id", "Int32"), ("v", "Float64")]);
    assert_eq!(world.types("t.rows").await, widened);

    // Refused by the table: the value has no partition.
    let least = i64::from(i32::MIN);
    let files = [
        "{\"id\":1,\"v\":5}\n".to_owned(),
        format!("{{\"id\":{least},\"v\":5.25,\"new\":1}}\n{{\"id\":2,\"v\":6}}\n"),
        "{\"id\":3,\"v\":7}\n".to_owned(),
    ];
    let text = pipeline(LINES, "schema: {columns: {id: {type: int}}}\n");
    let text = text.replace("t.rows}", "t.rows, partition: ['truncate(10, id)']}");
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let world = loaded(&text, &files).await;
    assert_eq!(world.open().await.len(), 1);
    let expected = types(&[("id", "Int32"), ("v", "Int64")]);
    assert_eq!(world.types("t.rows").await, expected);
    assert_eq!(world.values("t.rows", "v").await, ["5", "6", "7"]);
    // In one run, where the records after it know its columns.
    let world = World::new().await;
    world.folder.write("data/all.ndjson", files.concat());
    world.run(&text).await.unwrap();
    assert_eq!(world.open().await.len(), 1);
    assert!(!world.types("t.rows").await.contains_key("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_the_table_sees_new_rows_only() {
    let world = loaded(&pipeline(LINES, ""), &["{\"v\":5}\n"]).await;
    let follower = "pipeline: f\nsource: {table: {name: t.rows}}\nextract: {table: {}}\nload: {iceberg: {table: u.rows}}\n";
    world.run(follower).await.unwrap();
    world.folder.write("data/1.ndjson", "{\"v\":5.25}\n");
    world.run(&pipeline(LINES, "")).await.unwrap();
    world.run(follower).await.unwrap();
    assert_eq!(world.values("u.rows", "v").await, ["5.0", "5.25"]);
    assert_eq!(world.types("u.rows").await, types(&[("v", "Float64")]));
    assert_eq!(world.rows("u.rows").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_types_are_those_of_all_files_in_whatever_order_they_come() {
    let mut dice = super::world::Dice::new(11);
    for _ in 0..6 {
        let files: Vec<String> = (0..3)
            .map(|_| {
                let value = |dice: &mut super::world::Dice| match dice.below(3) {
                    0 => format!("{}.25", dice.below(9)),
                    _ => dice.below(1 << 40).to_string(),
                };
                let lines = (0..dice.below(3) + 1).map(|_| {
                    let a = value(&mut dice);
                    let b = value(&mut dice);
                    format!("{{\"a\":{a},\"b\":[{b}]}}\n")
                });
                lines.collect()
            })
            .collect();
        let mut outcomes = Vec::new();
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let ordered = order.map(|n| files[n].as_str());
            let pipeline = pipeline(LINES, "");
            let world = loaded(&pipeline, &ordered).await;
            check_rebuilt(&world, &pipeline, "t.rows").await;
            outcomes.push((
                world.types("t.rows").await,
                world.values("t.rows", "a").await,
            ));
        }
        assert!(
            outcomes.iter().all(|other| *other == outcomes[0]),
            "{files:?}: {outcomes:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_beside_text_do_not_depend_on_the_commits() {
    let texts: [&[&str]; 5] = [
        &[
            "{\"a\":\"x\"}\n",
            "{\"a\":1}\n",
            "{\"a\":1.5}\n",
            "{\"a\":2}\n",
        ],
        &["{\"a\":true}\n", "{\"a\":1.5}\n", "{\"a\":1}\n"],
        &["{\"a\":[\"x\"]}\n", "{\"a\":[1]}\n", "{\"a\":[1.5]}\n"],
        &["{\"a\":[{\"b\":1}]}\n", "{\"a\":[1]}\n", "{\"a\":[1.5]}\n"],
        &["{\"a\":1}\n", "{\"a\":\"x\"}\n", "{\"a\":1.5}\n"],
    ];
    for nested in ["keep", "flatten", "tables"] {
        let pipeline = pipeline(&format!("{{json: {{lines: true, nested: {nested}}}}}"), "");
        for records in texts {
            let apart = loaded(&pipeline, records).await;
            let joined = loaded(&pipeline, &[records.concat().as_str()]).await;
            let begin = loaded(&pipeline, &[&records[..2].concat(), &records[2..].concat()]).await;
            let has_child = nested == "tables" && records[0].contains('[');
            let child = has_child.then_some("t.rows__a");
            for table in std::iter::once("t.rows").chain(child) {
                let expected = joined.types(table).await;
                assert_eq!(apart.types(table).await, expected, "{nested} {records:?}");
                assert_eq!(begin.types(table).await, expected, "{nested} {records:?}");
                check_rebuilt(&apart, &pipeline, table).await;
            }
        }
    }
}
