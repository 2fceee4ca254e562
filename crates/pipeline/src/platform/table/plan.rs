//! Plans the next read: the files of a snapshot that are new since a position.

use std::collections::VecDeque;

use forebay_core::{CommitId, Error, ErrorKind, Position, RefName, Result, RowRange, TableName};
use forebay_lake::scan::ScanFile;
use forebay_lake::{Lake, Table};
use forebay_store::AsOf;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lineage::{self, History, Replacement};

/// The position of a reader: everything of the table up to a snapshot, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::platform) struct Place {
    pub(in crate::platform) table: Uuid,
    /// The snapshot that is being read or was read; `None` when the table had none.
    pub(in crate::platform) snapshot: Option<i64>,
    /// Its sequence number; files with a greater one were added later.
    pub(in crate::platform) sequence: i64,
    /// The remaining part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::platform) inside: Option<Inside>,
}

/// The position of a reader inside a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::platform) struct Inside {
    /// The commit of the catalog with that state of the table.
    pub(in crate::platform) commit: CommitId,
    /// Only files with a greater sequence number belong to this pass; -1 for all.
    pub(in crate::platform) after: i64,
    /// The next file and row group.
    pub(in crate::platform) file: String,
    pub(in crate::platform) group: usize,
}

impl Place {
    pub(in crate::platform) fn read(position: &Position) -> Result<Self> {
        position.read("the position of a table source is not a place in a table")
    }

    pub(in crate::platform) fn position(&self) -> Result<Position> {
        Position::of(self)
    }
}

/// A data file to read.
#[derive(Debug, Clone)]
pub(in crate::platform) struct File {
    pub(in crate::platform) path: String,
    pub(in crate::platform) bytes: u64,
    pub(in crate::platform) rows: u64,
    sequence: i64,
    /// Runs of deleted rows: first and how many.
    pub(in crate::platform) deleted: Vec<(u64, u64)>,
    /// Fields whose value comes from the file's partition, and which the file itself may lack.
    pub(in crate::platform) identity: Vec<i32>,
}

impl File {
    fn new(file: &ScanFile) -> Self {
        let mut identity: Vec<i32> = file.identity.keys().copied().collect();
        identity.sort_unstable();
        Self {
            path: file.path.to_string(),
            bytes: file.bytes,
            rows: file.rows,
            sequence: file.sequence,
            deleted: file
                .deleted
                .iter()
                .flat_map(|rows| runs(rows.iter()))
                .collect(),
            identity,
        }
    }
}

/// Ascending numbers as runs.
fn runs(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs
}

/// A table at one commit, and the files of it that are to be read, in order.
#[derive(Debug)]
pub(in crate::platform) struct Pass {
    pub(in crate::platform) table: Table,
    pub(in crate::platform) commit: CommitId,
    pub(in crate::platform) after: i64,
    /// The position once all is read.
    pub(in crate::platform) end: Place,
    pub(in crate::platform) files: Vec<File>,
    /// The first row group to read of the first file.
    pub(in crate::platform) group: usize,
}

/// How a table has changed since a place.
pub(super) enum Since {
    Pass(Box<Pass>),
    /// Files were replaced by others with the same rows: the states before are read first.
    Replaced(VecDeque<Replacement>),
    /// It has changed in another way than by appends.
    Changed(String),
}

/// The newest commit of a branch, and the table there.
pub(in crate::platform) async fn newest(
    lake: &Lake,
    branch: &RefName,
    name: &TableName,
) -> Result<(CommitId, Table)> {
    let log = lake.store().log(branch, 1).await?;
    let missing = || {
        Error::not_found(
            "no_such_table",
            format!("table {name} not found on {branch}"),
        )
        .with_hint("run `forebay tables` to list the existing tables")
    };
    let commit = log.first().ok_or_else(missing)?.id;
    let table = lake.table(&AsOf::Commit(commit), name).await?;
    Ok((commit, table.ok_or_else(missing)?))
}

/// Plans a read of the whole table.
pub(in crate::platform) async fn whole(commit: CommitId, table: Table) -> Result<Pass> {
    pass(commit, table, -1).await
}

/// Plans a read of the files appended after a completely read place.
pub(super) async fn since(
    lake: &Lake,
    commit: CommitId,
    table: Table,
    place: &Place,
) -> Result<Since> {
    if table.uuid() != place.table {
        return Ok(Since::Changed("it was dropped and recreated".to_owned()));
    }
    match lineage::history(lake, &table, place).await? {
        History::Changed(change) => return Ok(Since::Changed(change)),
        History::Grown(replacements) if !replacements.is_empty() => {
            return Ok(Since::Replaced(replacements));
        }
        History::Grown(_) => (),
    }
    let pass = pass(commit, table, place.sequence).await?;
    Ok(Since::Pass(Box::new(pass)))
}

/// Plans a read of the files that were appended after a place and before a replacement. `commit` is a later one.
pub(super) async fn before(
    commit: CommitId,
    replacement: &Replacement,
    place: &Place,
) -> Result<Since> {
    let (Some(snapshot), Some(table)) = (replacement.before, &replacement.table) else {
        return Ok(Since::Changed(EXPIRED.to_owned()));
    };
    let Some(table) = table.at_snapshot(snapshot)? else {
        return Ok(Since::Changed(EXPIRED.to_owned()));
    };
    match pass(commit, table, place.sequence).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Since::Changed(EXPIRED.to_owned())),
        pass => pass.map(|pass| Since::Pass(Box::new(pass))),
    }
}

const EXPIRED: &str =
    "rows were compacted before they were read, and the state before that is no longer kept";

/// The rows that are new since a place, in all of the snapshots that have some of them.
pub(in crate::platform) enum NewRows {
    /// Empty without new rows.
    Ranges(Vec<RowRange>),
    /// The table has changed in another way than by appends.
    Changed(String),
}

/// Finds the rows that are new since a completely read place.
pub(in crate::platform) async fn new_rows(
    lake: &Lake,
    commit: CommitId,
    table: &Table,
    place: &Place,
) -> Result<NewRows> {
    let mut replacements = match since(lake, commit, table.clone(), place).await? {
        Since::Changed(change) => return Ok(NewRows::Changed(change)),
        Since::Pass(_) => VecDeque::new(),
        Since::Replaced(replacements) => replacements,
    };
    let mut ranges = Vec::new();
    let mut place = place.clone();
    while let Some(replacement) = replacements.pop_front() {
        if replacement.before != place.snapshot {
            match before(commit, &replacement, &place).await? {
                Since::Changed(change) => return Ok(NewRows::Changed(change)),
                Since::Pass(pass) => ranges.extend(pass.range(replacement.before)),
                Since::Replaced(_) => {}
            }
        }
        place = replacement.after;
    }
    let rest = pass(commit, table.clone(), place.sequence).await?;
    ranges.extend(rest.range(None));
    Ok(NewRows::Ranges(ranges))
}

impl Pass {
    /// `None` without rows.
    fn range(&self, snapshot: Option<i64>) -> Option<RowRange> {
        let after = self.after;
        (!self.files.is_empty()).then_some(RowRange { snapshot, after })
    }
}

/// Plans the rest of an interrupted pass over a snapshot.
pub(in crate::platform) async fn rest(
    lake: &Lake,
    name: &TableName,
    snapshot: Option<i64>,
    inside: &Inside,
) -> Result<Pass> {
    let table = lake.table(&AsOf::Commit(inside.commit), name).await?;
    let table = table.ok_or_else(|| {
        Error::not_found(
            "no_such_table",
            format!(
                "table {name} not found at commit {}, the position of this source",
                inside.commit
            ),
        )
    })?;
    let table = lake.at_snapshot(&table, snapshot).await?;
    let table = table.ok_or_else(|| {
        let what = format!("snapshot {snapshot:?} of {name} is no longer kept");
        Error::data("bad_position", what)
    })?;
    let mut pass = pass(inside.commit, table, inside.after).await?;
    let at = pass.files.iter().position(|file| file.path == inside.file);
    let at = at.ok_or_else(|| {
        Error::data(
            "bad_position",
            format!("{name} no longer has the file {}", inside.file),
        )
    })?;
    pass.files.drain(..at);
    pass.group = inside.group;
    Ok(pass)
}

async fn pass(commit: CommitId, table: Table, after: i64) -> Result<Pass> {
    let end = end(&table);
    let mut files: Vec<File> = Vec::new();
    if end.snapshot.is_some() && end.sequence > after {
        let plan = table.scan(None).await?;
        files = plan.files.iter().map(File::new).collect();
    }
    files.retain(|file| file.sequence > after);
    files.sort_by(|a, b| (a.sequence, &a.path).cmp(&(b.sequence, &b.path)));
    Ok(Pass {
        table,
        commit,
        after,
        end,
        files,
        group: 0,
    })
}

/// The place after everything in the current table.
pub(in crate::platform) fn end(table: &Table) -> Place {
    let snapshot = table.snapshot_id();
    let known = table.snapshots();
    let current = known.iter().find(|known| Some(known.id) == snapshot);
    Place {
        table: table.uuid(),
        snapshot,
        sequence: current.map_or(0, |current| current.sequence),
        inside: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_rows_are_runs() {
        assert_eq!(
            runs([1, 2, 3, 7, 9, 10].into_iter()),
            [(1, 3), (7, 1), (9, 2)]
        );
    }
}
