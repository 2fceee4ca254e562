//! Columns of whole numbers that turn decimal in typed inputs: tables that are followed, and Parquet files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch};
use forebay_core::RefName;
use parquet::arrow::ArrowWriter;

use super::widened::{LINES, check_rebuilt, pipeline, types};
use super::world::World;

const FOLLOWER: &str = "pipeline: f\nsource: {table: {name: t.rows}}\nextract: {table: {}}\nload: {iceberg: {table: u.rows}}\n";

/// A table after each file, and one that follows it.
async fn followed(files: &[&str], follower: &str) -> World {
    let world = World::new().await;
    for (n, text) in files.iter().enumerate() {
        let name = format!("data/{n}.ndjson");
        world.folder.write(&name, text);
        world.run(&pipeline(LINES, "")).await.unwrap();
        world.run(follower).await.unwrap();
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_follows_is_widened_as_the_one_before_it() {
    let files = ["{\"a\":5}\n", "{\"a\":7.5}\n", "{\"a\":8}\n"];
    let world = followed(&files, FOLLOWER).await;
    assert_eq!(world.types("u.rows").await, types(&[("a", "Float64")]));
    assert_eq!(world.values("u.rows", "a").await, ["5.0", "7.5", "8.0"]);
    check_rebuilt(&world, FOLLOWER, "u.rows").await;

    let inexact = format!("{{\"a\":{}}}\n", (1_i64 << 53) + 1);
    let files = [
        "{\"a\":5}\n",
        "{\"a\":7.5}\n",
        inexact.as_str(),
        "{\"a\":8}\n",
    ];
    let world = followed(&files, FOLLOWER).await;
    assert_eq!(world.types("u.rows").await, world.types("t.rows").await);
    assert_eq!(world.values("u.rows", "a").await, ["5.0", "7.5", "8.0"]);
    assert_eq!(world.values("u.rows", "a__v_long").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_in_objects_and_lists_of_a_followed_table_are_widened_too() {
    let files = [
        "{\"o\":{\"x\":5},\"l\":[1,2],\"ll\":[[3]],\"t\":[{\"y\":1,\"z\":[7]}]}\n",
        "{\"o\":{\"x\":0.5},\"l\":[1.5,4],\"ll\":[[],[2.5]],\"t\":[{\"y\":1.5,\"z\":[7.5]}]}\n",
        "{\"o\":{\"x\":6},\"l\":[],\"ll\":[[4]],\"t\":[{\"y\":2,\"z\":[8]}]}\n",
    ];
    let keep = "{json: {lines: true, nested: keep}}";
    let world = World::new().await;
    for (n, text) in files.iter().enumerate() {
        world.folder.write(&format!("data/{n}.ndjson"), text);
        world.run(&pipeline(keep, "")).await.unwrap();
        world.run(FOLLOWER).await.unwrap();
    }
    assert_eq!(world.types("u.rows").await, world.types("t.rows").await);
    for column in ["o", "l", "ll", "t"] {
        let values = world.values("t.rows", column).await;
        assert_eq!(world.values("u.rows", column).await, values, "{column}");
    }
    check_rebuilt(&world, FOLLOWER, "u.rows").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_table_that_cannot_be_widened_keeps_two_columns() {
    let partitioned = FOLLOWER.replace("u.rows}", "u.rows, partition: ['bucket(4, a)']}");
    let files = ["{\"a\":5}\n", "{\"a\":7.5}\n", "{\"a\":8}\n"];
    let world = followed(&files, &partitioned).await;
    let two = types(&[("a", "Int64"), ("a__v_double", "Float64")]);
    assert_eq!(world.types("u.rows").await, two);
    assert_eq!(world.values("u.rows", "a__v_double").await, ["7.5", "8.0"]);
}

fn write_parquet(world: &World, name: &str, column: ArrayRef) {
    let batch = RecordBatch::try_from_iter_with_nullable([("a", column, true)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    world.folder.write(name, bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_files_of_whole_numbers_and_of_doubles_are_one_column_whichever_comes_first() {
    let inexact = (1_i64 << 53) + 1;
    let whole: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None]));
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![5]));
    let double: ArrayRef = Arc::new(Float64Array::from(vec![7.5]));
    let more: ArrayRef = Arc::new(Int64Array::from(vec![8, inexact]));
    let text = pipeline("{parquet: {}}", "");
    for files in [
        [&whole, &double, &more],
        [&double, &whole, &more],
        [&narrow, &double, &more],
    ] {
        let world = World::new().await;
        for (n, column) in files.into_iter().enumerate() {
            write_parquet(&world, &format!("data/{n}.parquet"), column.clone());
            world.run(&text).await.unwrap();
        }
        let expected = types(&[("a", "Float64"), ("a__v_long", "Int64")]);
        assert_eq!(world.types("t.rows").await, expected);
        assert_eq!(world.values("t.rows", "a").await, ["5.0", "7.5", "8.0"]);
        let beside = world.values("t.rows", "a__v_long").await;
        assert_eq!(beside, [inexact.to_string()]);
        assert!(world.open().await.is_empty());
    }

    // In one run.
    let world = World::new().await;
    for (n, column) in [&whole, &double, &narrow].into_iter().enumerate() {
        write_parquet(&world, &format!("data/{n}.parquet"), column.clone());
    }
    world.run(&text).await.unwrap();
    let types_now = world.types_of(&RefName::main(), "t.rows").await;
    assert_eq!(types_now, types(&[("a", "Float64")]));
    assert_eq!(world.values("t.rows", "a").await, ["5.0", "5.0", "7.5"]);
    check_rebuilt(&world, &text, "t.rows").await;
}
