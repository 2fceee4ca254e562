//! When the rows of a raw index were committed: what a bitemporal table is made again with.
//!
//! The log of the catalog has the time of each commit, and the state of the raw table after it the sequence number of its files.

use std::collections::BTreeMap;

use forebay_core::{Error, Result, TableName, Timestamp};
use forebay_lake::Lake;
use forebay_store::{AsOf, CommitRecord};

use crate::engine::RunContext;

/// Commits of the log that are looked at.
const COMMITS_MAX: u32 = 1_000_000;

/// Times of commits by the sequence number of the raw table.
pub(super) struct CommitTimes(BTreeMap<i64, Timestamp>);

impl CommitTimes {
    pub(super) async fn read(context: &RunContext, raw: &TableName) -> Result<Self> {
        let log = context
            .lake
            .store()
            .log(&context.branch, COMMITS_MAX)
            .await?;
        let mut times = BTreeMap::new();
        for record in log.iter().rev().filter(|record| changes(record, raw)) {
            if let Some(sequence) = sequence_after(&context.lake, record, raw).await? {
                // A later commit may have changed properties only.
                times.entry(sequence).or_insert(record.at);
            }
        }
        Ok(Self(times))
    }

    /// Errors: `Unsupported` `rebuild_unsupported`.
    pub(super) fn of(&self, sequence: i64) -> Result<Timestamp> {
        let time = self.0.get(&sequence).copied();
        time.ok_or_else(|| {
            let what =
                "the log of the catalog no longer has the time of every commit of this pipeline";
            Error::unsupported("rebuild_unsupported", what)
                .with_hint("the history is in the table itself: FOR SYSTEM_TIME AS OF 'time'")
        })
    }
}

fn changes(record: &CommitRecord, raw: &TableName) -> bool {
    record.changes.iter().any(|(table, _, _)| table == raw)
}

/// `None` when that state is not kept, or has no rows.
async fn sequence_after(
    lake: &Lake,
    record: &CommitRecord,
    raw: &TableName,
) -> Result<Option<i64>> {
    let table = match lake.table(&AsOf::Commit(record.id), raw).await {
        Err(error) if error.code() == "expired" => None,
        table => table?,
    };
    let snapshots = table.map(|table| table.snapshots());
    Ok(snapshots.and_then(|snapshots| snapshots.last().map(|last| last.sequence)))
}
