//! `forebay check`: settings and pipeline files, without running anything.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use forebay_core::{Ident, Result};

use crate::options::Global;
use crate::settings::{ProcessVariables, Settings, aws_variables};
use crate::{project, say, wire};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Pipelines by name or file [default: all of the project]
    pipelines: Vec<String>,
    /// A value for `${param:NAME}`
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::run::param)]
    params: Vec<(String, String)>,
}

impl Check {
    pub(super) fn run(&self, global: &Global) -> Result<ExitCode> {
        let settings = Settings::load(&global.project)?;
        let engine = wire::engine(&settings);
        let variables = ProcessVariables {
            params: self.params.clone(),
        };
        let files = super::run::files(global, &self.pipelines)?;
        let mut wrong = 0;
        // A run refuses these when it opens the storage, a clean-up when it begins.
        let checks = [settings.storage.place().map(drop), settings.lake.check()];
        for error in checks.into_iter().filter_map(Result::err) {
            wrong += 1;
            say::error(&error);
        }
        let mut names: BTreeMap<Ident, &Path> = BTreeMap::new();
        let mut specs = Vec::new();
        for file in &files {
            match project::load(file, &variables, &engine) {
                Ok(spec) => {
                    let environment = spec.source.check_environment(&aws_variables());
                    if let Err(error) = environment {
                        wrong += 1;
                        say::error(&error.with_context("file", file.display()));
                    } else if let Some(first) = names.insert(spec.name.clone(), file) {
                        wrong += 1;
                        say::error(&project::duplicate_pipeline(&spec.name, first, file));
                    } else {
                        if !global.quiet {
                            say::good(format_args!(
                                "{} ({} → {})",
                                file.display(),
                                spec.name,
                                spec.load.describe()
                            ));
                        }
                        spec.warnings().into_iter().for_each(say::warn);
                        specs.push(Arc::new(spec));
                    }
                }
                Err(diagnostics) => {
                    wrong += diagnostics.0.len();
                    say::line(diagnostics);
                }
            }
        }
        for error in project::cycles(global, &specs, &variables, &engine) {
            wrong += 1;
            say::error(&error);
        }
        if wrong > 0 {
            say::line(format_args!(
                "{} in {}",
                say::counted(wrong as u64, "error"),
                say::counted(files.len() as u64, "file")
            ));
            return Ok(ExitCode::from(2));
        }
        Ok(ExitCode::SUCCESS)
    }
}
