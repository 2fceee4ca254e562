//! What it costs to compact: `cargo run --release -p forebay-lake --example compact [ROWS [FILES]]`.
//!
//! A table of so many rows (10 million) of six columns in so many files (200), of which each tenth row has been replaced by an upsert. Printed: the time
//! of the compaction, its CPU time, and rows for each second of that. The count is checked before a figure is printed.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use forebay_core::{Clock, CommitId, RefName, SystemClock, TableName};
use forebay_lake::{CommitRequest, CompactRequest, CompactionRules, Draft, Lake, WriterOptions};
use forebay_store::{AsOf, Store};
use object_store::local::LocalFileSystem;

type Failed = Box<dyn Error + Send + Sync>;

const ROWS: u64 = 10_000_000;
const FILES: u64 = 200;
const BATCH: u64 = 65_536;
const TABLE: &str = "bench.rows";

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: u64| arguments.next().map_or(Ok(usual), |text| text.parse());
    let (rows, files) = (number(ROWS)?, number(FILES)?);
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let lake = open(folder.path(), &clock).await?;
    let part = rows / files;
    for file in 0..files {
        load(
            &lake,
            &clock,
            (file * part..(file + 1) * part).collect(),
            false,
        )
        .await?;
    }
    load(&lake, &clock, (0..rows).step_by(10).collect(), true).await?;
    let request = CompactRequest {
        branch: RefName::main(),
        table: TABLE.parse()?,
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
