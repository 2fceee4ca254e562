//! `forebay components`: what a pipeline file may name, from the tables themselves.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::Args;
use forebay_core::{Error, Result};
use forebay_pipeline::{extract, load, source, transform};

use super::Global;
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
    let mut rows = Vec::new();
    rows.extend(
        source::SOURCES
            .iter()
            .map(|kind| ("source", kind.name(), kind.summary())),
    );
    rows.extend(
        extract::EXTRACTORS
            .iter()
            .map(|kind| ("extract", kind.name(), kind.summary())),
    );
    rows.extend(
        transform::TRANSFORMS
            .iter()
            .map(|kind| ("transform", kind.name(), kind.summary())),
    );
    rows.extend(
        load::SINKS
            .iter()
            .map(|kind| ("load", kind.name(), kind.summary())),
    );
    rows
}
