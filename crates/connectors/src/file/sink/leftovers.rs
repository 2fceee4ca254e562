//! Files that a run left in the folder without a commit in the catalog.
//!
//! A process that dies after its files have their names and before the catalog has the commit leaves them behind, and a process that
//! dies earlier leaves a hidden file. Both name their split, their run and (the first) the number of commits before theirs. A
//! file is a leftover when its run is one of this pipeline, on this branch and in this catalog, that has not succeeded, and the
//! catalog has no commit of that number. Runs of another workspace, branch or pipeline are not among those runs, so their
//! files are never removed.

use std::fs::{DirEntry, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use forebay_core::Result;

use super::Layout;
use super::name::{PartName, TemporaryName};
use super::part::failed;
use crate::sink::SinkContext;

/// Removes the leftovers of a split, also those in the folders of child tables.
pub(super) fn remove_leftovers(layout: &Layout) -> Result<()> {
    let mut leftovers = Vec::new();
    for entry in entries(&layout.folder)? {
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| failed(error, &path))?;
        if kind.is_dir() {
            let children = entries(&path)?;
            leftovers.extend(children.iter().filter_map(|entry| find(entry, layout)));
        } else {
            leftovers.extend(find(&entry, layout));
        }
    }
    if !leftovers.is_empty() {
        tracing::info!(
            files = leftovers.len(),
            folder = %layout.folder.display(),
            "removing files of a commit that was not made"
        );
    }
    remove_files(&leftovers)
}

/// Removes files; one that is gone already is no error.
pub(super) fn remove_files(files: &[PathBuf]) -> Result<()> {
    for file in files {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error, file)),
            _ => {}
        }
    }
    let mut folders: Vec<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    folders.dedup();
    folders.into_iter().try_for_each(sync_folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed(error, folder))
}

/// The entries of a folder; none when it does not exist yet.
fn entries(folder: &Path) -> Result<Vec<DirEntry>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(error, folder))?,
    };
    entries
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error, folder))
}

/// The path of a leftover.
fn find(entry: &DirEntry, layout: &Layout) -> Option<PathBuf> {
    let name = entry.file_name();
    let name = name.to_str()?;
    is_leftover(name, &layout.context).then(|| entry.path())
}

fn is_leftover(name: &str, context: &SinkContext) -> bool {
    let (split, run) = match (PartName::parse(name), TemporaryName::parse(name)) {
        (Some(part), _) if part.sequence >= context.sequence => (part.split, part.run),
        (_, Some(temporary)) => (temporary.split, temporary.run),
        _ => return false,
    };
    split == context.split && context.unfinished_runs.contains(&run)
}
