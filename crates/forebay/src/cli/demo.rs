//! `forebay demo`: the whole way in ten seconds, as a user would go it.

mod markets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use clap::{Args, Subcommand};
use forebay_core::{Error, RefName, Result, SystemClock};
use forebay_pipeline::engine::Figures;
use forebay_store::AsOf;
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use crate::demo::{self, api, chart};
use crate::options::Global;
use crate::settings::{ProcessVariables, Settings};
use crate::wire::Workspace;
use crate::{project, say};

/// The query of the demo: the number of quakes by magnitude.
const QUESTION: &str = "SELECT floor(magnitude) AS magnitude, count(*) AS quakes FROM quakes.events WHERE magnitude IS NOT NULL GROUP BY 1 ORDER BY 1";

const STRONGEST: &str = "SELECT magnitude, place, at FROM quakes.events WHERE magnitude IS NOT NULL ORDER BY magnitude DESC, at LIMIT 3";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Demo {
    #[command(subcommand)]
    story: Option<Story>,
    /// Where to put the demo's project
    #[arg(default_value = demo::FOLDER)]
    folder: PathBuf,
    /// Only serve the API that the demo's pipeline pulls from, until stopped
    #[arg(long)]
    serve: bool,
    /// Port of the API; 0 takes any that is free
    #[arg(long, default_value_t = api::PORT)]
    port: u16,
}

/// Other demos.
#[derive(Debug, Subcommand)]
enum Story {
    /// Corporate actions and bond rates in two times: corrections, a rollback, curated tables, compaction
    Markets(markets::Markets),
}

impl Demo {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        if let Some(Story::Markets(markets)) = self.story {
            return markets.run(global).await;
        }
        if self.serve {
            let api = api::start(self.port, demo::quakes(false)?, SystemClock::shared()).await?;
            say::good(format_args!("serving {} until ctrl-c", api.url()));
            api.wait().await;
            return Ok(ExitCode::SUCCESS);
        }
        self.whole(global).await
    }

    async fn whole(&self, global: &Global) -> Result<ExitCode> {
        let first_day = !self.folder.join(".forebay").exists();
        let api = match api::start(self.port, demo::quakes(first_day)?, SystemClock::shared()).await
        {
            Err(error) if error.code() == "port_taken" => {
                api::start(0, demo::quakes(first_day)?, SystemClock::shared()).await?
            }
            started => started?,
        };
        demo::write_project(&self.folder)?;
        say::heading(format_args!("1. A project: {}/", self.folder.display()));
        say::line(
            "   pipelines/quakes.yaml pulls earthquakes from an API into the table quakes.events",
        );
        say::line(format_args!(
            "   the API: {} (real USGS data; rate-limited, with occasional errors, to show retries)",
            api.url()
        ));

        let settings = Settings::load(&self.folder)?;
        let workspace =
            Workspace::at(&self.folder.join(".forebay"), &self.folder, settings).await?;
        self.pull(&workspace, &api, global).await?;
        raw_zone(&workspace).await?;
        question(&workspace).await?;
        next(&self.folder);
        Ok(ExitCode::SUCCESS)
    }

    async fn pull(&self, workspace: &Workspace, api: &api::Api, global: &Global) -> Result<()> {
        say::heading("2. Pull");
        let variables = ProcessVariables {
            params: vec![("quakes_url".to_owned(), api.url())],
        };
        let file = project::find(&self.folder, "quakes")?;
        let spec = Arc::new(project::load_or_error(
            &file,
            &variables,
            workspace.engine(),
        )?);
        let order = super::run::Order {
            spec,
            branch: RefName::main(),
            full: false,
            cancel: CancellationToken::new(),
            figures: Arc::default(),
        };
        let report = super::run::one(workspace, &order, global).await?;
        let figures = order.figures;
        let get = Figures::get;
        let elapsed = report
            .record
            .ended_at
            .unwrap_or(report.record.started_at)
            .since(report.record.started_at);
        say::line(format_args!(
            "   {} requests ({} of them repeated after 429 or 503), {} in {}",
            get(&figures.requests),
            get(&figures.retries),
            say::bytes(figures.source.bytes()),
            say::duration(elapsed),
        ));
        let committed = get(&figures.committed);
        let new = if committed == 0 {
            "nothing new since the last run".to_owned()
        } else {
            format!("{} rows committed, each once", say::count(committed))
        };
        say::line(format_args!(
            "   {new}; {} in quarantine",
            get(&figures.quarantined)
        ));
        Ok(())
    }
}

async fn raw_zone(workspace: &Workspace) -> Result<()> {
    say::heading("3. Raw responses are stored unmodified");
    let rows = ask(
        workspace,
        "SELECT count(*), coalesce(sum(length), 0), count(DISTINCT object) FROM raw.quakes",
    )
    .await?;
    if let [counts] = rows.as_slice() {
        say::line(format_args!(
            "   {}, {}, in {}; `zstdcat` shows them",
            say::counted(counts[0].parse().unwrap_or(0), "response"),
            say::bytes(counts[1].parse().unwrap_or(0)),
            say::counted(counts[2].parse().unwrap_or(0), "compressed object"),
        ));
    }
    Ok(())
}

async fn question(workspace: &Workspace) -> Result<()> {
    say::heading("4. Query");
    say::line(format_args!("   {QUESTION}"));
    let mut answer = workspace
        .query(AsOf::Head(RefName::main()))
        .execute(QUESTION)
        .await?;
    let mut rows = Vec::new();
    while let Some(batch) = answer.batches.try_next().await? {
        let as_long =
            |n: usize| arrow::compute::cast(batch.column(n), &arrow::datatypes::DataType::Int64);
        let failed = |error| {
            Error::bug("demo_answer", "the demo's answer has another shape").with_source(error)
        };
        let magnitudes = as_long(0).map_err(failed)?;
        let counts = as_long(1).map_err(failed)?;
        let magnitudes = magnitudes.as_primitive::<Int64Type>();
        let counts = counts.as_primitive::<Int64Type>();
        let pairs = magnitudes.values().iter().zip(counts.values());
        rows.extend(pairs.map(|(magnitude, count)| {
            (format!("M {magnitude}"), u64::try_from(*count).unwrap_or(0))
        }));
    }
    for line in chart::bars(&rows) {
        say::line(format_args!("   {line}"));
    }
    say::line("   The strongest:");
    for row in ask(workspace, STRONGEST).await? {
        say::line(format_args!("   {:>6}  {}  ({})", row[0], row[1], row[2]));
    }
    Ok(())
}

/// Rows of a small answer as text.
async fn ask(workspace: &Workspace, statement: &str) -> Result<Vec<Vec<String>>> {
    let mut answer = workspace
        .query(AsOf::Head(RefName::main()))
        .execute(statement)
        .await?;
    let mut rows = Vec::new();
    while let Some(batch) = answer.batches.try_next().await? {
        for row in 0..batch.num_rows() {
            let shown = batch.columns().iter().map(|column| {
                arrow::util::display::array_value_to_string(column, row).map_err(|error| {
                    Error::bug("demo_answer", "failed to show a value").with_source(error)
                })
            });
            rows.push(shown.collect::<Result<Vec<_>>>()?);
        }
    }
    Ok(rows)
}

fn next(folder: &Path) {
    let folder = folder.display();
    say::heading("Next");
    say::line(format_args!("   cd {folder}"));
    say::line("   forebay sql                     SQL shell; try: SHOW TABLES;");
    say::line(
        "   forebay demo --serve            keep the API running (in another terminal), then:",
    );
    say::line(
        "   forebay run && forebay test     pull new records, and test that each quake is there once",
    );
}
