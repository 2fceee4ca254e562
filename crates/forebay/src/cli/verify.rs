//! `forebay verify`: compares catalog, tables, raw zone, positions and journals with each other, and reports damage.

use std::process::ExitCode;

use clap::Args;
use forebay_core::{Error, Ident, RefName, Result, TableName};
use forebay_lake::position_property;
use forebay_pipeline::position_objects;
use forebay_pipeline::raw::{RawEntry, RawReader};
use forebay_store::{AsOf, Head};
use futures::TryStreamExt;
use serde_json::Value;

use crate::options::Global;
use crate::say;
use crate::wire::Workspace;

/// Namespace of the tables that index raw zones.
const RAW: &str = "raw";

#[derive(Debug, Args)]
#[command(
    after_help = "Reads every byte that the newest state names: catalog (pages, log, heads, positions), metadata and data files of\n\
    every table, payloads of the raw zone, journals on this disk. May run beside `forebay serve`. Exit code 1 when something\n\
    is wrong."
)]
pub(crate) struct Verify {
    /// Accept permanent losses: acknowledged pushes of a journal, the newest transactions of the catalog
    #[arg(long)]
    repair: bool,
    /// Do not read the payloads of the raw zone
    #[arg(long)]
    no_raw: bool,
    /// The branch to read
    #[arg(long, default_value = "main")]
    branch: RefName,
}

/// The findings so far; each is printed at once.
#[derive(Default)]
struct Findings {
    count: u64,
    repaired: u64,
}

impl Findings {
    fn add(&mut self, place: impl std::fmt::Display, problem: impl std::fmt::Display) {
        self.count += 1;
        say::warn(format_args!("{place}: {problem}"));
    }
}

impl Verify {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let mut found = Findings::default();
        if self.repair {
            accept_catalog_loss(global, &mut found).await?;
        }
        let workspace = Workspace::open(global).await?;
        match workspace.lake().store().verify().await {
            Ok(problems) => problems
                .into_iter()
                .for_each(|problem| found.add("catalog", problem)),
            // A row that cannot even be read.
            Err(error) if error.code() == "store_corrupt" => found.add("catalog", error),
            Err(error) => return Err(error),
        }
        let heads = self.heads(&workspace, &mut found).await;
        for head in &heads {
            verify_table(&workspace, head, &mut found).await;
        }
        for head in heads.iter().filter(|head| is_raw(&head.table)) {
            self.verify_positions(&workspace, &head.table, &mut found)
                .await;
            if !self.no_raw {
                self.verify_raw(&workspace, &head.table, &mut found).await;
            }
        }
        self.verify_journals(&workspace, &mut found).await?;
        Ok(summary(&found))
    }

    async fn heads(&self, workspace: &Workspace, found: &mut Findings) -> Vec<Head> {
        let as_of = AsOf::Head(self.branch.clone());
        match workspace.lake().store().heads(&as_of).await {
            Ok(heads) => heads,
            Err(error) => {
                found.add("catalog", error);
                Vec::new()
            }
        }
    }

    /// The positions in the catalog and in the raw table move in one commit.
    async fn verify_positions(&self, workspace: &Workspace, raw: &TableName, found: &mut Findings) {
        if let Err(error) = self.compare_positions(workspace, raw, found).await {
            found.add(raw, error);
        }
    }

    async fn compare_positions(
        &self,
        workspace: &Workspace,
        raw: &TableName,
        found: &mut Findings,
    ) -> Result<()> {
        let lake = workspace.lake();
        let pipeline: &Ident = &raw.name;
        // The table first: a commit in between moves the catalog forward, never back.
        let as_of = AsOf::Head(self.branch.clone());
        let Some(table) = lake.table(&as_of, raw).await? else {
            return Ok(());
        };
        let noted = table.properties();
        let positions = lake.store().positions(&self.branch, pipeline).await?;
        for (split, sequence, position) in positions {
            for object in position.objects()? {
                if let Err(error) = position_objects::read(lake, &object).await {
                    found.add(format_args!("position of {pipeline}/{split}"), error);
                }
            }
            let Some(text) = noted.get(&position_property(pipeline, &split)) else {
                continue;
            };
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            let noted_sequence = value["sequence"].as_i64().unwrap_or(0);
            let differs = noted_sequence == sequence && value["position"] != position.0;
            if noted_sequence > sequence || differs {
                let problem = format!(
                    "the catalog has position {position} (commit {sequence}) for split {split}, the table has {} (commit {noted_sequence})",
                    value["position"]
                );
                found.add(raw, problem);
            }
        }
        Ok(())
    }

    /// Reads every payload and compares it with its sha256.
    async fn verify_raw(&self, workspace: &Workspace, raw: &TableName, found: &mut Findings) {
        if let Err(error) = self.read_payloads(workspace, raw, found).await {
            found.add(raw, error);
        }
    }

    async fn read_payloads(
        &self,
        workspace: &Workspace,
        raw: &TableName,
        found: &mut Findings,
    ) -> Result<()> {
        let reader = RawReader::new(workspace.lake().objects().clone());
        let query = workspace.query(AsOf::Head(self.branch.clone()));
        let statement = format!(
            "SELECT id, split, object, \"offset\", length, frame, frame_offset, ordinal, name, received_at, position, \
             content_type, compression, attributes, sha256 FROM {RAW}.\"{}\"",
            raw.name
        );
        let mut answer = query.execute(&statement).await?.batches;
        let mut frames = FramesRead::default();
        while let Some(batch) = answer.try_next().await? {
            for entry in reader.entries(&batch)? {
                if let Err(error) = frames.read(&reader, &entry).await {
                    found.add(raw, error);
                }
            }
        }
        Ok(())
    }

    async fn verify_journals(&self, workspace: &Workspace, found: &mut Findings) -> Result<()> {
        let journals = workspace.journals();
        for pipeline in journals.on_this_disk()? {
            let place = format!("journal of {pipeline}");
            let findings = match journals.verify(&pipeline).await {
                Ok(findings) => findings,
                Err(error) => {
                    found.add(place, error);
                    continue;
                }
            };
            let has_loss = findings.iter().any(|finding| finding.is_loss);
            for finding in findings {
                let mend = if finding.is_loss && !self.repair {
                    "; `forebay verify --repair` lets the pipeline pass over it"
                } else {
                    ""
                };
                found.add(&place, format_args!("{}{mend}", finding.problem));
            }
            if has_loss && self.repair {
                let accepted = journals.accept_losses(&pipeline).await?;
                found.repaired += accepted as u64;
                say::good(format_args!("{place}: accepted {accepted} lost ranges"));
            }
        }
        Ok(())
    }
}

/// Before the workspace is opened, which a catalog that is older than its mark prevents.
async fn accept_catalog_loss(global: &Global, found: &mut Findings) -> Result<()> {
    if let Some(problem) = Workspace::accept_catalog_loss(global).await? {
        found.add("catalog", problem);
        found.repaired += 1;
        say::good("catalog: loss accepted, the mark matches the catalog");
    }
    Ok(())
}

/// Which frame of the raw zone was read to its end last: many small payloads share one.
#[derive(Default)]
struct FramesRead {
    object: String,
    frame: u64,
}

impl FramesRead {
    /// Reads a payload, and the frame that it ends in up to its checksum.
    async fn read(&mut self, reader: &RawReader, entry: &RawEntry) -> Result<()> {
        let mut payload = reader.open(entry).await?;
        while payload.next().await?.is_some() {}
        let is_known = self.object == entry.object && self.frame == entry.frame;
        if !is_known || !payload.is_in_first_frame() {
            payload.finish_frame().await?;
        }
        self.object.clone_from(&entry.object);
        self.frame = entry.frame;
        Ok(())
    }
}

fn is_raw(table: &TableName) -> bool {
    table.namespace.as_str() == RAW
}

async fn verify_table(workspace: &Workspace, head: &Head, found: &mut Findings) {
    let report = workspace.lake().verify_table(head).await;
    say::line(format_args!(
        "{}: {} files, {} rows, {}",
        head.table,
        say::count(report.files),
        say::count(report.rows),
        say::bytes(report.bytes)
    ));
    for problem in report.problems {
        found.add(&head.table, problem);
    }
}

fn summary(found: &Findings) -> ExitCode {
    if found.count == 0 {
        say::good("everything that was read is as it was written");
        return ExitCode::SUCCESS;
    }
    let error = Error::data(
        "verify_failed",
        format!(
            "{} found, {} repaired",
            say::counted(found.count, "problem"),
            say::count(found.repaired)
        ),
    );
    say::error(&error.with_hint("restore damaged files from a backup; `forebay rebuild` makes a table again from the raw zone"));
    ExitCode::FAILURE
}
