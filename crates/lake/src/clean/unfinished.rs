//! Files on a local disk that were never finished.
//!
//! `object_store` writes a file aside, as `<name>#<number>`, and renames it when it is whole. A process that is killed leaves it there,
//! and no listing shows it.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use forebay_core::{Error, Result, Timestamp};
use uuid::Uuid;

use crate::Lake;

use super::reach::Reach;
use super::sweep::before;
use super::{CleanRequest, FileCount};

/// Finds those that are older than the safe age, in the raw zone and in tables of this catalog, and deletes them unless it is a dry run.
pub(super) async fn sweep(lake: &Lake, request: &CleanRequest, reach: &Reach) -> Result<FileCount> {
    let Some(root) = lake.storage().local_folder() else {
        return Ok(FileCount::default());
    };
    let sweep = UnfinishedSweep {
        until: before(lake.clock().now(), request.safe_age),
        is_dry: request.dry_run,
    };
    let mut folders = vec![root.join("raw")];
    let tables = root.join("tables");
    folders.extend(match request.unknown_tables {
        true => vec![tables],
        false => folders_of(&tables, reach),
    });
    let swept = tokio::task::spawn_blocking(move || sweep.clean(folders)).await;
    let swept = swept.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    swept.map_err(|error| {
        Error::unavailable("clean_failed", "failed to look for unfinished files").with_source(error)
    })
}

fn folders_of(tables: &Path, reach: &Reach) -> Vec<PathBuf> {
    let uuids = reach.tables.keys();
    uuids
        .map(|uuid: &Uuid| tables.join(uuid.to_string()))
        .collect()
}

struct UnfinishedSweep {
    until: Timestamp,
    is_dry: bool,
}

impl UnfinishedSweep {
    fn clean(&self, mut folders: Vec<PathBuf>) -> std::io::Result<FileCount> {
        let mut count = FileCount::default();
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if is_unfinished(&entry.path()) {
                    self.clean_file(&entry.path(), &mut count)?;
                }
            }
        }
        Ok(count)
    }

    fn clean_file(&self, path: &Path, count: &mut FileCount) -> std::io::Result<()> {
        let metadata = match std::fs::symlink_metadata(path) {
            // Its writer has finished it since.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata?,
        };
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
        let modified = modified.unwrap_or(Duration::ZERO).as_micros();
        if !metadata.is_file() || modified >= self.until.micros().max(0).unsigned_abs().into() {
            return Ok(());
        }
        count.add(metadata.len());
        if self.is_dry {
            return Ok(());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.rsplit_once('#'));
    number.is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
