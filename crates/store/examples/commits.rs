//! Commits per second, one at a time and as many callers at once as fit in one group; of one process.
//!
//!     cargo run --release -p forebay-store --example commits -- [SECONDS] [FOLDER | postgres://…?schema=NEW]
//!
//! A folder gets a SQLite file that is removed at the end; a schema of Postgres stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, CommitId, Ident, Position, RefName, Result, SystemClock};
use forebay_store::{Change, Commit, HeadChange, LeaseRequest, PositionMove, Store, StoreUrl};
use uuid::Uuid;

/// Tables that a commit moves, beside one position.
const TABLES: usize = 3;

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "an example that prints what it measured"
)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let place = arguments.next();
    let server = place.as_ref().filter(|place| place.contains("://"));
    let folder = place
        .as_ref()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join(format!("commits-{}.db", Uuid::new_v4()));
    let url = match server {
        Some(url) => url.parse()?,
        None => StoreUrl::from(path.as_path()),
    };
    let clock = SystemClock::shared();
    let store = Store::open_url(&url, Arc::clone(&clock)).await?;
    for writers in [1, 64] {
        let until = clock.monotonic() + Duration::from_secs(seconds);
        let tasks = (0..writers).map(|n| {
            let pipeline = format!("p{writers}_{n}");
            tokio::spawn(write(store.clone(), Arc::clone(&clock), pipeline, until))
        });
        let mut commits = 0;
        for task in futures::future::join_all(tasks).await {
            commits += task.expect("a writer does not panic")?;
        }
        println!("{writers:>3} at once: {:>7} commits/s", commits / seconds);
    }
    store.close().await;
    std::fs::remove_file(&path).ok();
    Ok(())
}

/// One pipeline that commits as fast as it is answered.
async fn write(
    store: Store,
    clock: Arc<dyn Clock>,
    pipeline: String,
    until: Duration,
) -> Result<u64> {
    let pipeline: Ident = pipeline.parse()?;
    let split: Ident = "all".parse()?;
    let owner = Uuid::new_v4().to_string();
    let request = LeaseRequest {
        branch: RefName::main(),
        pipeline: pipeline.clone(),
        split: split.clone(),
        owner,
        duration: Duration::from_secs(600),
    };
    let lease = store.take_lease(&request, true).await?;
    let mut location = None;
    let mut commits = 0;
    for sequence in lease.sequence.. {
        if clock.monotonic() >= until {
            break;
        }
        let next = format!(
            "file:///lake/{}/metadata/{sequence}.metadata.json",
            Uuid::new_v4()
        );
        let position = Position(serde_json::json!({ "offset": sequence }));
        store
            .commit(Commit {
                id: CommitId::new(clock.now(), Uuid::new_v4().as_u128()),
                branch: RefName::main(),
                author: "example".to_owned(),
                message: "append".to_owned(),
                run: None,
                at: None,
                heads: (0..TABLES)
                    .map(|table| head(&pipeline, table, &location, &next))
                    .collect::<Result<_>>()?,
                positions: vec![PositionMove {
                    pipeline: pipeline.clone(),
                    split: split.clone(),
                    epoch: lease.epoch,
                    sequence,
                    sequence_after: sequence + 1,
                    position,
                }],
            })
            .await?;
        location = Some(next);
        commits += 1;
    }
    Ok(commits)
}

fn head(
    pipeline: &Ident,
    table: usize,
    expected: &Option<String>,
    next: &str,
) -> Result<HeadChange> {
    Ok(HeadChange {
        table: format!("bench.{pipeline}_{table}").parse()?,
        uuid: Uuid::new_v4(),
        expected: expected.clone(),
        change: Change::Set(next.to_owned()),
    })
}
