//! `forebay demo markets`: last month's numbers are corrected, and last month's report can still be made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use forebay_core::{Clock, Error, RefName, Result, SystemClock, Timestamp};
use forebay_lake::{CompactRequest, CompactionRules, FileCount};
use forebay_store::AsOf;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ask;
use crate::cli::rollback::Rollback;
use crate::cli::serve::{Running, ServedProject};
use crate::demo::markets::{self, Month, Publisher, ShiftedClock};
use crate::options::Global;
use crate::say;
use crate::settings::Settings;
use crate::wire::Workspace;

/// The first part of the story takes place this long ago.
const MONTH: Duration = Duration::from_secs(31 * 86_400);

/// The longest wait for a pipeline.
const WAIT_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// The interest of each issuer for a year: system time `{time}`, valid time `{day}`.
const REPORT: &str = "SELECT issuer, count(*) AS bonds, CAST(sum(nominal * rate) / 100 AS decimal(18,2)) AS interest FROM markets.rates FOR SYSTEM_TIME AS OF '{time}' FOR VALID_TIME AS OF '{day}' GROUP BY issuer ORDER BY issuer";

const CURATED: &str =
    "SELECT issuer, bonds, interest, payments, amount FROM markets.issuers ORDER BY issuer";

/// Whether the curated tables are those of the newest rates and actions.
const HAS_FOLLOWED: &str = "SELECT (SELECT sum(interest) FROM markets.issuers) = (SELECT CAST(sum(nominal * rate) / 100 AS decimal(18,2)) FROM markets.rates__now) AND (SELECT sum(payments) FROM markets.issuers) = (SELECT sum(cardinality(legs)) FROM markets.actions__current)";

#[derive(Debug, Args)]
pub(crate) struct Markets {
    /// Where to put the demo's project; it must not have been made before
    #[arg(default_value = markets::FOLDER)]
    folder: PathBuf,
}

impl Markets {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        if self.folder.join(".forebay").exists() {
            return Err(already_told(&self.folder));
        }
        markets::write_project(&self.folder)?;
        say::heading(format_args!("1. A project: {}/", self.folder.display()));
        say::line(
            "   rates and actions take pushes into bitemporal tables: what is true when, and what was believed when",
        );
        say::line(
            "   payments and issuers are curated tables: SQL over the others, run again after each commit",
        );
        let (then, month) = self.last_month().await?;
        self.today(global, then, &month).await?;
        next(&self.folder);
        Ok(ExitCode::SUCCESS)
    }

    /// The burst, and the report; gives the time of the report.
    async fn last_month(&self) -> Result<(Timestamp, Month)> {
        let site = Site::open(&self.folder, ShiftedClock::behind(MONTH)).await?;
        let month = Month::before(site.workspace.clock().now());
        say::heading("2. A month ago, a burst of records arrives at the door for Kinesis clients");
        let rates = markets::rates(&month);
        let actions = markets::actions(&month);
        let calls = site.publisher.put("rates", &rates).await?
            + site.publisher.put("actions", &actions).await?;
        site.wait_for(
            "SELECT count(*) FROM markets.rates__current",
            markets::BONDS,
        )
        .await?;
        site.wait_for(
            "SELECT count(*) FROM markets.actions__current",
            markets::ACTIONS,
        )
        .await?;
        say::line(format_args!(
            "   {} in {} of PutRecords, each acknowledged once it was durable",
            say::counted((rates.len() + actions.len()) as u64, "record"),
            say::counted(calls as u64, "call"),
        ));
        site.show_curated().await?;
        let then = site.workspace.clock().now();
        say::heading(format_args!(
            "3. The report of last month, made on {}",
            day(then)
        ));
        let report = Report::make(&site.workspace, then, &month).await?;
        report.show();
        site.stop().await?;
        Ok((then, month))
    }

    async fn today(&self, global: &Global, then: Timestamp, month: &Month) -> Result<()> {
        let site = Site::open(&self.folder, SystemClock::shared()).await?;
        let before = Report::make(&site.workspace, then, month).await?;
        say::heading("4. Today a late correction arrives: one rate was wrong all along");
        let correction = markets::correction(month);
        say::line(format_args!("   {correction}"));
        site.publisher.put("rates", &[correction]).await?;
        site.wait_for(
            "SELECT count(*) FROM markets.rates WHERE system_to < '9999-01-01'",
            1,
        )
        .await?;
        let after = Report::make(&site.workspace, then, month).await?;
        say::line("   the report as of last month, asked for again:");
        after.show();
        if before.digest() != after.digest() {
            return Err(wrong("the report of last month has changed"));
        }
        say::good("byte for byte what it was");
        let now = site.workspace.clock().now();
        say::line("   the same question as of now:");
        Report::make(&site.workspace, now, month).await?.show();
        self.bad_load(global, &site).await?;
        let kept = Report::make(&site.workspace, then, month).await?;
        maintain(&site.workspace).await?;
        let report = Report::make(&site.workspace, then, month).await?;
        if kept.digest() != report.digest() || kept.digest() != before.digest() {
            return Err(wrong("maintenance has changed the report of last month"));
        }
        say::good("the report of last month: byte for byte what it was");
        site.stop().await
    }

    /// A load that should not have been, and the way back.
    async fn bad_load(&self, global: &Global, site: &Site) -> Result<()> {
        say::heading("5. A bad load: the publisher sends rates in the wrong unit");
        site.wait_for_curated().await?;
        let good = site.newest_commit().await?;
        let today = day(site.workspace.clock().now());
        let bad = markets::bad_rates(&today);
        site.publisher.put("rates", &bad).await?;
        let believed = "SELECT count(*) FROM markets.rates__now WHERE rate >= 100";
        site.wait_for(believed, bad.len() as u64).await?;
        site.show_curated().await?;
        say::line(format_args!(
            "   forebay rollback markets.rates --to {good} --yes"
        ));
        let global = Global {
            project: self.folder.clone(),
            workspace: None,
            quiet: true,
            ..global.clone()
        };
        let table = "markets.rates".parse()?;
        Rollback::of(vec![table], good).run(&global).await?;
        say::line("   and the curated table follows:");
        site.show_curated().await
    }
}

/// Files become few, and states from before `keep` expire.
async fn maintain(workspace: &Workspace) -> Result<()> {
    say::heading("6. Maintenance, automatic under `forebay serve`: compaction and expiry");
    let lake = workspace.lake();
    let (mut before, mut after) = (FileCount::default(), FileCount::default());
    for table in lake.tables(&AsOf::Head(RefName::main())).await? {
        let request = CompactRequest {
            branch: RefName::main(),
            table,
            rules: CompactionRules::default(),
            dry_run: false,
            author: workspace.author(),
        };
        let done = lake.compact(&request).await?;
        for (total, files) in [(&mut before, done.replaced), (&mut after, done.written)] {
            total.files += files.files;
            total.bytes += files.bytes;
        }
    }
    say::line(format_args!(
        "   forebay tables compact: {} ({}) became {} ({})",
        say::counted(before.files, "file"),
        say::bytes(before.bytes),
        say::count(after.files),
        say::bytes(after.bytes),
    ));
    let request = workspace
        .settings()
        .lake
        .clean_request(workspace.clock().now())?;
    let cleaned = lake.clean(&request).await?;
    say::line(format_args!(
        "   forebay tables clean --delete: states from before {} are no longer kept; their files go once they are 3 days old",
        day(cleaned.horizon.at),
    ));
    Ok(())
}

/// The demo's project while its server runs.
struct Site {
    workspace: Arc<Workspace>,
    publisher: Publisher,
    running: JoinHandle<Result<Vec<forebay_core::Ident>>>,
    stop: CancellationToken,
}

impl Site {
    async fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let settings = Settings::load(folder)?;
        let place = folder.join(".forebay");
        let workspace = Workspace::at_time(&place, folder, settings, clock).await?;
        let workspace = Arc::new(workspace);
        let listening = forebay_server::listen("127.0.0.1:0").await?;
        let address = listening.address;
        let stop = CancellationToken::new();
        let running = Running::start(
            workspace.clone(),
            listening,
            ServedProject::on_main(),
            stop.clone(),
        )
        .await;
        Ok(Self {
            workspace,
            publisher: Publisher { address },
            running: tokio::spawn(running.until_stopped()),
            stop,
        })
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        let stopped = self.running.await;
        stopped
            .map_err(|error| Error::bug("demo_server", "the server panicked").with_source(error))?
            .map(drop)
    }

    async fn value(&self, statement: &str) -> Option<String> {
        // A table may not exist yet.
        let rows = ask(&self.workspace, statement).await.ok()?;
        rows.into_iter().next()?.into_iter().next()
    }

    async fn wait_for(&self, statement: &str, rows: u64) -> Result<()> {
        self.wait_until(statement, &rows.to_string()).await
    }

    async fn wait_until(&self, statement: &str, value: &str) -> Result<()> {
        let clock = self.workspace.clock();
        let begun = clock.monotonic();
        while clock.monotonic().saturating_sub(begun) < WAIT_MAX {
            if self.value(statement).await.as_deref() == Some(value) {
                return Ok(());
            }
            clock.sleep(POLL).await;
        }
        Err(wrong(&format!(
            "{value} was not the answer in time to {statement}"
        )))
    }

    async fn wait_for_curated(&self) -> Result<()> {
        self.wait_until(HAS_FOLLOWED, "true").await
    }

    async fn newest_commit(&self) -> Result<String> {
        let log = self
            .workspace
            .lake()
            .store()
            .log(&RefName::main(), 1)
            .await?;
        let newest = log.first().ok_or_else(|| wrong("there is no commit"))?;
        Ok(newest.id.to_string())
    }

    /// Waits until the curated table has followed, and shows it.
    async fn show_curated(&self) -> Result<()> {
        self.wait_for_curated().await?;
        say::line(format_args!("   {CURATED}"));
        let names = ["issuer", "bonds", "interest", "payments", "amount"];
        show(&names, &ask(&self.workspace, CURATED).await?);
        Ok(())
    }
}

/// The answer to the question of the report.
struct Report {
    statement: String,
    rows: Vec<Vec<String>>,
}

impl Report {
    async fn make(workspace: &Workspace, time: Timestamp, month: &Month) -> Result<Self> {
        let statement = REPORT
            .replace("{time}", &time.to_string())
            .replace("{day}", &month.middle);
        let rows = ask(workspace, &statement).await?;
        Ok(Self { statement, rows })
    }

    fn show(&self) {
        say::line(format_args!("   {}", self.statement));
        show(&["issuer", "bonds", "interest"], &self.rows);
        say::line(format_args!("   SHA-256 of the answer: {}", self.digest()));
    }

    /// Lower-case hex, the first 16 digits.
    fn digest(&self) -> String {
        let rows = self.rows.iter().map(|row| row.join(","));
        let text = rows.collect::<Vec<_>>().join("\n");
        hex::encode(&Sha256::digest(text.as_bytes())[..8])
    }
}

/// A small answer, texts to the left and numbers to the right.
fn show(names: &[&str], rows: &[Vec<String>]) {
    let header = names.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max();
    let widths: Vec<usize> = (0..names.len()).filter_map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        say::line(format_args!(
            "     {}",
            cells.collect::<Vec<_>>().join("  ")
        ));
    }
}

fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

fn already_told(folder: &Path) -> Error {
    let what = format!("{} has the project of an earlier demo", folder.display());
    Error::conflict("demo_exists", what)
        .with_hint("remove the folder, or name another: forebay demo markets FOLDER")
}

fn wrong(what: &str) -> Error {
    Error::bug("demo_story", format!("the demo went wrong: {what}"))
        .with_hint("report it with the output of the demo")
}

fn next(folder: &Path) {
    let folder = folder.display();
    say::heading("Next");
    say::line(format_args!("   cd {folder}"));
    say::line(
        "   forebay sql                     SQL shell; try: SELECT * FROM markets.payments LIMIT 5;",
    );
    say::line("   forebay test                    every issuer is in the curated table, once");
}
