//! Files that were written again, put in the place of the old ones in whatever state the table has by now.
//!
//! Checked for each head that a commit is tried on: all old files of a group are live, or the group is left out. Rows that another writer has
//! deleted from an old file since it was read are deleted from the new one by the same commit: rows keep their order, so
//! the place of each is known.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use forebay_core::{Error, Result};
use iceberg::spec::FormatVersion;
use object_store::path::Path;
use parking_lot::Mutex;
use roaring::RoaringTreemap;

use super::plan::{deleted_rows, partition, paths};
use crate::scan::{DecodedDeletes, LiveDelete, PartitionKey, ScanFile, TableContent, TableFile};
use crate::snapshot::Change;
use crate::upsert::RowDeletes;
use crate::write::position_deletes::write_position_deletes;
use crate::{DataFile, Table};

/// Files that became one.
#[derive(Debug)]
pub(crate) struct RewrittenGroup {
    pub(super) old: Vec<ScanFile>,
    /// `None`: all of their rows are deleted.
    pub(super) new: Option<DataFile>,
    /// Whether rows are in the order of the files and of the rows in them.
    pub(super) keeps_order: bool,
}

/// The change of a compaction.
#[derive(Debug)]
pub(crate) struct CompactionUpdate {
    pub(super) groups: Vec<RewrittenGroup>,
    /// Partitions whose delete files become one.
    pub(super) partitions: HashSet<PartitionKey>,
    pub(super) delete_files_min: usize,
    decoded: DecodedDeletes,
    landed: Mutex<LandedChange>,
}

/// The part of the change that the last attempt made.
#[derive(Debug, Clone, Default)]
pub(super) struct LandedChange {
    /// Numbers of groups.
    pub(super) groups: HashSet<usize>,
    pub(super) deletes_removed: u64,
}

/// A change for one head, and the files that were written for it alone.
pub(crate) struct CompactionChange {
    pub(crate) change: Change,
    pub(crate) own_files: Vec<Path>,
}

impl CompactionUpdate {
    pub(super) fn new(
        groups: Vec<RewrittenGroup>,
        partitions: HashSet<PartitionKey>,
        delete_files_min: usize,
    ) -> Self {
        Self {
            groups,
            partitions,
            delete_files_min,
            decoded: DecodedDeletes::default(),
            landed: Mutex::default(),
        }
    }

    /// The result of the last attempt; valid once that has landed.
    pub(super) fn landed(&self) -> LandedChange {
        self.landed.lock().clone()
    }

    /// The change to `table`.
    ///
    /// Errors: `Conflict` `compaction_outdated` when other writers have left nothing to do.
    pub(crate) async fn on(&self, table: &Table) -> Result<CompactionChange> {
        if table.metadata().format_version() != FormatVersion::V2 {
            return Err(outdated());
        }
        let content = TableContent::read(table, &self.touched(), &self.decoded).await?;
        let mut state = StateChange::default();
        for (number, group) in self.groups.iter().enumerate() {
            if let Some(moved) = group.moved_deletes(&content) {
                state.add(number, group, moved, &content);
            }
        }
        self.merge_deletes(&content, &mut state);
        if state.removed.is_empty() {
            return Err(outdated());
        }
        *self.landed.lock() = state.landed();
        let deletes = write_deletes(table, state.deletes).await?;
        let change = Change::compact(
            table.metadata(),
            table.storage(),
            &state.files,
            &deletes,
            &state.removed,
        );
        Ok(CompactionChange {
            change: change.await?,
            own_files: deletes.into_iter().map(|file| file.path).collect(),
        })
    }

    /// Partitions whose deletes matter.
    fn touched(&self) -> HashSet<PartitionKey> {
        let groups = self.groups.iter();
        let of_groups = groups.filter_map(|group| partition(&group.old));
        of_groups.chain(self.partitions.iter().cloned()).collect()
    }

    /// Removes the delete files that delete nothing any more, and merges the rest of a partition where it is many files.
    fn merge_deletes(&self, content: &TableContent, state: &mut StateChange) {
        let mut rest: HashMap<&PartitionKey, Vec<&LiveDelete>> = HashMap::new();
        for delete in &content.deletes {
            let is_live = |(path, _): &(Path, _)| !state.gone.contains(path);
            if delete.hits.iter().any(is_live) {
                rest.entry(&delete.partition).or_default().push(delete);
            } else {
                state.remove_deletes(delete);
            }
        }
        for deletes in rest.into_values() {
            if deletes.len() < self.delete_files_min.max(2) {
                continue;
            }
            for delete in deletes {
                state.remove_deletes(delete);
                for (path, rows) in &delete.hits {
                    if !state.gone.contains(path)
                        && let Some((location, (spec_id, partition))) = content.data_file(path)
                    {
                        state.deletes.push(RowDeletes {
                            location,
                            spec_id,
                            partition,
                            rows: RoaringTreemap::clone(rows),
                        });
                    }
                }
            }
        }
    }
}

/// The change of one state.
#[derive(Default)]
struct StateChange {
    files: Vec<(DataFile, i64)>,
    deletes: Vec<RowDeletes>,
    removed: Vec<TableFile>,
    /// Data files that are removed.
    gone: HashSet<Path>,
    groups: HashSet<usize>,
    deletes_removed: u64,
}

impl StateChange {
    fn add(
        &mut self,
        number: usize,
        group: &RewrittenGroup,
        moved: RoaringTreemap,
        content: &TableContent,
    ) {
        self.groups.insert(number);
        for path in paths(&group.old) {
            self.removed.extend(content.table_file(path));
            self.gone.insert(path.clone());
        }
        let Some(new) = &group.new else { return };
        // Not that of this commit: deletes of other engines that name values apply to older files only.
        let sequence = group.old.iter().map(|file| file.sequence).max();
        self.files.push((new.clone(), sequence.unwrap_or(0)));
        if !moved.is_empty() {
            self.deletes.push(RowDeletes::of_draft(new, moved));
        }
    }

    fn remove_deletes(&mut self, delete: &LiveDelete) {
        self.removed.push(delete.file.clone());
        self.deletes_removed += 1;
    }

    fn landed(&self) -> LandedChange {
        LandedChange {
            groups: self.groups.clone(),
            deletes_removed: self.deletes_removed,
        }
    }
}

impl RewrittenGroup {
    /// The places in the new file of rows that were deleted since the old ones were read; `None` when the group does not fit the table.
    fn moved_deletes(&self, content: &TableContent) -> Option<RoaringTreemap> {
        let none = RoaringTreemap::new();
        let mut moved = RoaringTreemap::new();
        let mut first = 0;
        for file in &self.old {
            if !content.has(&file.path) {
                return None;
            }
            let left_out = file.deleted.as_deref().unwrap_or(&none);
            let mut deleted = content.deleted_rows(&file.path);
            // A row that was deleted and is there again: the table was rolled back.
            if !left_out.is_subset(&deleted) {
                return None;
            }
            deleted -= left_out;
            moved.extend(deleted.iter().map(|row| first + row - left_out.rank(row)));
            first += file.rows - deleted_rows(file);
        }
        (self.keeps_order || moved.is_empty()).then_some(moved)
    }
}

async fn write_deletes(table: &Table, deletes: Vec<RowDeletes>) -> Result<Vec<DataFile>> {
    if deletes.is_empty() {
        return Ok(Vec::new());
    }
    let (metadata, storage) = (Arc::clone(table.metadata()), Arc::clone(table.storage()));
    let folder = storage.path(metadata.location())?;
    let written = tokio::task::spawn_blocking(move || {
        write_position_deletes(&metadata, &storage, &folder, deletes)
    });
    written.await.unwrap_or_else(|error| {
        Err(Error::bug("deletes_panicked", "writing deletes panicked").with_source(error))
    })
}

fn outdated() -> Error {
    let what = "other writers changed all files of the compaction first";
    Error::conflict("compaction_outdated", what).with_hint("run the compaction again")
}
