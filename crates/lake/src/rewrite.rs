//! A table whose files are written again, because columns of whole numbers become doubles.
//!
//! It is part of a commit: a snapshot that replaces every file by one with the same rows, and on it the snapshot of the
//! appended rows. Nothing of it is visible before the store's commit. Files that other writers append concurrently are
//! rewritten too, before the next attempt. Bounded by the size of the table: see [`REWRITE_BYTES_MAX`].

mod obstacle;

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{Error, ErrorKind, Result};
use iceberg::spec::TableMetadata;
use object_store::path::Path;
use roaring::RoaringTreemap;
use tokio::sync::Mutex;

use crate::scan::{ScanFile, TableFile};
use crate::snapshot::Change;
use crate::upsert::WrittenKeys;
use crate::write::rewrite::{OldFile, RewriteTarget, rewrite_file};
use crate::{DataFile, Draft, Table};

pub(crate) use obstacle::find_obstacle;
pub use obstacle::{REWRITE_BYTES_MAX, WideningObstacle};

/// Property of a table: bytes that were written again so far.
pub(crate) const REWRITTEN_PROPERTY: &str = "forebay.rewritten-bytes";

/// In the summary of a snapshot whose files each have the sequence number, and the rows, of one file before it.
pub const SAME_SEQUENCES_NOTE: &str = "forebay.same-sequences";

/// The files of a table written again, each once however often the commit is tried.
#[derive(Debug)]
pub(crate) struct TableRewrite {
    target: Arc<RewriteTarget>,
    /// By the path of the old file.
    done: Mutex<BTreeMap<Path, RewrittenFile>>,
}

/// A file that was written again.
#[derive(Debug)]
struct RewrittenFile {
    /// The rows that were left out: more may be deleted before the commit.
    deleted: Option<Arc<RoaringTreemap>>,
    /// `None`: all of its rows are deleted.
    file: Option<DataFile>,
}

/// A snapshot that replaces all files of a table.
pub(crate) struct Replacement {
    pub(crate) change: Change,
    /// The new value of [`REWRITTEN_PROPERTY`].
    pub(crate) bytes_total: u64,
}

impl TableRewrite {
    /// `None` for a draft that widens nothing.
    pub(crate) fn of(draft: &Draft) -> Result<Option<Self>> {
        if draft.widened().is_empty() {
            return Ok(None);
        }
        let target = RewriteTarget {
            uuid: draft.uuid(),
            schema: draft.iceberg_schema()?,
            folder: draft.folder(),
            storage: Arc::clone(draft.storage()),
            widened: draft.widened().clone(),
        };
        Ok(Some(Self {
            target: Arc::new(target),
            done: Mutex::default(),
        }))
    }

    /// Files of the draft itself that were written before it was widened. The old ones are deleted: nothing names them.
    pub(crate) async fn renew(
        &self,
        table: &TableMetadata,
        stale: Vec<DataFile>,
        keys: Option<&parking_lot::Mutex<WrittenKeys>>,
    ) -> Result<Vec<DataFile>> {
        let mut renewed = Vec::with_capacity(stale.len());
        for file in stale {
            let old = OldFile {
                path: file.path.clone(),
                bytes: file.bytes,
                spec: spec(table, file.spec_id)?,
                partition: file.file.partition().clone(),
                deleted: None,
            };
            let written = self.written(old).await?;
            if let (Some(keys), Some(written)) = (keys, &written) {
                keys.lock().rename(&file.path, &written.path);
            }
            renewed.extend(written);
            self.target.storage.delete_unnamed(&file.path).await;
        }
        Ok(renewed)
    }

    /// Writes every file of `table` again that was not yet; gives them with the sequence numbers of the old ones.
    ///
    /// Errors: `Conflict` `widening_outdated` when the table cannot be widened any more.
    pub(crate) async fn cover(&self, table: &Table) -> Result<Vec<(DataFile, i64)>> {
        let old_ids = self.target.widened.values().copied().collect();
        if let Some(obstacle) = find_obstacle(table, &old_ids).await? {
            return Err(outdated(&obstacle.reason));
        }
        let mut done = self.done.lock().await;
        let mut files = Vec::new();
        for file in table.scan(None).await?.files {
            let known = done.get(&file.path);
            if known.is_none_or(|known| known.deleted != file.deleted) {
                let written = self.written(old_file(table.metadata(), &file)?).await;
                let rewritten = RewrittenFile {
                    deleted: file.deleted.clone(),
                    file: written.map_err(inexact_is_outdated)?,
                };
                let before = done.insert(file.path.clone(), rewritten);
                if let Some(outdated) = before.and_then(|before| before.file) {
                    self.target.storage.delete_unnamed(&outdated.path).await;
                }
            }
            let written = done.get(&file.path).and_then(|known| known.file.clone());
            files.extend(written.map(|written| (written, file.sequence)));
        }
        Ok(files)
    }

    /// The replacement of the files of `head`, for `ground`, which is `head` with the widened schema.
    pub(crate) async fn replacement(
        &self,
        head: &Table,
        ground: &TableMetadata,
    ) -> Result<Option<Replacement>> {
        if head.snapshot_id().is_none() {
            return Ok(None);
        }
        let files = self.cover(head).await?;
        let replaced: Vec<TableFile> = head.files().await?;
        let storage = &self.target.storage;
        let change = Change::replace(ground, storage, &files, &replaced).await?;
        let bytes: u64 = replaced.iter().map(|file| file.bytes).sum();
        Ok(Some(Replacement {
            change,
            bytes_total: rewritten_bytes(head.metadata()).saturating_add(bytes),
        }))
    }

    async fn written(&self, old: OldFile) -> Result<Option<DataFile>> {
        let target = Arc::clone(&self.target);
        let written = tokio::task::spawn_blocking(move || rewrite_file(&target, &old));
        written.await.unwrap_or_else(|error| {
            Err(Error::bug("rewrite_panicked", "rewriting a data file panicked").with_source(error))
        })
    }
}

/// Bytes of a table that were written again so far.
pub(crate) fn rewritten_bytes(table: &TableMetadata) -> u64 {
    let recorded = table.properties().get(REWRITTEN_PROPERTY);
    recorded.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn old_file(table: &TableMetadata, file: &ScanFile) -> Result<OldFile> {
    Ok(OldFile {
        path: file.path.clone(),
        bytes: file.bytes,
        spec: spec(table, file.spec_id)?,
        partition: file.partition_values.clone(),
        deleted: file.deleted.clone(),
    })
}

fn spec(table: &TableMetadata, id: i32) -> Result<iceberg::spec::PartitionSpecRef> {
    let spec = table.partition_spec_by_id(id).cloned();
    spec.ok_or_else(|| crate::snapshot::unknown_spec(id))
}

/// Another writer has added a value that no double holds.
fn inexact_is_outdated(error: Error) -> Error {
    match error.kind() == ErrorKind::Data && error.code() == "inexact_value" {
        true => outdated(error.message()),
        false => error,
    }
}

fn outdated(why: &str) -> Error {
    let message = format!("another writer changed the table while columns were widened: {why}");
    Error::conflict("widening_outdated", message)
        .with_hint("read the table again and redo the change")
}
