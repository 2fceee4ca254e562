//! `forebay components`: the components that a pipeline file may name, from the registries themselves.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::Args;
use forebay_core::{Error, Result};

use forebay_pipeline::spec::components::{Stage, components};

use crate::options::Global;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Components;

impl Components {
    #[expect(clippy::unused_self, reason = "every command has the same shape")]
    pub(super) fn run(&self, global: &Global) -> Result<ExitCode> {
        let rows = rows();
        let column = |get: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
            Arc::new(StringArray::from_iter_values(rows.iter().map(get))) as ArrayRef
        };
        let batch = RecordBatch::try_from_iter([
            ("stage", column(|r| r.0)),
            ("component", column(|r| r.1)),
            ("what it does", column(|r| r.2)),
        ])
        .map_err(|error| {
            Error::bug("components", "failed to list components").with_source(error)
        })?;
        output::print(global.format, batch.schema(), &[batch])?;
        Ok(ExitCode::SUCCESS)
    }
}

fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let of_stage = |stage: Stage| {
        let kinds = components(stage).into_iter();
        kinds.map(move |kind| (stage.key(), kind.name(), kind.summary()))
    };
    Stage::ALL.into_iter().flat_map(of_stage).collect()
}
