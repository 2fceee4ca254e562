//! `compact_every` of `[lake]`: the running server compacts tables that have got many small files or deleted rows.
//!
//! One table after another, on one thread. Servers that share a store leave a table alone that another one has compacted just now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{RefName, Result, TableName};
use forebay_lake::{CompactRequest, CompactionRules, Table};
use forebay_store::AsOf;
use tokio_util::sync::CancellationToken;

use crate::wire::Workspace;

/// Compacts on schedule, until `stop`. Failures are logged and retried.
pub(super) async fn regularly(workspace: Arc<Workspace>, stop: CancellationToken) {
    let every = workspace.settings().lake.compact_every.0;
    if every.is_zero() {
        return;
    }
    let clock = workspace.clock();
    let mut maintenance = Maintenance {
        workspace,
        every,
        seen: HashMap::new(),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(every) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = maintenance.compact_tables() => {}
        }
    }
}

struct Maintenance {
    workspace: Arc<Workspace>,
    every: Duration,
    /// The newest metadata of each table in which there was nothing to do.
    seen: HashMap<TableName, String>,
}

impl Maintenance {
    async fn compact_tables(&mut self) {
        let as_of = AsOf::Head(RefName::main());
        let heads = match self.workspace.lake().store().heads(&as_of).await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::error!(%error, "failed to list the tables to compact, retrying");
                return;
            }
        };
        self.seen
            .retain(|table, _| heads.iter().any(|head| head.table == *table));
        for head in heads {
            if self.seen.get(&head.table) == Some(&head.metadata_location) {
                continue;
            }
            match self.compact(&head.table).await {
                Ok(true) => {
                    self.seen.insert(head.table, head.metadata_location);
                }
                Ok(false) => (),
                Err(error) => {
                    tracing::error!(table = %head.table, %error, "failed to compact table, retrying");
                }
            }
        }
    }

    /// Returns whether there was nothing to do.
    async fn compact(&self, table: &TableName) -> Result<bool> {
        let lake = self.workspace.lake();
        let head = lake.table(&AsOf::Head(RefName::main()), table).await?;
        let Some(head) = head else { return Ok(true) };
        if self.was_just_compacted(&head) {
            return Ok(false);
        }
        let request = CompactRequest {
            branch: RefName::main(),
            table: table.clone(),
            rules: CompactionRules {
                usual_target_bytes: self.workspace.settings().lake.compact_file_size.0,
                ..CompactionRules::repeated()
            },
            dry_run: false,
            author: self.workspace.author(),
        };
        let done = lake.compact(&request).await?;
        for problem in &done.problems {
            tracing::warn!(%table, %problem, "files of a table were not compacted");
        }
        if !done.is_untouched() {
            tracing::info!(
                %table,
                files_before = done.replaced.files,
                bytes_before = done.replaced.bytes,
                files_after = done.written.files,
                bytes_after = done.written.bytes,
                deleted_rows = done.rows_dropped,
                "compacted table"
            );
        }
        Ok(done.is_untouched() && done.outdated == 0)
    }

    /// Whether the newest replacement of files is younger than half of the schedule.
    fn was_just_compacted(&self, table: &Table) -> bool {
        let now = self.workspace.clock().now();
        let snapshots = table.snapshots().into_iter().rev();
        let newest = snapshots
            .filter(|snapshot| snapshot.operation == "replace")
            .map(|snapshot| snapshot.at)
            .next();
        newest.is_some_and(|at| now.since(at) < self.every / 2)
    }
}
