use std::io::Write;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use super::*;

fn memory(root: &str) -> Arc<LakeStorage> {
    Arc::new(LakeStorage::new(Arc::new(InMemory::new()), root))
}

#[test]
fn every_spelling_of_a_local_location_is_one_path() {
    let storage = memory("file:///w/lake/");
    for location in [
        "file:///w/lake/tables/a",
        "file:/w/lake/tables/a",
        "/w/lake/tables/a",
        "file://w/lake/tables/a",
    ] {
        assert_eq!(
            storage.path(location).ok(),
            Some(Path::from("tables/a")),
            "{location}"
        );
    }
    assert_eq!(
        storage.location(&Path::from("tables/a")),
        "file:///w/lake/tables/a"
    );
}

#[test]
fn a_location_outside_the_lake_is_refused() {
    let storage = memory("s3://bucket/lake");
    assert_eq!(
        storage.path("s3://bucket/lake/x").ok(),
        Some(Path::from("x"))
    );
    for location in [
        "s3://bucket/lakes/x",
        "s3://other/lake/x",
        "file:///bucket/lake/x",
        "s3://bucket/lake",
    ] {
        assert_eq!(
            storage.path(location).map_err(|e| e.code()),
            Err("outside_lake"),
            "{location}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_writes_small_and_large_objects() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap());
    let storage = Arc::new(LakeStorage::new(
        objects,
        &format!("file://{}", dir.path().display()),
    ));
    for size in [0, 10, 20 << 20] {
        let path = Path::from(format!("tables/t/data/{size}"));
        let storage = Arc::clone(&storage);
        let at = path.clone();
        let wanted: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        let bytes = wanted.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut sink = storage.sink(at)?;
            for chunk in bytes.chunks(1 << 20) {
                sink.write_all(chunk).unwrap();
            }
            sink.finish()
        });
        assert_eq!(written.await.unwrap().unwrap(), size as u64);
        let file = dir.path().join(format!("tables/t/data/{size}"));
        assert!(
            std::fs::read(file).unwrap() == wanted,
            "{size} bytes come back"
        );
    }
}

#[tokio::test]
async fn on_a_disk_a_new_object_is_never_written_over_either() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap());
    let root = format!("file://{}", dir.path().display());
    let storage = LakeStorage::new(objects, &root);
    let path = Path::from("journal/p/j/0.segment");
    for (bytes, made) in [
        ("ours", Created::Ours),
        ("theirs", Created::Another),
        ("ours", Created::Ours),
    ] {
        assert_eq!(
            storage.create(&path, bytes.into(), "n").await.unwrap(),
            made
        );
    }
    assert_eq!(storage.read(&path).await.unwrap(), "ours");
    let folder = dir.path().join("journal/p/j");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}
