//! `forebay init`: a new project.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use forebay_core::{Error, Result};

use super::Global;
use crate::demo::files::{self, File};
use crate::{project, say};

const PIPELINE: &str = "\
# yaml-language-server: $schema=../pipeline.schema.json
pipeline: orders
source:
  file: {path: \"data/*.ndjson\"}       # put files there; each is taken once
extract:
  json: {lines: true}
load:
  iceberg: {table: shop.orders}
";

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder to make
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Init {
    pub(super) fn run(&self, _: &Global) -> Result<ExitCode> {
        let files = [
            File::new("forebay.toml", files::SETTINGS),
            File::new("pipelines/orders.yaml", PIPELINE),
            File::new(
                "data/orders.ndjson",
                "{\"id\": 1, \"item\": \"tea\", \"price\": 3.5}\n",
            ),
            File::new(".gitignore", ".forebay/\n"),
        ];
        refuse_existing(&self.folder)?;
        for file in &files {
            file.write(&self.folder)?;
            say::good(self.folder.join(file.path).display());
        }
        files::pipeline_schema()?.write(&self.folder)?;
        let folder = if self.folder == Path::new(".") {
            String::new()
        } else {
            format!("cd {} && ", self.folder.display())
        };
        say::line(format_args!(
            "\nNext: {folder}forebay run orders && forebay sql 'SELECT * FROM shop.orders'"
        ));
        Ok(ExitCode::SUCCESS)
    }
}

fn refuse_existing(folder: &Path) -> Result<()> {
    if project::pipelines(folder)?.is_empty() {
        return Ok(());
    }
    Err(Error::config(
        "project_exists",
        format!("{} is a project already", folder.display()),
    )
    .with_hint("`forebay check` says whether its files are right"))
}
