//! `forebay demo markets`: a project with bitemporal tables and curated ones, its publisher, and a clock that begins a month ago.

mod clock;
mod publisher;
mod records;

pub(crate) use clock::ShiftedClock;
pub(crate) use publisher::Publisher;
pub(crate) use records::{ACTIONS, BONDS, Month, actions, bad_rates, correction, rates};

use std::path::Path;

use forebay_core::Result;

use super::files::{File, pipeline_schema};

/// Folder that the demo makes.
pub(crate) const FOLDER: &str = "forebay-markets";

macro_rules! project_file {
    ($path:literal) => {
        (
            $path,
            include_str!(concat!("../../../../../examples/markets/", $path)),
        )
    };
}

/// The files of `examples/markets`.
const FILES: [(&str, &str); 6] = [
    project_file!("forebay.toml"),
    project_file!("pipelines/actions.yaml"),
    project_file!("pipelines/issuers.yaml"),
    project_file!("pipelines/payments.yaml"),
    project_file!("pipelines/rates.yaml"),
    project_file!("tests/issuers.sql"),
];

/// Writes the project's files; those that are there stay as they are.
pub(crate) fn write_project(folder: &Path) -> Result<()> {
    for (path, text) in FILES {
        File::new(path, text).write(folder)?;
    }
    File::new(".gitignore", ".forebay/\n").write(folder)?;
    pipeline_schema()?.write(folder)
}
