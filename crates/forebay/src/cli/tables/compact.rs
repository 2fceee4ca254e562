//! `forebay tables compact`: fewer and bigger files.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use clap::Args;
use forebay_core::unit::Size;
use forebay_core::{Error, RefName, Result, TableName};
use forebay_lake::{CompactRequest, CompactedTable, CompactionRules};
use forebay_store::AsOf;

use crate::output::{self, Format};
use crate::say;
use crate::wire::Workspace;

#[derive(Debug, Args)]
#[command(
    after_help = "Rows stay as they are: small files of a partition become one, rows that upserts have deleted are left out. It may run at any\n\
        time, beside runs and queries. Earlier states keep their files until `forebay tables clean` deletes them.\n\
        `forebay serve` compacts automatically, see `compact_every` of `[lake]` in forebay.toml."
)]
pub(super) struct Compact {
    /// Tables, as `namespace.table` [default: all]
    tables: Vec<TableName>,
    /// List what would be compacted, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write all files of the tables again, sorted by these columns
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    sort: Vec<String>,
    /// Size of the new files [default: `write.target-file-size-bytes` of the table, else `compact_file_size` of `[lake]`, 256MiB]
    #[arg(long, value_name = "SIZE")]
    target_size: Option<Size>,
    /// The branch whose tables are compacted
    #[arg(long, default_value = "main")]
    branch: RefName,
}

impl Compact {
    pub(super) async fn run(self, workspace: &Workspace, format: Format) -> Result<ExitCode> {
        let tables = self.tables(workspace).await?;
        let mut compacted = Vec::new();
        for table in tables {
            let request = self.request(workspace, &table);
            let done = match workspace.lake().compact(&request).await {
                // With all tables, the failure of one does not stop the others.
                Err(error) if self.tables.is_empty() => CompactedTable {
                    problems: vec![error.to_string()],
                    ..CompactedTable::default()
                },
                done => done?,
            };
            if !done.is_untouched() || !done.problems.is_empty() || !self.tables.is_empty() {
                compacted.push((table, done));
            }
        }
        let batch = listed(&compacted)?;
        output::print(format, batch.schema(), &[batch])?;
        print_summary(&compacted, self.dry_run);
        let has_problem = compacted.iter().any(|(_, done)| !done.problems.is_empty());
        Ok(match has_problem {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }

    async fn tables(&self, workspace: &Workspace) -> Result<Vec<TableName>> {
        if !self.tables.is_empty() {
            return Ok(self.tables.clone());
        }
        let as_of = AsOf::Head(self.branch.clone());
        workspace.lake().tables(&as_of).await
    }

    fn request(&self, workspace: &Workspace, table: &TableName) -> CompactRequest {
        CompactRequest {
            branch: self.branch.clone(),
            table: table.clone(),
            rules: CompactionRules {
                target_bytes: self.target_size.map(|size| size.0),
                usual_target_bytes: workspace.settings().lake.compact_file_size.0,
                sort: self.sort.clone(),
                ..CompactionRules::default()
            },
            dry_run: self.dry_run,
            author: workspace.author(),
        }
    }
}

fn print_summary(compacted: &[(TableName, CompactedTable)], is_dry: bool) {
    let mut total = CompactedTable::default();
    for (table, done) in compacted {
        for problem in &done.problems {
            say::warn(format_args!("{table}: {problem}"));
        }
        total.replaced.files += done.replaced.files;
        total.replaced.bytes += done.replaced.bytes;
        total.written.files += done.written.files;
        total.written.bytes += done.written.bytes;
        total.outdated += done.outdated;
    }
    if total.outdated > 0 {
        say::line(format_args!(
            "{} of files changed during the compaction and were skipped; run the command again",
            say::counted(total.outdated, "group")
        ));
    }
    let figures = format!(
        "{} ({}) became {} ({})",
        say::counted(total.replaced.files, "file"),
        say::bytes(total.replaced.bytes),
        say::count(total.written.files),
        say::bytes(total.written.bytes)
    );
    match (
        is_dry,
        compacted.iter().all(|(_, done)| done.is_untouched()),
    ) {
        (_, true) => say::line("nothing to compact"),
        (true, false) => say::line(format_args!(
            "dry run: {}, about",
            figures.replace("became", "would become")
        )),
        (false, false) => say::good(figures),
    }
}

fn listed(compacted: &[(TableName, CompactedTable)]) -> Result<RecordBatch> {
    let long = |get: &dyn Fn(&CompactedTable) -> u64| -> ArrayRef {
        let values = compacted.iter().map(|(_, done)| get(done).cast_signed());
        Arc::new(Int64Array::from_iter_values(values))
    };
    let names = compacted.iter().map(|(table, _)| table.to_string());
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let columns = vec![
        ("table", names),
        ("files_before", long(&|done| done.replaced.files)),
        ("bytes_before", long(&|done| done.replaced.bytes)),
        ("files_after", long(&|done| done.written.files)),
        ("bytes_after", long(&|done| done.written.bytes)),
        ("deleted_rows", long(&|done| done.rows_dropped)),
        ("delete_files", long(&|done| done.deletes_removed)),
        ("commits", long(&|done| u64::from(done.commits))),
    ];
    RecordBatch::try_from_iter(columns)
        .map_err(|e| Error::bug("bad_answer", "failed to lay out the answer").with_source(e))
}
