//! How fast rows become committed Parquet files: `cargo run --release -p forebay-lake --example write [ROWS]`.
//!
//! Ten columns as an event stream has them, in a table partitioned by day. Prints rows per second and per CPU-second of
//! the writer alone (the batches are made before the clock starts) and the most memory that it held.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "shared/machine.rs"]
mod machine;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use forebay_core::{Clock, RefName, SystemClock, TableName};
use forebay_lake::{DataFile, Draft, WriterOptions};

use machine::{Failed, cpu_seconds, open_lake};

const BATCH_ROWS: u64 = 65_536;
const ROWS: u64 = 4_000_000;
/// Batches that are made once and written again and again.
const BATCHES: u64 = 8;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let rows = std::env::args()
        .nth(1)
        .map_or(Ok(ROWS), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let lake = open_lake(folder.path(), &clock).await?;

    let batches: Vec<RecordBatch> = (0..BATCHES).map(batch).collect::<Result<_, _>>()?;
    let mut draft = lake
        .draft(
            &"main".parse::<RefName>()?,
            &"bench.events".parse::<TableName>()?,
        )
        .await?;
    draft.create(&batches[0].schema(), &["day(at)".parse()?])?;
    let (wall, cpu) = (clock.monotonic(), cpu_seconds()?);
    let (files, memory) =
        tokio::task::spawn_blocking(move || write(&draft, &batches, rows)).await??;
    let (wall, cpu) = (
        (clock.monotonic() - wall).as_secs_f64(),
        cpu_seconds()? - cpu,
    );

    let written: u64 = files.iter().map(|file| file.rows).sum();
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let per = |seconds: f64| written as f64 / seconds / 1e3;
    println!(
        "{written} rows in {} files, {:.1} bytes a row",
        files.len(),
        bytes as f64 / written as f64
    );
    println!(
        "{:.0} thousand rows/s, {:.0} thousand rows per CPU-second",
        per(wall),
        per(cpu)
    );
    println!("{:.1} MiB held at most", memory as f64 / f64::from(1 << 20));
    Ok(())
}

fn write(
    draft: &Draft,
    batches: &[RecordBatch],
    rows: u64,
) -> forebay_core::Result<(Vec<DataFile>, usize)> {
    let mut writer = draft.writer(WriterOptions::default())?;
    let mut memory = 0;
    for batch in batches.iter().cycle() {
        if writer.rows() >= rows {
            break;
        }
        writer.write(batch)?;
        memory = memory.max(writer.memory_bytes());
    }
    Ok((writer.finish()?, memory))
}

fn batch(number: u64) -> Result<RecordBatch, arrow::error::ArrowError> {
    let at = |i: u64| number * BATCH_ROWS + i;
    let noise = |i: u64| (at(i) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let rows = 0..BATCH_ROWS;
    let text = |make: &dyn Fn(u64) -> String| StringArray::from_iter_values(rows.clone().map(make));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "id",
            Arc::new(Int64Array::from_iter_values(
                rows.clone().map(|i| (noise(i) >> 1).cast_signed()),
            )),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                rows.clone()
                    .map(|i| 1_767_225_600_000_000 + (at(i) * 250_000).cast_signed()),
            )),
        ),
        (
            "user_id",
            Arc::new(Int64Array::from_iter_values(
                rows.clone().map(|i| (noise(i) % 100_000).cast_signed()),
            )),
        ),
        (
            "kind",
            Arc::new(text(&|i| {
                ["view", "click", "buy", "leave"][(noise(i) >> 7) as usize % 4].to_owned()
            })),
        ),
        (
            "url",
            Arc::new(text(&|i| format!("/shop/item/{}", noise(i) % 5_000))),
        ),
        (
            "session",
            Arc::new(text(&|i| format!("{:016x}", noise(at(i) / 20)))),
        ),
        (
            "price",
            Arc::new(Float64Array::from_iter(rows.clone().map(|i| {
                (noise(i) % 3 == 0).then(|| (noise(i) % 100_000) as f64 / 100.0)
            }))),
        ),
        (
            "quantity",
            Arc::new(Int32Array::from_iter_values(
                rows.clone().map(|i| (noise(i) % 10) as i32),
            )),
        ),
        (
            "is_new",
            Arc::new(BooleanArray::from_iter(
                rows.clone().map(|i| Some(noise(i) % 2 == 0)),
            )),
        ),
        (
            "day",
            Arc::new(Date32Array::from_iter_values(
                rows.clone().map(|i| 20_454 + (at(i) / 345_600) as i32),
            )),
        ),
    ];
    RecordBatch::try_from_iter(columns)
}
