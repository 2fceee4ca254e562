//! The files that kept states reach: metadata files, manifest lists, manifests, data and delete files, statistics.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use forebay_core::{Context, Result, TableName};
use forebay_store::{Horizon, Place};
use futures::{StreamExt, stream};
use iceberg::spec::{ManifestFile, SnapshotRef, TableMetadata};
use object_store::path::Path;
use uuid::Uuid;

use crate::Lake;
use crate::scan::read_live;
use crate::snapshot::{named_by_refs, read_list};

/// States whose metadata and manifest list are read at once; manifests likewise.
const READS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Hashes stand for the paths. Two paths with one hash: at worst a file stays that could go.
    files: HashSet<u64>,
    /// Manifests that were read. Here two with one hash would be a manifest that is not, so the hashes are longer.
    read: HashSet<(u64, u64)>,
    /// Every table that the catalog has heard of.
    pub(super) tables: BTreeMap<Uuid, Known>,
}

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: TableName,
    /// Why not all of its states could be read.
    pub(super) problem: Option<String>,
}

impl Reach {
    pub(super) async fn of(lake: &Lake, horizon: Horizon) -> Result<Self> {
        let mut reach = Self::default();
        for (uuid, name) in lake.store().tables_ever().await? {
            let problem = None;
            reach.tables.insert(uuid, Known { name, problem });
        }
        let mut from = None;
        loop {
            let page = lake.store().places(horizon, from.as_ref()).await?;
            reach.add(lake, page.places).await;
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(reach),
            }
        }
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.files.contains(&hash(path))
    }

    async fn add(&mut self, lake: &Lake, places: Vec<Place>) {
        let states = places.into_iter().map(|place| state(lake.clone(), place));
        let mut states = stream::iter(states).buffer_unordered(READS_MAX);
        // Several states have most of their manifests in common.
        let mut manifests: BTreeMap<String, (Place, StateOf, ManifestFile)> = BTreeMap::new();
        while let Some((place, state)) = states.next().await {
            match state {
                Ok(state) => {
                    self.files.extend(state.files.iter().map(hash));
                    for (path, manifest) in state.manifests {
                        self.files.insert(hash(&path));
                        if self.read.insert((hash(&path), hash_again(&path))) {
                            let found = (place.clone(), state.of.clone(), manifest);
                            manifests.insert(path.to_string(), found);
                        }
                    }
                }
                Err(error) => self.fail(&place, &error),
            }
        }
        drop(states);
        let reads = manifests
            .into_values()
            .map(|(place, of, manifest)| entries(lake.clone(), place, of, manifest));
        let mut reads = stream::iter(reads).buffer_unordered(READS_MAX);
        while let Some((place, paths)) = reads.next().await {
            match paths {
                Ok(hashes) => self.files.extend(hashes),
                Err(error) => self.fail(&place, &error),
            }
        }
    }

    fn fail(&mut self, place: &Place, error: &forebay_core::Error) {
        let name = place.table.clone();
        let problem = None;
        let known = self.tables.entry(place.uuid);
        let known = known.or_insert(Known { name, problem });
        known.problem.get_or_insert_with(|| error.to_string());
    }
}

type StateOf = std::sync::Arc<TableMetadata>;

/// What one metadata file names.
struct State {
    of: StateOf,
    files: Vec<Path>,
    manifests: Vec<(Path, ManifestFile)>,
}

async fn state(lake: Lake, place: Place) -> (Place, Result<State>) {
    let state = read_state(&lake, &place).await;
    let state = state.context("file", &place.metadata_location);
    (place, state)
}

async fn read_state(lake: &Lake, place: &Place) -> Result<State> {
    let storage = lake.storage();
    let metadata = lake.metadata().read_file(&place.metadata_location).await?;
    let mut files = vec![storage.path(&place.metadata_location)?];
    let statistics = metadata.statistics_iter().map(|s| &s.statistics_path);
    let partitions = metadata.partition_statistics_iter();
    for location in statistics.chain(partitions.map(|s| &s.statistics_path)) {
        files.push(storage.path(location)?);
    }
    let mut manifests = Vec::new();
    for snapshot in snapshots(&metadata, place.is_head) {
        files.push(storage.path(snapshot.manifest_list())?);
        for manifest in read_list(&metadata, storage, &snapshot).await? {
            manifests.push((storage.path(&manifest.manifest_path)?, manifest));
        }
    }
    Ok(State {
        of: metadata.into(),
        files,
        manifests,
    })
}

/// The current snapshot and what the table's own branches and tags stand on. Of the newest state also all others, which
/// other engines travel to.
fn snapshots(metadata: &TableMetadata, is_head: bool) -> Vec<SnapshotRef> {
    let named = named_by_refs(metadata);
    let current = metadata.current_snapshot_id();
    let needed = |snapshot: &&SnapshotRef| {
        let id = snapshot.snapshot_id();
        is_head || Some(id) == current || named.contains(&id)
    };
    metadata.snapshots().filter(needed).cloned().collect()
}

async fn entries(
    lake: Lake,
    place: Place,
    of: StateOf,
    manifest: ManifestFile,
) -> (Place, Result<Vec<u64>>) {
    let read = async {
        let live = read_live(&of, lake.storage(), &manifest).await?;
        let paths = live.entries.iter().map(|entry| {
            let path = lake.storage().path(entry.data_file().file_path())?;
            Ok(hash(&path))
        });
        paths.collect::<Result<Vec<u64>>>()
    };
    let read = read.await.context("manifest", &manifest.manifest_path);
    (place, read)
}

fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.as_ref().hash(&mut hasher);
    hasher.finish()
}

fn hash_again(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    ("again", path.as_ref()).hash(&mut hasher);
    hasher.finish()
}
