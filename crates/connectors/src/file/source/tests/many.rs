//! More files than a position could list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay_core::PositionObject;

use super::super::record::TakenRecord;
use super::super::taken::State;
use super::super::taken_files::LISTED_MAX;
use super::*;
use crate::source::PositionStorage;

/// Objects of positions in memory, by path.
#[derive(Debug, Clone, Default)]
struct Storage(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

#[async_trait]
impl PositionStorage for Storage {
    async fn create(&self, bytes: Vec<u8>, entries: u64) -> Result<PositionObject> {
        let mut objects = self.0.lock().unwrap();
        let object = PositionObject {
            path: format!("positions/{}", objects.len()),
            sha256: String::new(),
            bytes: bytes.len() as u64,
            entries,
        };
        objects.insert(object.path.clone(), bytes);
        Ok(object)
    }

    async fn read(&self, object: &PositionObject) -> Result<Vec<u8>> {
        let found = self.0.lock().unwrap().get(&object.path).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "object_missing", object.path.clone()))
    }
}

impl Storage {
    async fn reader(
        &self,
        project: &Project,
        position: Option<Position>,
    ) -> Result<Box<dyn SplitReader>> {
        let mut context = context(project.0.path(), Framing::Whole);
        context.position_storage = Some(Arc::new(self.clone()));
        // Long after the files were written, so that their looks are trusted.
        context.clock = forebay_testkit::FakeClock::auto(Timestamp(4_000_000_000_000_000));
        let files = source("in/*");
        files.open(&SPLIT.parse()?, position, context).await
    }
}

/// Files that a reader takes, and the last position.
async fn read_all(mut reader: Box<dyn SplitReader>) -> (usize, Option<Position>) {
    let mut count = 0;
    let mut position = None;
    while let Some(chunk) = reader.next().await.unwrap() {
        count += usize::from(chunk.last);
        position = chunk.position.or(position);
    }
    (count, reader.end_position().or(position))
}

/// Position as it would be after these files, and the files.
fn taken(count: u64) -> State {
    let mut state = State::default();
    for n in 0..count {
        state.files.insert(record(n));
    }
    state
}

fn record(n: u64) -> TakenRecord {
    let stat = folder::Stat {
        size: n,
        modified: Timestamp(1),
        identity: folder::Identity::Tag(None),
    };
    let found = Found {
        path: PathBuf::new(),
        name: n.to_string(),
        stat,
    };
    TakenRecord::of(&found, n, &[0; 32])
}

#[tokio::test]
async fn a_folder_of_more_files_than_a_position_lists_is_loaded_once() {
    const BEFORE: u64 = 40_000;
    let project = Project::new();
    let storage = Storage::default();
    for n in 0..1_500 {
        project.write(&format!("in/{n:05}"), n.to_string().as_bytes());
    }
    // A position of a version that listed every file, and more than that one could.
    let before = taken(BEFORE).position().unwrap();
    let reader = storage.reader(&project, Some(before)).await.unwrap();
    let (count, position) = read_all(reader).await;
    assert_eq!(count, 1_500);
    let position = position.unwrap();
    assert!(position.to_string().len() < 32 << 10, "{position}");
    assert_eq!(position.0["count"], BEFORE + 1_500);

    let again = storage.reader(&project, Some(position.clone())).await;
    assert_eq!(read_all(again.unwrap()).await.0, 0, "each file once");
    project.write("in/00007", b"another content");
    project.write("in/new", b"new");
    let again = storage.reader(&project, Some(position.clone())).await;
    assert_eq!(read_all(again.unwrap()).await.0, 2);

    // Versions without objects expect a list, and fail.
    assert!(position.0["files"].is_null() && position.0.get("files").is_some());
}

#[tokio::test]
async fn an_object_that_is_gone_stops_the_run() {
    let project = Project::new();
    let storage = Storage::default();
    let mut state = taken(2 * LISTED_MAX as u64);
    state.settle(&storage).await.unwrap();
    let position = state.position().unwrap();
    let object = position.objects().unwrap().remove(0);
    assert!(storage.0.lock().unwrap().remove(&object.path).is_some());
    let opened = storage.reader(&project, Some(position)).await;
    let error = opened.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// Records come and go; every now and then the position is written and read again.
#[tokio::test]
async fn a_position_says_what_was_taken_whatever_came_and_went() {
    const STEPS: u64 = 60_000;
    for seed in 0..3 {
        let storage = Storage::default();
        let mut expected = BTreeSet::new();
        let mut state = State::default();
        for step in 0..STEPS {
            let dice = u64::from_le_bytes(hash(seed, step));
            // Others grow, vanish and come back.
            let one = record(dice % (STEPS / 2));
            match dice >> 60 {
                0..4 => {
                    state.files.remove(&one);
                    expected.remove(&one);
                }
                _ => {
                    state.files.insert(one);
                    expected.insert(one);
                }
            }
            if step % 300 == 299 {
                state.settle(&storage).await.unwrap();
            }
            if step % 3_000 == 2_999 {
                let position = state.position().unwrap();
                assert!(position.to_string().len() < 40 << 10);
                let run = storage.clone();
                state = State::read(position, Some(&run)).await.unwrap();
                assert!(state.files.iter().eq(&expected), "seed {seed} step {step}");
            }
        }
    }
}

fn hash(seed: u64, step: u64) -> [u8; 8] {
    use sha2::Digest;
    let digest = sha2::Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(step.to_le_bytes());
    record::first(&digest.finalize())
}

/// The bytes written for each new file do not grow with the number of files.
#[tokio::test]
async fn a_commit_writes_what_is_new() {
    const FILES: u64 = 100_000;
    let storage = Storage::default();
    let run = storage.clone();
    let mut state = State::default();
    let mut written = 0;
    let mut known = BTreeSet::new();
    let mut objects_max = 0;
    for n in 0..FILES {
        state.files.insert(record(n));
        if n % 100 == 99 {
            state.settle(&run).await.unwrap();
            let objects = state.position().unwrap().objects().unwrap();
            objects_max = objects_max.max(objects.len());
            for object in objects {
                if known.insert(object.path) {
                    written += object.bytes;
                }
            }
        }
    }
    let per_file = written / FILES;
    assert!(per_file < 26 * 6, "{per_file} bytes a file");
    assert!(objects_max <= 32, "{objects_max} objects");
}
