//! `forebay quarantine`: rejected records, why they were rejected, replaying and discarding them.

mod discard;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use forebay_core::{Error, Ident, RefName, Result};
use forebay_pipeline::run::Figures;
use forebay_store::AsOf;
use tokio_util::sync::CancellationToken;

use super::Global;
use super::sql::{Answering, execute};
use crate::settings::ProcessVariables;
use crate::wire::Workspace;
use crate::{project, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// List open rejections: by reason, or one by one with a pipeline's name
    Ls {
        pipeline: Option<Ident>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one record: its bytes, its reason, its position in the raw zone
    Show { pipeline: Ident, id: String },
    /// Process the rejected records of a pipeline again, after a fix; each is loaded once
    Replay {
        pipeline: String,
        /// A value for `${param:NAME}`
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::run::param)]
        params: Vec<(String, String)>,
    },
    /// Give up rejected records: they are no longer listed nor replayed
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
                if !has_quarantine(&workspace, &pipeline, global).await? {
                    say::good(format_args!("{pipeline} has no rejected records"));
                    return Ok(ExitCode::SUCCESS);
                }
                let open = open_events(&pipeline);
                let statement = format!(
                    "SELECT id, at, code, reason, payload, \"offset\", line, stage FROM {open} ORDER BY id LIMIT {limit}"
                );
                ask(&workspace, &statement, global).await?;
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
    has_quarantine(workspace, pipeline, global).await?;
    if !id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        return Err(
            Error::config("bad_id", format!("{id:?} is not the id of a record"))
                .with_hint(format!("forebay quarantine ls {pipeline}")),
        );
    }
    let statement = format!(
        "SELECT id, event, at, run, payload, received_at, \"offset\", line, stage, code, reason, CAST(record AS VARCHAR) AS record FROM quarantine.{pipeline} WHERE id = '{id}' ORDER BY at"
    );
    if ask(workspace, &statement, global).await? == 0 {
        return Err(Error::not_found(
            "no_such_record",
            format!("quarantine.{pipeline} has no record {id}"),
        )
        .with_hint(format!("forebay quarantine ls {pipeline}")));
    }
    Ok(())
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
    // A run goes on meanwhile: one that follows pushes never ends. Whoever commits second reads the tables again.
    let _alone = workspace.lock_replay(&spec.name)?;
    let context = workspace.run_context(
        &RefName::main(),
        false,
        &CancellationToken::new(),
        &Arc::new(Figures::default()),
    );
    let done = Box::pin(forebay_pipeline::run::replay(spec.clone(), context)).await?;
    let rows = match done.rows {
        rows if rows == done.landed => String::new(),
        rows => format!(", with {}", say::counted(rows, "row")),
    };
    say::good(format_args!(
        "{} landed in {}{rows}",
        say::counted(done.landed, "record"),
        spec.load.describe()
    ));
    if done.refused > 0 {
        say::warn(format_args!(
            "refused again: {}",
            say::counted(done.refused, "record")
        ));
        done.reasons
            .iter()
            .for_each(|reason| say::line(format_args!("  {reason}")));
    }
    if done.without_place > 0 {
        say::warn(format_args!(
            "{} refused after an SQL step that is not row-wise (it joins, aggregates or sorts), so the source is not known: fix the step, then forebay rebuild {}",
            say::counted(done.without_place, "record"),
            spec.load.describe(),
        ));
    }
    Ok(if done.refused + done.without_place == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
