//! `forebay quarantine`: rejected records, why they were rejected, replaying and discarding them.

mod discard;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use forebay_core::{Error, Ident, RefName, Result};
use forebay_pipeline::engine::{DiscardFilter, Figures, RunContext, plan_discard};
use forebay_store::AsOf;
use tokio_util::sync::CancellationToken;

use super::sql::{Answering, execute};
use crate::options::Global;
use crate::settings::ProcessVariables;
use crate::wire::Workspace;
use crate::{project, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// List open rejections: by reason, or one by one with a pipeline's name
    Ls {
        /// The pipeline whose records are listed
        pipeline: Option<Ident>,
        /// Most records to list
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one record: its bytes, its reason, its position in the raw zone
    Show {
        /// The pipeline
        pipeline: Ident,
        /// Id of the record, as `quarantine ls` shows it
        id: String,
    },
    /// Process the rejected records of a pipeline again, after a fix; each is loaded once
    Replay {
        /// The pipeline, by name or file
        pipeline: String,
        /// A value for `${param:NAME}`
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::run::param)]
        params: Vec<(String, String)>,
    },
    /// Discard rejected records: they are no longer listed nor replayed
    Discard(discard::Discard),
}

impl Quarantine {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open_existing(global).await?;
        match self {
            Self::Ls {
                pipeline: Some(pipeline),
                limit,
            } => {
                list(&workspace, &pipeline, limit, global).await?;
            }
            Self::Ls { pipeline: None, .. } => summary(&workspace, global).await?,
            Self::Show { pipeline, id } => show(&workspace, &pipeline, &id, global).await?,
            Self::Replay { pipeline, params } => {
                return replay(&workspace, &pipeline, params, global).await;
            }
            Self::Discard(command) => return command.run(&workspace, global).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The context to read and write quarantine: nothing runs.
fn run_context(workspace: &Workspace) -> RunContext {
    workspace.run_context(
        &RefName::main(),
        false,
        &CancellationToken::new(),
        &Arc::new(Figures::default()),
    )
}

async fn list(workspace: &Workspace, pipeline: &Ident, limit: u32, global: &Global) -> Result<()> {
    if !has_quarantine(workspace, pipeline, global).await? {
        say::good(format_args!("{pipeline} has no rejected records"));
        return Ok(());
    }
    let open = open_events(pipeline);
    let statement = format!(
        "SELECT id, at, code, reason, payload, \"offset\", line, stage FROM {open} ORDER BY id LIMIT {limit}"
    );
    let shown = ask(workspace, &statement, global).await? as u64;
    if shown < u64::from(limit) {
        return Ok(());
    }
    let context = run_context(workspace);
    let total = plan_discard(pipeline, &DiscardFilter::default(), &context)
        .await?
        .total();
    if total > shown {
        let hint = format!("--limit {total} lists all of them");
        say::line(format_args!(
            "{shown} of {total} records are listed: {hint}"
        ));
    }
    Ok(())
}

/// The events of a pipeline that no replay has landed, as a subquery.
fn open_events(pipeline: &Ident) -> String {
    format!(
        "(SELECT * FROM quarantine.{pipeline} WHERE event = 'rejected' AND id NOT IN (SELECT id FROM quarantine.{pipeline} WHERE event <> 'rejected')) AS waiting"
    )
}

/// Whether the pipeline ever had a rejected record.
///
/// # Errors
/// `NotFound` `no_such_pipeline` for a name that is neither a pipeline of the project nor one with a quarantine.
async fn has_quarantine(workspace: &Workspace, pipeline: &Ident, global: &Global) -> Result<bool> {
    let table = forebay_pipeline::quarantine::table(pipeline)?;
    let head = workspace
        .lake()
        .store()
        .head(&AsOf::Head(RefName::main()), &table)
        .await?;
    if head.is_none() {
        project::find(&global.project, pipeline.as_str())?;
    }
    Ok(head.is_some())
}

async fn ask(workspace: &Workspace, statement: &str, global: &Global) -> Result<usize> {
    execute(
        workspace,
        AsOf::Head(RefName::main()),
        statement,
        Answering::plain(global.format),
    )
    .await
}

async fn summary(workspace: &Workspace, global: &Global) -> Result<()> {
    let tables = workspace
        .lake()
        .tables(&AsOf::Head(RefName::main()))
        .await?;
    let parts = tables.iter().filter(|table| table.namespace.as_str() == "quarantine").map(|table| {
        let (name, open) = (&table.name, open_events(&table.name));
        format!("SELECT '{name}' AS pipeline, code, count(*) AS records, max(at) AS newest, min(reason) AS example FROM {open} GROUP BY code")
    });
    let parts = parts.collect::<Vec<_>>();
    if parts.is_empty() {
        say::good("the quarantine is empty");
        return Ok(());
    }
    ask(
        workspace,
        &format!("{} ORDER BY 1, 3 DESC", parts.join(" UNION ALL ")),
        global,
    )
    .await
    .map(drop)
}

async fn show(workspace: &Workspace, pipeline: &Ident, id: &str, global: &Global) -> Result<()> {
    let is_id = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !has_quarantine(workspace, pipeline, global).await? {
        return Err(no_such_record(pipeline, id));
    }
    if !id.bytes().all(is_id) {
        return Err(
            Error::config("bad_id", format!("{id:?} is not the id of a record"))
                .with_hint(format!("forebay quarantine ls {pipeline}")),
        );
    }
    let statement = format!(
        "SELECT id, event, at, run, payload, received_at, \"offset\", line, stage, code, reason, CAST(record AS VARCHAR) AS record FROM quarantine.{pipeline} WHERE id = '{id}' ORDER BY at"
    );
    if ask(workspace, &statement, global).await? == 0 {
        return Err(no_such_record(pipeline, id));
    }
    Ok(())
}

fn no_such_record(pipeline: &Ident, id: &str) -> Error {
    let message = format!("quarantine.{pipeline} has no record {id}");
    Error::not_found("no_such_record", message)
        .with_hint(format!("forebay quarantine ls {pipeline}"))
}

async fn replay(
    workspace: &Workspace,
    pipeline: &str,
    params: Vec<(String, String)>,
    global: &Global,
) -> Result<ExitCode> {
    let file = project::find(&global.project, pipeline)?;
    let spec = Arc::new(project::load_or_error(
        &file,
        &ProcessVariables { params },
        workspace.engine(),
    )?);
    // A run may be active: one that follows pushes never ends. The second one to commit reads the tables again.
    let _alone = workspace.lock_replay(&spec.name)?;
    let context = run_context(workspace);
    let done = Box::pin(forebay_pipeline::engine::replay(spec.clone(), context)).await?;
    let target = spec.load.describe();
    let landed = say::counted(done.landed, "record");
    match done.rows {
        rows if rows == done.landed => say::good(format_args!("{landed} landed in {target}")),
        // Documents whose every record is refused: each of them is open now in their place.
        0 if done.inner > 0 => say::warn(format_args!("no rows landed in {target}")),
        rows => {
            let rows = say::counted(rows, "row");
            say::good(format_args!("{landed} landed in {target}, with {rows}"));
        }
    }
    let refused = done.refused + done.inner;
    if refused > 0 {
        say::warn(format_args!(
            "refused again: {}",
            say::counted(refused, "record")
        ));
        done.reasons
            .iter()
            .for_each(|reason| say::line(format_args!("  {reason}")));
    }
    if done.without_place > 0 {
        say::warn(format_args!(
            "{} refused after an SQL step that is not row-wise (it joins, aggregates or sorts), so their source is unknown: fix the step, then forebay rebuild {}",
            say::counted(done.without_place, "record"),
            spec.load.describe(),
        ));
    }
    Ok(if refused + done.without_place == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
