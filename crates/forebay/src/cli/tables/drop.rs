//! `forebay tables drop`: removes a table from the catalog. A dry run unless `--yes` is passed. `tables clean` deletes its files later.

use std::process::ExitCode;

use clap::Args;
use forebay_core::{Error, RefName, Result, TableName};
use forebay_lake::is_pipeline_namespace;
use forebay_store::AsOf;

use crate::cli::head_changes::commit_heads;
use crate::options::Global;
use crate::settings::ProcessVariables;
use crate::wire::Workspace;
use crate::{project, say};

#[derive(Debug, Args)]
pub(crate) struct DropTable {
    /// The table, as `namespace.table`
    table: TableName,
    /// The branch to drop it on
    #[arg(long, default_value = "main")]
    branch: RefName,
    /// Drop it also when a pipeline of the project loads it
    #[arg(long)]
    force: bool,
    /// Do it; without this the command lists the tables it would drop
    #[arg(long)]
    yes: bool,
}

impl DropTable {
    pub(super) async fn run(self, workspace: &Workspace, global: &Global) -> Result<ExitCode> {
        self.refuse_system_table()?;
        let store = workspace.lake().store();
        let as_of = AsOf::Head(self.branch.clone());
        let head = store.head(&as_of, &self.table).await?.ok_or_else(|| {
            Error::not_found(
                "no_such_table",
                format!("table {} does not exist", self.table),
            )
            .with_hint("run `forebay tables` to list the tables")
        })?;
        if !self.force {
            self.refuse_loaded_table(workspace, global).await?;
        }
        if !self.yes {
            say::line(format_args!("  would drop table {}", self.table));
            say::line("dry run: pass --yes to drop the table");
            return Ok(ExitCode::SUCCESS);
        }
        let now = workspace.clock().now();
        let message = format!("drop {}", self.table);
        commit_heads(workspace, &self.branch, message, vec![head.into_drop()]).await?;
        say::good(format_args!("dropped {}", self.table));
        say::line(format_args!(
            "  until its retention ends it stays readable: SELECT * FROM {table} FOR SYSTEM_TIME AS OF '{now}'; \
             `forebay tables undrop {table}` brings it back",
            table = self.table
        ));
        Ok(ExitCode::SUCCESS)
    }

    fn refuse_system_table(&self) -> Result<()> {
        if !is_pipeline_namespace(self.table.namespace.as_str()) {
            return Ok(());
        }
        Err(Error::config(
            "system_table",
            format!(
                "{} belongs to a pipeline and cannot be dropped alone",
                self.table
            ),
        )
        .with_hint(format!("forebay pipeline reset {}", self.table.name)))
    }

    /// The next run of the pipeline would create the table again, with only the rows after its position.
    async fn refuse_loaded_table(&self, workspace: &Workspace, global: &Global) -> Result<()> {
        let as_of = AsOf::Head(self.branch.clone());
        let Some(table) = workspace.lake().table(&as_of, &self.table).await? else {
            return Ok(());
        };
        let variables = ProcessVariables::default();
        for file in project::pipelines(&global.project)? {
            let Ok(spec) = project::load(&file, &variables, workspace.engine()) else {
                continue;
            };
            let is_loaded = spec
                .load
                .lake()
                .is_some_and(|target| forebay_pipeline::engine::is_owned(&table, &target.table));
            if is_loaded {
                return Err(Error::config(
                    "table_in_use",
                    format!("pipeline {} loads {}", spec.name, self.table),
                )
                .with_hint(format!(
                    "`forebay pipeline reset {}` drops its tables and starts it over; `--force --yes` drops this table alone",
                    spec.name
                )));
            }
        }
        Ok(())
    }
}
