//! A compaction from plan to commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::{CommitId, Context, Error, ErrorKind, Result, Timestamp};
use forebay_store::AsOf;
use uuid::Uuid;

use super::plan::{CompactionPlan, deleted_rows, live_bytes, plan};
use super::update::{CompactionUpdate, RewrittenGroup};
use super::{CompactRequest, CompactedTable};
use crate::scan::ScanFile;
use crate::schema::WidenedFields;
use crate::snapshot::unknown_spec;
use crate::write::rewrite::{OldFile, RewriteOrder, RewriteTarget, rewrite_files};
use crate::{CommitRequest, DataFile, Draft, Lake, Table};

pub(super) async fn compact(lake: &Lake, request: &CompactRequest) -> Result<CompactedTable> {
    let as_of = AsOf::Head(request.branch.clone());
    let table = lake.table(&as_of, &request.table).await?;
    let table = table.ok_or_else(|| {
        let what = format!("table {} not found on {}", request.table, request.branch);
        Error::not_found("no_such_table", what)
            .with_hint("run `forebay tables` to list the existing tables")
    })?;
    let mut compacted = CompactedTable::default();
    let planned = match plan(&table, &request.rules).await {
        Err(error) if is_of_file(&error) => {
            compacted.problems.push(error.to_string());
            return Ok(compacted);
        }
        planned => planned.context("table", &request.table)?,
    };
    if request.dry_run {
        return Ok(estimate(&planned));
    }
    let compaction = Compaction {
        lake,
        request,
        table: &table,
        order: RewriteOrder {
            sort: planned.sort.clone(),
            stop: Arc::default(),
        },
    };
    let _stopped = StopOnDrop(Arc::clone(&compaction.order.stop));
    compaction.run(planned, &mut compacted).await?;
    Ok(compacted)
}

fn estimate(plan: &CompactionPlan) -> CompactedTable {
    let mut compacted = CompactedTable::default();
    for group in &plan.groups {
        count_old(&mut compacted, group);
        let bytes: u64 = group.iter().map(live_bytes).sum();
        if bytes > 0 {
            compacted.written.files += 1;
            compacted.written.bytes += bytes;
        }
    }
    compacted
}

fn count_old(compacted: &mut CompactedTable, group: &[ScanFile]) {
    compacted.replaced.files += group.len() as u64;
    compacted.replaced.bytes += group.iter().map(|file| file.bytes).sum::<u64>();
    compacted.rows_dropped += group.iter().map(deleted_rows).sum::<u64>();
}

/// Stops the thread that writes files when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Compaction<'a> {
    lake: &'a Lake,
    request: &'a CompactRequest,
    table: &'a Table,
    order: RewriteOrder,
}

impl Compaction<'_> {
    async fn run(&self, mut plan: CompactionPlan, compacted: &mut CompactedTable) -> Result<()> {
        let mut partitions = std::mem::take(&mut plan.partitions);
        let mut written = Vec::new();
        let mut bytes = 0;
        let mut begun = self.lake.clock().now();
        let mut groups = plan.groups.into_iter().peekable();
        while groups.peek().is_some() || !partitions.is_empty() {
            if let Some(group) = groups.next() {
                bytes += group.iter().map(|file| file.bytes).sum::<u64>();
                written.extend(self.rewrite(group, compacted).await?);
            }
            if groups.peek().is_none() || bytes >= self.request.rules.commit_bytes_max {
                let update = CompactionUpdate::new(
                    std::mem::take(&mut written),
                    std::mem::take(&mut partitions),
                    self.request.rules.delete_files_min,
                );
                self.commit(update, begun, compacted).await?;
                bytes = 0;
                begun = self.lake.clock().now();
            }
        }
        Ok(())
    }

    /// `None` when a file of the group cannot be read.
    async fn rewrite(
        &self,
        old: Vec<ScanFile>,
        compacted: &mut CompactedTable,
    ) -> Result<Option<RewrittenGroup>> {
        let target = RewriteTarget {
            uuid: self.table.uuid(),
            schema: Arc::clone(self.table.metadata().current_schema()),
            folder: self
                .table
                .storage()
                .path(self.table.metadata().location())?,
            storage: Arc::clone(self.table.storage()),
            widened: WidenedFields::new(),
        };
        let files: Result<Vec<OldFile>> = old.iter().map(|file| self.old_file(file)).collect();
        let (files, order) = (files?, self.order.clone());
        let written = tokio::task::spawn_blocking(move || rewrite_files(&target, &files, &order));
        let written = written.await.unwrap_or_else(|error| {
            Err(Error::bug("rewrite_panicked", "rewriting data files panicked").with_source(error))
        });
        match written {
            Ok(new) => Ok(Some(RewrittenGroup {
                old,
                new,
                keeps_order: self.order.sort.is_empty(),
            })),
            Err(error) if is_of_file(&error) => {
                compacted.problems.push(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error).context("table", &self.request.table),
        }
    }

    fn old_file(&self, file: &ScanFile) -> Result<OldFile> {
        let spec = self.table.metadata().partition_spec_by_id(file.spec_id);
        Ok(OldFile {
            path: file.path.clone(),
            bytes: file.bytes,
            spec: Arc::clone(spec.ok_or_else(|| unknown_spec(file.spec_id))?),
            partition: file.partition_values.clone(),
            deleted: file.deleted.clone(),
        })
    }

    /// Makes the change; its files were written after `begun`.
    async fn commit(
        &self,
        update: CompactionUpdate,
        begun: Timestamp,
        compacted: &mut CompactedTable,
    ) -> Result<()> {
        if update.groups.is_empty() && update.partitions.is_empty() {
            return Ok(());
        }
        let update = Arc::new(update);
        let now = self.lake.clock().now();
        let mut draft = Draft::of(self.table.clone(), begun);
        draft.compact(Arc::clone(&update));
        let request = CommitRequest {
            id: CommitId::new(now, Uuid::new_v4().as_u128()),
            branch: self.request.branch.clone(),
            author: self.request.author.clone(),
            message: format!("compact {}", self.request.table),
            run: None,
            drafts: vec![draft],
            positions: Vec::new(),
        };
        match self.lake.commit(request).await {
            Ok(_) => {
                self.landed(&update, compacted).await;
                Ok(())
            }
            Err(error) if is_outdated(&error) => {
                compacted.outdated += update.groups.len() as u64;
                self.discard(update.groups.iter()).await;
                Ok(())
            }
            // It may have landed: orphan cleanup deletes the files if not.
            Err(error) => Err(error),
        }
    }

    async fn landed(&self, update: &CompactionUpdate, compacted: &mut CompactedTable) {
        let landed = update.landed();
        compacted.commits += 1;
        compacted.deletes_removed += landed.deletes_removed;
        for (number, group) in update.groups.iter().enumerate() {
            if !landed.groups.contains(&number) {
                compacted.outdated += 1;
                self.discard(std::iter::once(group)).await;
                continue;
            }
            count_old(compacted, &group.old);
            if let Some(new) = &group.new {
                compacted.written.files += 1;
                compacted.written.bytes += new.bytes;
            }
        }
    }

    async fn discard(&self, groups: impl Iterator<Item = &RewrittenGroup>) {
        let files = groups.filter_map(|group| group.new.as_ref());
        let paths: Vec<_> = files.map(|file: &DataFile| file.path.clone()).collect();
        for path in paths {
            self.lake.storage().delete_unnamed(&path).await;
        }
    }
}

/// Damage, a missing file, or one that another engine wrote in a way that is not written again.
fn is_of_file(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Data | ErrorKind::NotFound | ErrorKind::Unsupported
    )
}

/// Other writers were first; they may have dropped or recreated the table too. The compaction has not landed.
fn is_outdated(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
        && ["compaction_outdated", "schema_moved", "commit_contended"].contains(&error.code())
}
