//! The demo: a real data set, a third party that behaves like one, and a small project to start from.

pub(crate) mod api;
pub(crate) mod chart;
mod data;
pub(crate) mod files;
pub(crate) mod markets;

use std::path::Path;

use forebay_core::Result;

use data::Quake;

/// Folder that the demo makes.
pub(crate) const FOLDER: &str = "forebay-demo";

/// Quakes that the API keeps back the first time, so that a second demo has something new to pull.
const LATER: usize = 200;

/// The records that the API serves: on the first day all but the newest, afterwards all.
pub(crate) fn quakes(first_day: bool) -> Result<Vec<Quake>> {
    let mut quakes = data::quakes()?;
    if first_day {
        quakes.truncate(quakes.len().saturating_sub(LATER));
    }
    Ok(quakes)
}

/// Writes the project's files; those that are there stay as they are.
pub(crate) fn write_project(folder: &Path) -> Result<()> {
    files::demo()?
        .iter()
        .try_for_each(|file| file.write(folder))
}
