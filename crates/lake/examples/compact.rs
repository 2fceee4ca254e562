//! What it costs to compact: `cargo run --release -p forebay-lake --example compact [ROWS [FILES]]`.
//!
//! A table of so many rows (10 million) of six columns in so many files (200), of which each tenth row has been replaced by an upsert. Printed: the time
//! of the compaction, its CPU time, and rows for each second of that. The count is checked before a figure is printed.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "shared/keyed.rs"]
mod keyed;
#[path = "shared/machine.rs"]
mod machine;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use forebay_core::{Clock, RefName, SystemClock};
use forebay_lake::{CompactRequest, CompactionRules};

use keyed::{live_rows, load, table};
use machine::{Failed, cpu_seconds, open_lake};

const ROWS: u64 = 10_000_000;
const FILES: u64 = 200;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: u64| arguments.next().map_or(Ok(usual), |text| text.parse());
    let (rows, files) = (number(ROWS)?, number(FILES)?);
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let lake = open_lake(folder.path(), &clock).await?;
    let part = rows / files;
    for file in 0..files {
        let keys = (file * part..(file + 1) * part).collect();
        load(&lake, &clock, batch, keys, false).await?;
    }
    let replaced = (0..rows).step_by(10).collect();
    load(&lake, &clock, batch, replaced, true).await?;
    let request = CompactRequest {
        branch: RefName::main(),
        table: table()?,
        rules: CompactionRules::default(),
        dry_run: false,
        author: "bench".to_owned(),
    };
    let (start, cpu) = (clock.monotonic(), cpu_seconds()?);
    let done = lake.compact(&request).await?;
    let took = clock.monotonic().saturating_sub(start).as_secs_f64();
    let cpu = cpu_seconds()? - cpu;
    let live = live_rows(&lake).await?;
    if live != part * files {
        return Err(format!("{live} rows, not {}", part * files).into());
    }
    println!(
        "{live} rows, {} files of {} MB became {} of {} MB: {took:.2} s, {cpu:.2} s of CPU, {:.0} rows/s of CPU",
        done.replaced.files,
        done.replaced.bytes / 1_000_000,
        done.written.files,
        done.written.bytes / 1_000_000,
        live as f64 / cpu,
    );
    Ok(())
}

fn batch(keys: &[u64]) -> Result<RecordBatch, Failed> {
    let keys = || keys.iter().copied();
    // Spread over all values, as identifiers are.
    let mixed = |key: u64| key.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let ids = Int64Array::from_iter_values(keys().map(u64::cast_signed));
    let at = TimestampMicrosecondArray::from_iter_values(
        keys().map(|key| 1_767_225_600_000_000 + key.cast_signed() * 977_113),
    );
    let users =
        Int64Array::from_iter_values(keys().map(|key| (mixed(key) % 100_000).cast_signed()));
    let prices =
        Float64Array::from_iter_values(keys().map(|key| (mixed(key) % 10_000) as f64 / 4.0));
    let states = ["new", "paid", "sent", "returned"];
    let states = StringArray::from_iter_values(keys().map(|key| states[mixed(key) as usize % 4]));
    let notes = StringArray::from_iter_values(keys().map(|key| format!("order {:x}", mixed(key))));
    Ok(RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("at", Arc::new(at.with_timezone("UTC"))),
        ("user", Arc::new(users)),
        ("price", Arc::new(prices)),
        ("state", Arc::new(states)),
        ("note", Arc::new(notes)),
    ])?)
}
