//! `forebay tables clean`: files and rows that no kept state needs.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use clap::Args;
use forebay_core::unit::Span;
use forebay_core::{Error, Result};
use forebay_lake::{CleanRequest, Cleaned, CleanedPositions, CleanedTable};
use uuid::Uuid;

use crate::output::{self, Format};
use crate::say;
use crate::settings::Lake;
use crate::wire::Workspace;

#[derive(Debug, Args)]
#[command(
    after_help = "Without --delete nothing is changed: it only lists what would be deleted. States of the lake older than `keep` of\n\
        `[lake]` in forebay.toml expire, except for the bases of branches; then files that no kept state reaches, raw objects\n\
        that were never committed and objects that no kept position names are deleted, once they are older than `safe_age`.\n\
        It may run at any time, beside runs and queries."
)]
pub(super) struct Clean {
    /// Delete, instead of listing what would be deleted
    #[arg(long)]
    delete: bool,
    /// How long states of the lake are kept [default: `keep` of `[lake]`, 30d]
    #[arg(long, value_name = "TIME")]
    keep: Option<Span>,
    /// Younger files stay: a run may be about to commit them [default: `safe_age` of `[lake]`, 3d]
    #[arg(long, value_name = "TIME")]
    older_than: Option<Span>,
    /// Also tables that are unknown to this catalog: only where no other catalog keeps tables in the same place
    #[arg(long)]
    unknown_tables: bool,
}

impl Clean {
    pub(super) async fn run(self, workspace: &Workspace, format: Format) -> Result<ExitCode> {
        let settings = &workspace.settings().lake;
        let settings = Lake {
            keep: self.keep.unwrap_or(settings.keep),
            safe_age: self.older_than.unwrap_or(settings.safe_age),
            ..settings.clone()
        };
        let request = CleanRequest {
            unknown_tables: self.unknown_tables,
            dry_run: !self.delete,
            ..settings.clean_request(workspace.clock().now())?
        };
        workspace.lake().check_clock().await?;
        let cleaned = workspace.lake().clean(&request).await?;
        let batch = listed(&cleaned)?;
        output::print(format, batch.schema(), &[batch])?;
        tell(&cleaned, self.delete);
        let has_problem = cleaned.positions.problem.is_some()
            || cleaned.tables.values().any(|table| table.problem.is_some());
        Ok(if has_problem {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn tell(cleaned: &Cleaned, deleted: bool) {
    let gone = cleaned.deleted();
    for (uuid, table) in &cleaned.tables {
        if let Some(problem) = &table.problem {
            say::warn(format_args!("skipped {}: {problem}", name(uuid, table)));
        }
    }
    let orphaned = cleaned.raw.orphaned;
    if orphaned.files > 0 {
        say::line(format_args!(
            "{} files ({}) of the raw zone were never committed: left by failed runs",
            say::count(orphaned.files),
            say::bytes(orphaned.bytes)
        ));
    }
    tell_positions(&cleaned.positions);
    let unfinished = cleaned.unfinished;
    if unfinished.files > 0 {
        say::line(format_args!(
            "{} files ({}) were never finished: left by killed processes",
            say::count(unfinished.files),
            say::bytes(unfinished.bytes)
        ));
    }
    let unknown = cleaned.tables.values().filter(|table| table.name.is_none());
    match unknown.filter(|table| table.left_alone).count() {
        0 => (),
        some => say::warn(format_args!(
            "{some} folders below `tables/` belong to no table of this catalog and were kept; pass `--unknown-tables` to include them"
        )),
    }
    let files = format!(
        "{} files, {}",
        say::count(gone.files),
        say::bytes(gone.bytes)
    );
    if !deleted {
        say::line(format_args!(
            "would delete {files}; pass `--delete` to delete them"
        ));
        return;
    }
    let rows = cleaned.forgotten;
    say::good(format_args!(
        "deleted {files}; from the catalog {} rows of the log, {} commits, {} runs",
        say::count(rows.log_rows),
        say::count(rows.commits),
        say::count(rows.runs)
    ));
    say::line(format_args!(
        "states of the lake are kept from {} on",
        cleaned.horizon.at
    ));
}

fn tell_positions(positions: &CleanedPositions) {
    if let Some(problem) = &positions.problem {
        say::warn(format_args!("skipped `positions/`: {problem}"));
    }
    let unneeded = positions.unneeded;
    if unneeded.files > 0 {
        say::line(format_args!(
            "{} objects ({}) below `positions/` are not named by a kept position",
            say::count(unneeded.files),
            say::bytes(unneeded.bytes)
        ));
    }
    if positions.unknown.files > 0 {
        say::warn(format_args!(
            "{} objects below `positions/` belong to no run of this catalog and were kept; pass `--unknown-tables` to include them",
            say::count(positions.unknown.files)
        ));
    }
}

fn name(uuid: &Uuid, table: &CleanedTable) -> String {
    table
        .name
        .as_ref()
        .map_or_else(|| uuid.to_string(), ToString::to_string)
}

fn listed(cleaned: &Cleaned) -> Result<RecordBatch> {
    let tables = &cleaned.tables;
    let text = |get: &dyn Fn(&Uuid, &CleanedTable) -> Option<String>| -> ArrayRef {
        let values = tables.iter().map(|(uuid, table)| get(uuid, table));
        Arc::new(StringArray::from_iter(values))
    };
    let long = |get: &dyn Fn(&CleanedTable) -> u64| -> ArrayRef {
        let values = tables.values().map(|table| get(table).cast_signed());
        Arc::new(Int64Array::from_iter_values(values))
    };
    let verdict = |table: &CleanedTable| match (&table.problem, table.left_alone) {
        (Some(_), _) => "problem",
        (None, true) => "unknown",
        (None, false) => "clean",
    };
    let columns = vec![
        (
            "table",
            text(&|_, table| table.name.as_ref().map(ToString::to_string)),
        ),
        ("uuid", text(&|uuid, _| Some(uuid.to_string()))),
        ("state", text(&|_, table| Some(verdict(table).to_owned()))),
        ("needed_files", long(&|table| table.needed.files)),
        ("needed_bytes", long(&|table| table.needed.bytes)),
        ("young_files", long(&|table| table.young.files)),
        ("data_files", long(&|table| table.data.files)),
        ("data_bytes", long(&|table| table.data.bytes)),
        ("metadata_files", long(&|table| table.metadata.files)),
        ("metadata_bytes", long(&|table| table.metadata.bytes)),
    ];
    RecordBatch::try_from_iter(columns)
        .map_err(|e| Error::bug("bad_answer", "failed to lay out the answer").with_source(e))
}
