//! What a branch changed, as a list, and merging it.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use forebay_core::{CommitId, Error, Position, RefName, Result, shortened};
use forebay_lake::{
    BranchChanges, MERGE_CONFLICT, MergeOutcome, MergeRequest, PositionChanges, TableChanges,
};
use rand::Rng;

use crate::options::Global;
use crate::output::texts;
use crate::wire::Workspace;
use crate::{output, say};

/// Characters of a position in a list.
const POSITION_CHARS_MAX: usize = 120;

/// One line of the list.
#[derive(Default)]
struct Line {
    kind: &'static str,
    name: String,
    change: &'static str,
    rows: Option<(u64, u64)>,
    detail: String,
    merge: &'static str,
    reason: Option<String>,
}

pub(super) fn print(changes: &BranchChanges, global: &Global) -> Result<()> {
    let tables = changes.tables.iter().map(table_line);
    let lines: Vec<Line> = tables
        .chain(changes.positions.iter().map(position_line))
        .collect();
    let batch = list(&lines)?;
    output::print(global.format, batch.schema(), &[batch]).map(drop)
}

fn table_line(change: &TableChanges) -> Line {
    Line {
        kind: "table",
        name: change.table.to_string(),
        change: change.kind.as_str(),
        rows: Some((change.rows_added, change.rows_deleted)),
        detail: change.schema.join("; "),
        merge: change.outcome.as_str(),
        reason: reason(&change.outcome),
    }
}

fn position_line(change: &PositionChanges) -> Line {
    let shown = |position: &Option<Position>| match position {
        Some(position) => {
            let text = position.to_string();
            shortened(&text, POSITION_CHARS_MAX).into_owned()
        }
        None => "start".to_owned(),
    };
    Line {
        kind: "position",
        name: format!("{}/{}", change.pipeline, change.split),
        change: "moved",
        rows: None,
        detail: format!("{} -> {}", shown(&change.before), shown(&change.after)),
        merge: change.outcome.as_str(),
        reason: reason(&change.outcome),
    }
}

fn reason(outcome: &MergeOutcome) -> Option<String> {
    outcome.conflict().map(str::to_owned)
}

fn list(lines: &[Line]) -> Result<RecordBatch> {
    let number = |get: &dyn Fn(&Line) -> Option<u64>| {
        Arc::new(UInt64Array::from_iter(lines.iter().map(get))) as ArrayRef
    };
    output::list(vec![
        ("kind", texts(lines, |line| Some(line.kind.to_owned()))),
        ("name", texts(lines, |line| Some(line.name.clone()))),
        ("change", texts(lines, |line| Some(line.change.to_owned()))),
        ("rows_added", number(&|line| line.rows.map(|rows| rows.0))),
        ("rows_deleted", number(&|line| line.rows.map(|rows| rows.1))),
        ("detail", texts(lines, |line| Some(line.detail.clone()))),
        ("merge", texts(lines, |line| Some(line.merge.to_owned()))),
        ("reason", texts(lines, |line| line.reason.clone())),
    ])
}

/// `names` are the branch and the one that gets its changes.
pub(super) async fn merge(
    workspace: &Workspace,
    names: (&RefName, &RefName),
    dry_run: bool,
    global: &Global,
) -> Result<ExitCode> {
    let (source, target) = names;
    if dry_run {
        let changes = workspace.lake().branch_changes(source, target).await?;
        print(&changes, global)?;
        return dry_result(&changes, names);
    }
    let request = MergeRequest {
        id: CommitId::new(workspace.clock().now(), rand::rng().random()),
        source: source.clone(),
        source_head: None,
        target: target.clone(),
        author: workspace.author(),
        owner: format!(
            "merge-{}-{:08x}",
            std::process::id(),
            rand::rng().random::<u32>()
        ),
        lease: workspace.settings().store.lease.0,
    };
    let merged = workspace.lake().merge_branch(&request).await?;
    let Some(committed) = merged.committed else {
        say::good(format_args!("nothing to do: {target} has all of {source}"));
        return Ok(ExitCode::SUCCESS);
    };
    let changes = &merged.changes;
    for change in &changes.tables {
        say::line(format_args!(
            "  {}: {}",
            change.table,
            change.outcome.as_str()
        ));
    }
    say::good(format_args!(
        "merged {source} into {target}: {} and {} in commit {}",
        say::counted(changes.tables.len() as u64, "table"),
        say::counted(changes.positions.len() as u64, "position"),
        committed.id
    ));
    Ok(ExitCode::SUCCESS)
}

fn dry_result(changes: &BranchChanges, (source, target): (&RefName, &RefName)) -> Result<ExitCode> {
    let conflicts = changes.conflicts().len() as u64;
    if conflicts == 0 {
        say::line("dry run: nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    let what = format!(
        "{source} cannot be merged into {target}: {}",
        say::counted(conflicts, "conflict")
    );
    Err(Error::conflict(MERGE_CONFLICT, what)
        .with_hint("the column `reason` has what both changed"))
}
