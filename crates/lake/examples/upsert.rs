//! What it costs to replace rows by key: `cargo run --release -p forebay-lake --example upsert [ROWS]`.
//!
//! A table of so many rows (10 million) in ten files, keyed by a number whose rows are in no order, so that no file can be left
//! out. Then random keys of it are replaced, in commits of 1 thousand, 20 thousand and 1 million rows. Printed for each: the time of the
//! commit with the writing of its files, and the CPU time. Each count is checked before its figure is printed.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "shared/keyed.rs"]
mod keyed;
#[path = "shared/machine.rs"]
mod machine;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use forebay_core::{Clock, SystemClock};

use keyed::{live_rows, load};
use machine::{Failed, cpu_seconds, open_lake};

const ROWS: u64 = 10_000_000;
const FILES: u64 = 10;
/// Coprime to every power of ten: multiplying by it visits each number below one once.
const STEP: u64 = 7_368_787;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let rows: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(ROWS), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let lake = open_lake(folder.path(), &clock).await?;
    let part = rows / FILES;
    for file in 0..FILES {
        let keys = (file * part..(file + 1) * part).map(|n| n * STEP % rows);
        load(&lake, &clock, batch, keys.collect(), false).await?;
    }
    println!("{rows} rows in {FILES} files");
    for count in [1_000, 20_000, 20_000, 1_000_000.min(rows / 2)] {
        let keys: Vec<u64> = (0..count)
            .map(|n| (n * 48_271 + count) * 99_991 % rows)
            .collect();
        let (start, cpu) = (clock.monotonic(), cpu_seconds()?);
        load(&lake, &clock, batch, keys, true).await?;
        let took = clock.monotonic().saturating_sub(start).as_secs_f64();
        let cpu = cpu_seconds()? - cpu;
        let live = live_rows(&lake).await?;
        if live != rows {
            return Err(format!("{live} rows, not {rows}").into());
        }
        println!("{count:>9} keys: {took:.3} s, {cpu:.3} s of CPU");
    }
    Ok(())
}

fn batch(keys: &[u64]) -> Result<RecordBatch, Failed> {
    let ids = Int64Array::from_iter_values(keys.iter().map(|key| key.cast_signed()));
    let prices = Float64Array::from_iter_values(keys.iter().map(|key| *key as f64 / 4.0));
    Ok(RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("price", Arc::new(prices)),
    ])?)
}
