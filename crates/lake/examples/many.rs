//! What a long row of small commits costs: `cargo run --release -p forebay-lake --example many [COMMITS]`.
//!
//! Each commit is what a pipeline makes of a small push: rows of a table partitioned by day, one file of the raw index,
//! now and then quarantined rows and requests, and a position. Printed for every thousand commits: how long they took, the
//! CPU time of one with the writing of its files, how big the newest metadata file and the store are, how many manifests there are, and how long a scan takes to plan for a
//! process that has read nothing yet.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "shared/machine.rs"]
mod machine;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use forebay_core::{Clock, CommitId, Position, RefName, SystemClock, TableName};
use forebay_lake::{CommitRequest, Draft, Lake, WriterOptions};
use forebay_store::{AsOf, LeaseRequest, PositionMove};

use machine::{Failed, cpu_seconds, open_lake};

const COMMITS: u64 = 10_000;
const ROWS: u64 = 100;
const REPORT_EVERY: u64 = 1_000;
/// Commits that fall on one day of the partitioned table.
const COMMITS_A_DAY: u64 = 500;
const DAY_US: u64 = 86_400_000_000;
const MAIN: &str = "bench.events";

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let commits = std::env::args()
        .nth(1)
        .map_or(Ok(COMMITS), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let lake = open_lake(folder.path(), &clock).await?;
    let request = LeaseRequest {
        branch: RefName::main(),
        pipeline: "bench".parse()?,
        split: "all".parse()?,
        owner: "bench".to_owned(),
        duration: std::time::Duration::from_secs(3_600),
    };
    let lease = lake.store().take_lease(&request, false).await?;
    println!(
        "commits    p50 ms   p99 ms   max ms   cpu ms   metadata B   manifests   store MB   files   plan ms  one day ms"
    );
    let mut took = Vec::new();
    let mut cpu = cpu_seconds()?;
    for number in 0..commits {
        let drafts = drafts(&lake, number).await?;
        let position = PositionMove {
            pipeline: request.pipeline.clone(),
            split: request.split.clone(),
            epoch: lease.epoch,
            sequence: lease.sequence + number.cast_signed(),
            sequence_after: lease.sequence + number.cast_signed() + 1,
            position: Position(serde_json::json!({ "offset": number * ROWS })),
        };
        let commit = CommitRequest {
            id: CommitId::new(clock.now(), u128::from(number)),
            branch: RefName::main(),
            author: "bench".to_owned(),
            message: format!("push {number}"),
            run: None,
            drafts,
            positions: vec![position],
        };
        let start = clock.monotonic();
        lake.commit(commit).await?;
        took.push((clock.monotonic() - start).as_secs_f64() * 1e3);
        if (number + 1).is_multiple_of(REPORT_EVERY) {
            let each = (cpu_seconds()? - cpu) * 1e3 / REPORT_EVERY as f64;
            report(folder.path(), &clock, number + 1, &mut took, each).await?;
            cpu = cpu_seconds()?;
        }
    }
    Ok(())
}

async fn report(
    folder: &Path,
    clock: &Arc<dyn Clock>,
    commits: u64,
    took: &mut Vec<f64>,
    cpu: f64,
) -> Result<(), Failed> {
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    // Another process: nothing is cached.
    let lake = open_lake(folder, clock).await?;
    let start = clock.monotonic();
    let (head, name) = (AsOf::Head(RefName::main()), MAIN.parse()?);
    let table = lake.table(&head, &name).await?.ok_or("no table")?;
    let plan = table.scan(None).await?;
    let cold = (clock.monotonic() - start).as_secs_f64() * 1e3;
    let lake = open_lake(folder, clock).await?;
    let start = clock.monotonic();
    let again = lake.table(&head, &name).await?.ok_or("no table")?;
    let day = OneDay(20_454 + (commits / COMMITS_A_DAY / 2) as i64);
    let pruned = again.scan(Some(&day)).await?;
    let one = (clock.monotonic() - start).as_secs_f64() * 1e3;
    let metadata = std::fs::metadata(table.metadata_location().trim_start_matches("file://"))?;
    let store: u64 = ["store.db", "store.db-wal"]
        .iter()
        .filter_map(|name| std::fs::metadata(folder.join(name)).ok())
        .map(|file| file.len())
        .sum();
    println!(
        "{commits:>7} {:>9.2} {:>8.2} {:>8.2} {cpu:>8.2} {:>12} {:>11} {:>10.1} {:>7} {cold:>9.1} {one:>6.1} ({} of {} manifests, {} files)",
        at(0.5),
        at(0.99),
        at(1.0),
        metadata.len(),
        plan.manifests_total,
        store as f64 / 1e6,
        plan.files.len(),
        pruned.manifests_kept,
        pruned.manifests_total,
        pruned.files.len(),
    );
    took.clear();
    Ok(())
}

/// Keeps what can hold rows of one day.
struct OneDay(i64);

impl forebay_lake::scan::Prune for OneDay {
    fn keep(&self, bounds: &[forebay_lake::scan::Bounds]) -> forebay_core::Result<Vec<bool>> {
        use forebay_lake::scan::Value;
        let from = self.0 * DAY_US.cast_signed();
        let to = from + DAY_US.cast_signed();
        let may = |bounds: &forebay_lake::scan::Bounds| {
            let value = |value: Option<&Value>| match value {
                Some(Value::Timestamp(at)) => Some(*at),
                _ => None,
            };
            value(bounds.lower.get(&2)).is_none_or(|lower| lower < to)
                && value(bounds.upper.get(&2)).is_none_or(|upper| upper >= from)
        };
        Ok(bounds.iter().map(may).collect())
    }
}

async fn drafts(lake: &Lake, number: u64) -> Result<Vec<Draft>, Failed> {
    let mut drafts = vec![
        draft(lake, MAIN, events(number)?, Some("day(at)")).await?,
        draft(lake, "raw.bench", index(number)?, None).await?,
    ];
    if number.is_multiple_of(10) {
        drafts.push(draft(lake, "quarantine.bench", index(number)?, None).await?);
    }
    if number.is_multiple_of(5) {
        drafts.push(draft(lake, "audit.requests", index(number)?, None).await?);
    }
    Ok(drafts)
}

async fn draft(
    lake: &Lake,
    table: &str,
    rows: RecordBatch,
    partition: Option<&str>,
) -> Result<Draft, Failed> {
    let table: TableName = table.parse()?;
    let mut draft = lake.draft(&RefName::main(), &table).await?;
    if !draft.exists() {
        let partition = partition.map(str::parse).transpose()?;
        draft.create(&rows.schema(), &Vec::from_iter(partition))?;
    }
    let mut writer = draft.writer(WriterOptions::default())?;
    let files = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(files.await??);
    Ok(draft)
}

fn events(number: u64) -> Result<RecordBatch, Failed> {
    let first = number * ROWS;
    let noise = |i: u64| (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let ids = || first..first + ROWS;
    let long = |make: &dyn Fn(u64) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            ids().map(|i| make(i).cast_signed()),
        ))
    };
    let text = |make: &dyn Fn(u64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(ids().map(make)))
    };
    let day = number / COMMITS_A_DAY;
    let at =
        TimestampMicrosecondArray::from_iter_values(ids().map(|i| {
            ((20_454 + day) * DAY_US + i % (ROWS * COMMITS_A_DAY) * 1_000_000).cast_signed()
        }));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", long(&|i| i)),
        ("at", Arc::new(at)),
        ("user_id", long(&|i| noise(i) % 100_000)),
        (
            "kind",
            text(&|i| ["view", "buy"][(noise(i) >> 7) as usize % 2].to_owned()),
        ),
        ("url", text(&|i| format!("/shop/item/{}", noise(i) % 5_000))),
        ("session", text(&|i| format!("{:016x}", noise(i / 20)))),
        (
            "price",
            Arc::new(Float64Array::from_iter(ids().map(|i| {
                (noise(i) % 3 == 0).then(|| (noise(i) % 100_000) as f64 / 100.0)
            }))),
        ),
        ("quantity", long(&|i| noise(i) % 10)),
        ("country", text(&|i| format!("c{}", noise(i) % 200))),
        (
            "referrer",
            text(&|i| format!("https://example.org/{}", noise(i) % 50)),
        ),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// As the raw zone's index has it.
fn index(number: u64) -> Result<RecordBatch, Failed> {
    let text = |value: String| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let long = |value: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![value.cast_signed()])) };
    Ok(RecordBatch::try_from_iter([
        (
            "object",
            text(format!("raw/bench/all/dt=2026-01-01/{number:020}.zst")),
        ),
        ("ordinal", long(number)),
        ("offset", long(number * 7)),
        ("length", long(20_000)),
        ("sha256", text(format!("{number:064x}"))),
        ("content_type", text("application/json".to_owned())),
    ])?)
}
