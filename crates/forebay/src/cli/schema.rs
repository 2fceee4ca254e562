//! `forebay schema`: JSON Schema for editors.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use forebay_core::{Error, Result};

use crate::settings::Settings;

#[derive(Debug, Args)]
#[command(
    after_help = "Put `# yaml-language-server: $schema=pipeline.schema.json` on the first line of a pipeline file."
)]
pub(crate) struct Schema {
    /// The kind of file
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Of {
    /// A pipeline file
    #[default]
    Pipeline,
    /// `forebay.toml`
    Settings,
}

impl Schema {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let schema = match self.of {
            Of::Pipeline => forebay_pipeline::spec::pipeline_schema(),
            Of::Settings => schemars::schema_for!(Settings),
        };
        let text = serde_json::to_string_pretty(&schema).map_err(|error| {
            Error::bug("schema_json", "failed to write the schema").with_source(error)
        })?;
        crate::output::print_text(&format!("{text}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
