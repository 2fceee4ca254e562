//! Objects that hold a part of a position (`positions/<run>/…`), and that no position names which is needed.
//!
//! A commit names an object that an earlier position named, or a young one: writers see to that. The folder says which run
//! made an object. Only folders of runs that this catalog knows, or that one of its positions names, are touched: another catalog
//! may keep its own in the same storage.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use forebay_core::{Position, Result, RunId};
use forebay_store::{Horizon, LoggedPosition};
use futures::TryStreamExt;
use object_store::path::Path;

use crate::Lake;
use forebay_objects::from_objects;

use super::raw::is_young;
use super::sweep::{DELETED_AT_ONCE, before, delete};
use super::{CleanRequest, CleanedPositions};

/// Size of the cache of folders that belong, or do not belong, to this catalog; beyond it the catalog is asked again.
const FOLDERS_MAX: usize = 100_000;

/// Finds them, and deletes them unless it is a dry run. Holds 8 bytes for every object that a position names in memory.
pub(super) async fn sweep(
    lake: &Lake,
    request: &CleanRequest,
    horizon: Horizon,
) -> Result<CleanedPositions> {
    let mut named = NamedObjects::default();
    let mut cleaned = CleanedPositions {
        problem: named.read(lake, horizon).await?,
        ..CleanedPositions::default()
    };
    let until = before(lake.clock().now(), request.safe_age);
    let prefix = Path::from(Position::OBJECTS_FOLDER);
    let failed = |e| from_objects("list the objects of positions", &prefix, e);
    let mut unneeded = Vec::new();
    let mut found = lake.objects().list(Some(&prefix));
    while let Some(object) = found.try_next().await.map_err(failed)? {
        let Some(folder) = folder(object.location.as_ref()) else {
            continue;
        };
        if named.needed.contains(&hash(object.location.as_ref())) {
            cleaned.needed.add(object.size);
        } else if is_young(object.last_modified.timestamp_micros(), until) {
            cleaned.young.add(object.size);
        } else if !named.has_folder(lake, folder).await? && !request.unknown_tables {
            cleaned.unknown.add(object.size);
        } else if cleaned.problem.is_none() {
            cleaned.unneeded.add(object.size);
            unneeded.push(object.location);
        }
        if unneeded.len() == DELETED_AT_ONCE {
            delete(lake, request, std::mem::take(&mut unneeded)).await?;
        }
    }
    delete(lake, request, unneeded).await?;
    Ok(cleaned)
}

/// The objects that positions of the catalog name.
#[derive(Debug, Default)]
struct NamedObjects {
    /// Hashes of paths. Two paths with one hash: at worst an object stays that could go.
    needed: HashSet<u64>,
    /// Whether a folder is of a run of this catalog.
    folders: HashMap<String, bool>,
}

impl NamedObjects {
    /// Asks the catalog; gives why a position cannot be read.
    async fn read(&mut self, lake: &Lake, horizon: Horizon) -> Result<Option<String>> {
        let mut problem = None;
        let mut from = None;
        loop {
            let page = lake.store().logged_positions(horizon, from.as_ref());
            let page = page.await?;
            for logged in page.positions {
                if let Err(error) = self.add(&logged) {
                    problem.get_or_insert_with(|| error.to_string());
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(problem),
            }
        }
    }

    fn add(&mut self, logged: &LoggedPosition) -> Result<()> {
        for object in logged.position.objects()? {
            if logged.is_needed {
                self.needed.insert(hash(&object.path));
            }
            if let Some(folder) = folder(&object.path) {
                self.folders.insert(folder.to_owned(), true);
            }
        }
        Ok(())
    }

    async fn has_folder(&mut self, lake: &Lake, folder: &str) -> Result<bool> {
        if let Some(is_known) = self.folders.get(folder) {
            return Ok(*is_known);
        }
        let run: Option<RunId> = folder.parse().ok();
        let is_known = match run {
            Some(run) => lake.store().run(run).await?.is_some(),
            None => false,
        };
        if self.folders.len() < FOLDERS_MAX {
            self.folders.insert(folder.to_owned(), is_known);
        }
        Ok(is_known)
    }
}

/// The folder of `positions/<folder>/<object>`.
fn folder(path: &str) -> Option<&str> {
    let mut parts = path.split('/').skip(1);
    let folder = parts.next()?;
    parts.next().map(|_| folder)
}

fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}
