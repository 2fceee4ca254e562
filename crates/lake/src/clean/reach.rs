//! The files that kept states reach: metadata files, manifest lists, manifests, data and delete files, statistics.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use forebay_core::{Context, Error, ErrorKind, Result, TableName};
use forebay_store::{Horizon, Place};
use futures::{FutureExt, StreamExt, stream};
use iceberg::spec::{ManifestFile, TableMetadataRef};
use object_store::path::Path;
use uuid::Uuid;

use crate::Lake;
use crate::scan::read_live;
use crate::snapshot::{named_by_refs, read_list};

/// States whose metadata and manifest list are read at once; manifests likewise.
const READS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Hashes of paths. At worst, two paths have the same hash and a file stays that could be deleted.
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
    /// A branch has it.
    pub(super) has_head: bool,
}

impl Known {
    fn new(name: TableName) -> Self {
        Self {
            name,
            problem: None,
            has_head: false,
        }
    }
}

impl Reach {
    pub(super) async fn of(lake: &Lake, horizon: Horizon) -> Result<Self> {
        let mut reach = Self::default();
        for (uuid, name) in lake.store().tables_ever().await? {
            reach.tables.insert(uuid, Known::new(name));
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

    /// Whether every file that was ever committed to this table is reached, when nothing is taken away from it again.
    pub(super) fn has_all_of(&self, table: Uuid) -> bool {
        let known = self.tables.get(&table);
        known.is_some_and(|known| known.has_head && known.problem.is_none())
    }

    async fn add(&mut self, lake: &Lake, places: Vec<Place>) {
        for place in places.iter().filter(|place| place.is_head) {
            self.known(place).has_head = true;
        }
        let states = places
            .into_iter()
            .map(|place| state(lake.clone(), place).boxed());
        let mut states = stream::iter(states).buffer_unordered(READS_MAX);
        // Several states have most of their manifests in common.
        let mut manifests: BTreeMap<Path, Named> = BTreeMap::new();
        while let Some((place, state)) = states.next().await {
            match state {
                Ok(state) => {
                    self.files.extend(state.files.iter().map(hash));
                    for named in state.manifests {
                        self.name(named, &mut manifests);
                    }
                }
                Err(error) => self.fail(&place, &error),
            }
        }
        let reads = manifests
            .into_values()
            .map(|named| entries(lake.clone(), named).boxed());
        let mut reads = stream::iter(reads).buffer_unordered(READS_MAX);
        while let Some((named, paths)) = reads.next().await {
            match paths {
                Ok(hashes) => {
                    self.read.insert(hashes_of(&named.path));
                    self.files.extend(hashes);
                }
                // An expired snapshot went with its manifests.
                Err(error) if !named.must && error.kind() == ErrorKind::NotFound => (),
                Err(error) => self.fail(&named.place, &error),
            }
        }
    }

    /// A manifest to read, unless it was.
    fn name(&mut self, named: Named, manifests: &mut BTreeMap<Path, Named>) {
        if self.read.contains(&hashes_of(&named.path)) {
            return;
        }
        self.files.insert(hash(&named.path));
        match manifests.get_mut(&named.path) {
            Some(before) => before.must |= named.must,
            None => {
                manifests.insert(named.path.clone(), named);
            }
        }
    }

    fn fail(&mut self, place: &Place, error: &Error) {
        let known = self.known(place);
        known.problem.get_or_insert_with(|| error.to_string());
    }

    fn known(&mut self, place: &Place) -> &mut Known {
        let known = self.tables.entry(place.uuid);
        known.or_insert_with(|| Known::new(place.table.clone()))
    }
}

/// The files that one metadata file names.
#[derive(Default)]
struct State {
    files: Vec<Path>,
    manifests: Vec<Named>,
}

/// A manifest, and the snapshots that name it.
struct Named {
    path: Path,
    manifest: ManifestFile,
    /// A kept state needs it; else only a snapshot that other engines may travel to.
    must: bool,
    place: Arc<Place>,
    of: TableMetadataRef,
}

async fn state(lake: Lake, place: Place) -> (Arc<Place>, Result<State>) {
    let place = Arc::new(place);
    let state = read_state(&lake, &place).await;
    let state = state.context("file", &place.metadata_location);
    (place, state)
}

async fn read_state(lake: &Lake, place: &Arc<Place>) -> Result<State> {
    let storage = lake.storage();
    let of = lake.metadata().read_file(&place.metadata_location).await?;
    let of = TableMetadataRef::from(of);
    let mut state = State::default();
    state.files.push(storage.path(&place.metadata_location)?);
    let statistics = of.statistics_iter().map(|s| &s.statistics_path);
    let partitions = of.partition_statistics_iter();
    for location in statistics.chain(partitions.map(|s| &s.statistics_path)) {
        state.files.push(storage.path(location)?);
    }
    // The snapshots of the state itself and of the table's own branches and tags.
    let mut needed = named_by_refs(&of);
    needed.extend(of.current_snapshot_id());
    for snapshot in of.snapshots() {
        let must = needed.contains(&snapshot.snapshot_id());
        // Of the newest state also the others, which other engines travel to, as far as they are there.
        if !must && !place.is_head {
            continue;
        }
        state.files.push(storage.path(snapshot.manifest_list())?);
        let list = match read_list(&of, storage, snapshot).await {
            Err(error) if !must && error.kind() == ErrorKind::NotFound => continue,
            list => list?,
        };
        for manifest in list {
            state.manifests.push(Named {
                path: storage.path(&manifest.manifest_path)?,
                manifest,
                must,
                place: Arc::clone(place),
                of: Arc::clone(&of),
            });
        }
    }
    Ok(state)
}

async fn entries(lake: Lake, named: Named) -> (Named, Result<Vec<u64>>) {
    let read = async {
        let live = read_live(&named.of, lake.storage(), &named.manifest).await?;
        let paths = live.entries.iter().map(|entry| {
            let path = lake.storage().path(entry.data_file().file_path())?;
            Ok(hash(&path))
        });
        paths.collect::<Result<Vec<u64>>>()
    };
    let read = read
        .await
        .context("manifest", &named.manifest.manifest_path);
    (named, read)
}

fn hashes_of(path: &Path) -> (u64, u64) {
    (hash(path), hash_again(path))
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
