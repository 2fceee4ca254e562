//! What it costs to replace rows by key: `cargo run --release -p forebay-lake --example upsert [ROWS]`.
//!
//! A table of so many rows (10 million) in ten files, keyed by a number whose rows are in no order, so that no file can be left
//! out. Then random keys of it are replaced, in commits of 1 thousand, 20 thousand and 1 million rows. Printed for each: the time of the
//! commit with the writing of its files, and the CPU time. Each count is checked before its figure is printed.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use forebay_core::{Clock, CommitId, RefName, SystemClock, TableName};
use forebay_lake::{CommitRequest, Draft, Lake, WriterOptions};
use forebay_store::{AsOf, Store};
use object_store::local::LocalFileSystem;

type Failed = Box<dyn Error + Send + Sync>;

const ROWS: u64 = 10_000_000;
const FILES: u64 = 10;
const BATCH: u64 = 65_536;
const TABLE: &str = "bench.rows";
/// Coprime to every power of ten: multiplying by it visits each number below one once.
const STEP: u64 = 7_368_787;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let rows: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(ROWS), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let lake = open(folder.path(), &clock).await?;
    let part = rows / FILES;
    for file in 0..FILES {
        let keys = (file * part..(file + 1) * part).map(|n| n * STEP % rows);
        load(&lake, &clock, keys.collect(), false).await?;
    }
    println!("{rows} rows in {FILES} files");
    for count in [1_000, 20_000, 20_000, 1_000_000.min(rows / 2)] {
        let keys: Vec<u64> = (0..count)
            .map(|n| (n * 48_271 + count) * 99_991 % rows)
            .collect();
        let (start, cpu) = (clock.monotonic(), cpu_seconds()?);
        load(&lake, &clock, keys, true).await?;
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

async fn open(folder: &Path, clock: &Arc<dyn Clock>) -> Result<Lake, Failed> {
    let store = Store::open(&folder.join("store.db"), Arc::clone(clock)).await?;
    let objects = Arc::new(LocalFileSystem::new_with_prefix(folder)?);
    let root = format!("file://{}", folder.display());
    Ok(Lake::new(store, objects, root, Arc::clone(clock)))
}

/// Commits a row for each key.
async fn load(
    lake: &Lake,
    clock: &Arc<dyn Clock>,
    keys: Vec<u64>,
    is_upsert: bool,
) -> Result<(), Failed> {
    let table: TableName = TABLE.parse()?;
    let mut draft = lake.draft(&RefName::main(), &table).await?;
    if !draft.exists() {
        draft.create(&batch(&[0])?.schema(), &[])?;
    }
    if is_upsert {
        draft.upsert_by(&["id".to_owned()], None)?;
    }
    let draft = tokio::task::spawn_blocking(move || write(draft, &keys)).await??;
    let request = CommitRequest {
        id: CommitId::new(clock.now(), uuid::Uuid::new_v4().as_u128()),
        branch: RefName::main(),
        author: "bench".to_owned(),
        message: "rows".to_owned(),
        run: None,
        drafts: vec![draft],
        positions: Vec::new(),
    };
    lake.commit(request).await?;
    Ok(())
}

fn write(mut draft: Draft, keys: &[u64]) -> Result<Draft, Failed> {
    let mut writer = draft.writer(WriterOptions::default())?;
    for keys in keys.chunks(BATCH as usize) {
        writer.write(&batch(keys)?)?;
    }
    draft.append(writer.finish()?);
    Ok(draft)
}

fn batch(keys: &[u64]) -> Result<RecordBatch, Failed> {
    let ids = Int64Array::from_iter_values(keys.iter().map(|key| key.cast_signed()));
    let prices = Float64Array::from_iter_values(keys.iter().map(|key| *key as f64 / 4.0));
    Ok(RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("price", Arc::new(prices)),
    ])?)
}

async fn live_rows(lake: &Lake) -> Result<u64, Failed> {
    let table = lake
        .table(&AsOf::Head(RefName::main()), &TABLE.parse()?)
        .await?;
    let plan = table.ok_or("the table is gone")?.scan(None).await?;
    let live = plan.files.iter().map(|file| {
        let deleted = file.deleted.as_ref().map_or(0, |deleted| deleted.len());
        file.rows - deleted
    });
    Ok(live.sum())
}

/// User and system time of this process so far.
fn cpu_seconds() -> Result<f64, Failed> {
    let usage = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = usage
        .rsplit(')')
        .next()
        .ok_or("no fields")?
        .split_whitespace()
        .collect();
    let ticks = |at: usize| -> Result<f64, Failed> { Ok(fields.get(at).ok_or("short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
