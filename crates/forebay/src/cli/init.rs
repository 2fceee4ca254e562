//! `forebay init`: a new project.

mod csv_layout;
mod from;
mod records;
mod sample;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use forebay_core::{Error, Result};

use crate::demo::files::{self, File};
use crate::options::Global;
use crate::{project, say};

const PIPELINE: &str = "\
# yaml-language-server: $schema=../pipeline.schema.json
pipeline: orders
source:
  file: {path: \"data/*.ndjson\"}       # put files there; each file is loaded once
extract:
  json: {lines: true}
load:
  iceberg: {table: shop.orders}
";

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The project's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Write a pipeline for this file or URL instead of the example; adds to a project that exists
    #[arg(long, value_name = "FILE|URL")]
    from: Option<String>,
}

impl Init {
    pub(super) fn run(&self, _: &Global) -> Result<ExitCode> {
        match &self.from {
            Some(from) => self.write_from(from),
            None => self.write_example(),
        }
    }

    /// A pipeline for data that the user has.
    fn write_from(&self, from: &str) -> Result<ExitCode> {
        let sample = match from::is_url(from) {
            true => super::runtime()?.block_on(sample::of_url(from))?,
            false => sample::of_file(from)?,
        };
        let generated = from::generate(from, &self.folder, &sample)?;
        let path = format!("{}/{}.yaml", project::PIPELINES, generated.name);
        if self.folder.join(&path).exists() {
            return Err(Error::config(
                "pipeline_exists",
                format!("{} exists", self.folder.join(&path).display()),
            )
            .with_hint("edit it, or rename it first"));
        }
        for file in [
            File::new("forebay.toml", files::SETTINGS),
            File::new(path, generated.yaml),
            File::new(".gitignore", ".forebay/\n"),
        ] {
            file.write(&self.folder)?;
            say::good(self.folder.join(file.path.as_ref()).display());
        }
        files::pipeline_schema()?.write(&self.folder)?;
        if let Some(fault) = &sample.fault {
            say::warn(format_args!(
                "{from} could not be read ({fault}): check `extract` and add what the request needs, such as `auth`"
            ));
        }
        let name = generated.name;
        say::line(format_args!(
            "\nNext: {}forebay run {name} --limit 10, then forebay run {name} && forebay sql 'SELECT * FROM main.{name} LIMIT 10'",
            self.change_folder()
        ));
        Ok(ExitCode::SUCCESS)
    }

    fn change_folder(&self) -> String {
        if self.folder == Path::new(".") {
            return String::new();
        }
        format!("cd {} && ", self.folder.display())
    }

    fn write_example(&self) -> Result<ExitCode> {
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
            say::good(self.folder.join(file.path.as_ref()).display());
        }
        files::pipeline_schema()?.write(&self.folder)?;
        say::line(format_args!(
            "\nNext: {}forebay run orders && forebay sql 'SELECT * FROM shop.orders'",
            self.change_folder()
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
    .with_hint("`forebay check` validates it; `forebay init --from FILE` adds a pipeline"))
}
