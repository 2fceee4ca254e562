use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use forebay_core::{Clock, CommitId, RefName, SystemClock, Timestamp};
use forebay_lake::{
    CleanRequest, CommitRequest, CompactRequest, CompactionRules, Lake, SAFE_AGE_MIN, WriterOptions,
};
use forebay_store::{AsOf, Change, Commit, HeadChange, Store};
use forebay_testkit::{FakeClock, Workspace};
use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::*;
use forebay_connectors::source::SourceContext;
use forebay_formats::contract::ContractPolicy;
use forebay_formats::framing::Framing;
use forebay_formats::{Extracted, ObjectInput};

struct World {
    folder: Workspace,
    lake: Lake,
}

impl World {
    async fn new() -> Self {
        let folder = Workspace::new();
        let clock = SystemClock::shared();
        let store = Store::open(&folder.path().join("store.db"), clock.clone()).await;
        let objects = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let root = format!("file://{}", folder.path().display());
        let lake = Lake::new(store.unwrap(), Arc::new(objects), root, clock);
        Self { folder, lake }
    }

    fn id(&self) -> CommitId {
        CommitId::new(SystemClock::new().now(), uuid::Uuid::new_v4().as_u128())
    }

    async fn append(&self, records: &RecordBatch) {
        let name = "shop.orders".parse().unwrap();
        let mut draft = self.lake.draft(&RefName::main(), &name).await.unwrap();
        if draft.exists() {
            draft.evolve(&records.schema()).unwrap();
        } else {
            draft.create(&records.schema(), &[]).unwrap();
        }
        let mut writer = draft.writer(WriterOptions::default()).unwrap();
        let records = records.clone();
        let files = tokio::task::spawn_blocking(move || {
            writer.write(&records).unwrap();
            writer.finish().unwrap()
        });
        draft.append(files.await.unwrap());
        let request = CommitRequest {
            id: self.id(),
            branch: RefName::main(),
            author: "test".to_owned(),
            message: "rows".to_owned(),
            run: None,
            drafts: vec![draft],
            positions: Vec::new(),
        };
        self.lake.commit(request).await.unwrap();
    }

    async fn compact(&self) {
        let request = CompactRequest {
            branch: RefName::main(),
            table: "shop.orders".parse().unwrap(),
            rules: CompactionRules::default(),
            dry_run: false,
            author: "test".to_owned(),
        };
        let done = self.lake.compact(&request).await.unwrap();
        assert!(done.problems.is_empty(), "{done:?}");
    }

    /// Deletes what only states before the newest need.
    async fn clean(&self) {
        // Long after every file was written.
        let clock = FakeClock::auto(Timestamp(4_000_000_000_000_000));
        let store = Store::open(&self.folder.path().join("store.db"), clock.clone()).await;
        let objects = self.lake.objects().clone();
        let root = self.lake.root().to_owned();
        let lake = Lake::new(store.unwrap(), objects, root, clock);
        let request = CleanRequest {
            keep_from: lake.store().newest_time().await.unwrap().unwrap(),
            log_from: Timestamp(0),
            safe_age: SAFE_AGE_MIN,
            unknown_tables: false,
            dry_run: false,
        };
        lake.clean(&request).await.unwrap();
    }

    /// Moves the head of the table, or drops it.
    async fn change(&self, change: Change) {
        let table = "shop.orders".parse().unwrap();
        let head = self
            .lake
            .store()
            .head(&AsOf::Head(RefName::main()), &table)
            .await;
        let head = head.unwrap().unwrap();
        let commit = Commit {
            id: self.id(),
            branch: RefName::main(),
            author: "test".to_owned(),
            message: "a change".to_owned(),
            run: None,
            at: None,
            heads: vec![HeadChange {
                table,
                uuid: head.uuid,
                expected: Some(head.metadata_location),
                change,
            }],
            positions: Vec::new(),
        };
        self.lake.store().commit(commit).await.unwrap();
    }

    async fn location(&self) -> String {
        let table = "shop.orders".parse().unwrap();
        let head = self
            .lake
            .store()
            .head(&AsOf::Head(RefName::main()), &table)
            .await;
        head.unwrap().unwrap().metadata_location
    }

    fn context(&self) -> PlatformContext {
        let clock = SystemClock::shared();
        let alone = SourceContext::alone(clock, self.folder.path(), Framing::Whole);
        PlatformContext {
            lake: Some(self.lake.clone()),
            ..PlatformContext::alone(alone.unwrap())
        }
    }

    /// Reads at most `chunks` payloads after a position: the ids of their rows, and the last position.
    async fn read(
        &self,
        more: &str,
        position: Option<Position>,
        chunks: usize,
    ) -> Result<(Vec<i64>, Option<Position>)> {
        let config = format!("{{name: shop.orders{more}}}");
        let source = Kind
            .build(
                &Document::from_yaml(&config).unwrap(),
                &forebay_testkit::NoSql::shared(),
            )
            .unwrap();
        let split = "all".parse().unwrap();
        let mut reader = source
            .open(&split, position.clone(), self.context())
            .await?;
        let mut ids = Vec::new();
        let mut last = position;
        for _ in 0..chunks {
            let Some(chunk) = reader.next().await? else {
                last = reader.end_position().or(last);
                break;
            };
            assert!(chunk.last && chunk.bytes.len() < 100_000);
            last = chunk.position.clone().or(last);
            ids.extend(self.extract(chunk).await);
        }
        ids.sort_unstable();
        Ok((ids, last))
    }

    async fn extract(&self, chunk: forebay_core::Chunk) -> Vec<i64> {
        let path = Path::from(format!("raw/{}", uuid::Uuid::new_v4()));
        self.lake
            .objects()
            .put(&path, chunk.bytes.into())
            .await
            .unwrap();
        let objects = self.lake.objects().clone();
        let runtime = tokio::runtime::Handle::current();
        let head = chunk.head;
        let read = tokio::task::spawn_blocking(move || {
            let kind = forebay_formats::find("table").unwrap();
            let extractor = kind.build(&Document::from_yaml("{}").unwrap()).unwrap();
            let mut extraction = extractor
                .start(None, &ContractPolicy::default(), None)
                .unwrap();
            let input = ObjectInput {
                objects: &objects,
                path: &path,
                runtime: &runtime,
            };
            let mut out = Extracted::default();
            extraction.object(&head, input, &mut out).unwrap();
            while extraction.more(&mut out).unwrap() {}
            out
        });
        let out = read.await.unwrap();
        assert!(out.rejected.is_empty(), "{:?}", out.rejected);
        let mut ids = Vec::new();
        for batch in out.batches {
            let places = batch.origins.unwrap().offsets;
            assert!(
                places
                    .iter()
                    .copied()
                    .eq(ids.len() as u64..(ids.len() + places.len()) as u64)
            );
            let column = batch.records.column_by_name("id").unwrap();
            let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Int64).unwrap();
            ids.extend(column.as_primitive::<Int64Type>().values().iter());
        }
        ids
    }
}

fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter_with_nullable([("id", id, true)]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_read_once_in_portions_and_then_what_is_appended() {
    let world = World::new().await;
    world.append(&rows(0..1_100_000)).await;
    world.append(&rows(1_100_000..1_300_000)).await;
    // Interrupted after each payload: every run resumes inside the snapshot, also when the table grows.
    let mut all = Vec::new();
    let mut position = None;
    let mut runs = 0;
    loop {
        let (ids, next) = world.read("", position.clone(), 1).await.unwrap();
        if ids.is_empty() {
            break;
        }
        assert_ne!(next, position);
        (position, runs) = (next, runs + 1);
        all.extend(ids);
        if runs == 2 {
            world.append(&rows(1_300_000..1_300_010)).await;
        }
    }
    assert!(runs > 3, "only {runs} payloads");
    assert!(all.iter().copied().eq(0..1_300_010), "{} rows", all.len());
    let (ids, same) = world.read("", position.clone(), 9).await.unwrap();
    assert!(ids.is_empty() && same == position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_keeps_its_values_when_the_table_evolves() {
    let world = World::new().await;
    let id: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    world
        .append(&RecordBatch::try_from_iter_with_nullable([("id", id, true)]).unwrap())
        .await;
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
    let note: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    world
        .append(
            &RecordBatch::try_from_iter_with_nullable([("id", id, true), ("note", note, true)])
                .unwrap(),
        )
        .await;
    let (ids, _) = world.read("", None, 9).await.unwrap();
    assert_eq!(ids, [1, 2, 1 << 40]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_now_on_means_from_the_first_look() {
    let world = World::new().await;
    world.append(&rows(0..10)).await;
    let (ids, position) = world.read(", start: now", None, 9).await.unwrap();
    assert!(
        ids.is_empty() && position.is_some(),
        "the place must be kept"
    );
    world.append(&rows(10..13)).await;
    let (ids, _) = world.read(", start: now", position, 9).await.unwrap();
    assert_eq!(ids, [10, 11, 12]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_append_is_never_read_as_one() {
    let world = World::new().await;
    world.append(&rows(0..5)).await;
    let before = world.location().await;
    world.append(&rows(5..10)).await;
    let (ids, position) = world.read("", None, 9).await.unwrap();
    assert_eq!(ids.len(), 10);
    // Back to the first snapshot, and another one on top of it.
    world.change(Change::Set(before)).await;
    let rolled = world.read("", position.clone(), 9).await.unwrap_err();
    assert_eq!(rolled.code(), "table_changed");
    world.append(&rows(20..25)).await;
    let error = world.read("", position.clone(), 9).await.unwrap_err();
    assert_eq!(error.code(), "table_changed");
    let (ids, _) = world
        .read(", changes: full", position.clone(), 9)
        .await
        .unwrap();
    assert_eq!(ids, [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]);
    world.change(Change::Drop).await;
    let error = world.read("", position.clone(), 9).await.unwrap_err();
    assert_eq!(error.code(), "no_such_table");
    world.append(&rows(0..1)).await;
    let error = world.read("", position, 9).await.unwrap_err();
    assert!(error.to_string().contains("recreated"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_was_away_for_many_commits_goes_on() {
    let world = World::new().await;
    world.append(&rows(0..1)).await;
    let (_, first) = world.read("", None, 9).await.unwrap();
    for id in 1..131 {
        world.append(&rows(id..id + 1)).await;
    }
    let name = "shop.orders".parse().unwrap();
    let table = world.lake.table(&AsOf::Head(RefName::main()), &name).await;
    let named = table.unwrap().unwrap().snapshots().len();
    assert!(named < 100, "{named} snapshots: the test proves nothing");
    let (ids, position) = world.read("", first.clone(), 9).await.unwrap();
    assert!(ids.iter().copied().eq(1..131), "{} rows", ids.len());

    // Rolled back to before the reader's place, and as many commits again.
    let before = world.location().await;
    world.append(&rows(131..132)).await;
    let (_, lost) = world.read("", position.clone(), 9).await.unwrap();
    world.change(Change::Set(before)).await;
    for id in 132..232 {
        world.append(&rows(id..id + 1)).await;
    }
    let error = world.read("", lost, 9).await.unwrap_err();
    assert!(error.to_string().contains("rolled back"), "{error}");
    let (ids, _) = world.read("", position, 9).await.unwrap();
    assert!(ids.iter().copied().eq(132..232), "{} rows", ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_table_is_read_once_wherever_the_reader_was() {
    let world = World::new().await;
    for id in 0..3 {
        world.append(&rows(id..id + 1)).await;
    }
    let (_, early) = world.read("", None, 9).await.unwrap();
    for id in 3..6 {
        world.append(&rows(id..id + 1)).await;
    }
    world.compact().await;
    let (ids, late) = world.read("", early.clone(), 9).await.unwrap();
    assert_eq!(ids, [3, 4, 5], "what is merged with rows that were read");
    let (ids, same) = world.read("", late.clone(), 9).await.unwrap();
    assert!(ids.is_empty(), "a compaction brings no rows: {ids:?}");
    assert_eq!(same, late, "and is passed");
    for id in 6..9 {
        world.append(&rows(id..id + 1)).await;
    }
    world.compact().await;
    world.append(&rows(9..10)).await;
    world.compact().await;
    world.compact().await;
    assert_eq!(
        world.read("", None, 9).await.unwrap().0,
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(world.read("", late, 9).await.unwrap().0, [6, 7, 8, 9]);
    // Payload by payload, as runs that are interrupted.
    let (mut all, mut position) = (Vec::new(), early);
    loop {
        let (ids, next) = world.read("", position.clone(), 1).await.unwrap();
        if ids.is_empty() {
            break;
        }
        all.extend(ids);
        position = next;
    }
    assert_eq!(all, (3..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_resumes_inside_of_a_state_that_was_compacted() {
    let world = World::new().await;
    world.append(&rows(0..1)).await;
    let (_, mut position) = world.read("", None, 9).await.unwrap();
    world.append(&rows(1..600_001)).await;
    world.append(&rows(600_001..1_300_001)).await;
    world.compact().await;
    let mut all = Vec::new();
    let mut runs = 0;
    loop {
        let (ids, next) = world.read("", position.clone(), 1).await.unwrap();
        if ids.is_empty() {
            break;
        }
        (position, runs) = (next, runs + 1);
        all.extend(ids);
        if runs == 2 {
            world.append(&rows(1_300_001..1_300_010)).await;
            world.compact().await;
        }
    }
    assert!(runs > 3, "only {runs} payloads");
    assert!(all.iter().copied().eq(1..1_300_010), "{} rows", all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_far_behind_many_compactions_reads_every_row_once() {
    let world = World::new().await;
    world.append(&rows(0..1)).await;
    let (_, first) = world.read("", None, 9).await.unwrap();
    for id in 1..131 {
        world.append(&rows(id..id + 1)).await;
        if id % 4 == 0 {
            world.compact().await;
        }
    }
    let (ids, _) = world.read("", first, 99).await.unwrap();
    assert!(ids.iter().copied().eq(1..131), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_state_before_a_compaction_is_gone_are_not_skipped_in_silence() {
    let world = World::new().await;
    world.append(&rows(0..1)).await;
    let (_, first) = world.read("", None, 9).await.unwrap();
    world.append(&rows(1..2)).await;
    world.compact().await;
    world.clean().await;
    let (ids, _) = world.read("", first.clone(), 9).await.unwrap();
    assert_eq!(ids, [1], "the newest snapshots keep their files");
    for id in 2..70 {
        world.append(&rows(id..id + 1)).await;
    }
    world.clean().await;
    let error = world.read("", first.clone(), 9).await.unwrap_err();
    assert_eq!(error.code(), "table_changed");
    let (ids, _) = world.read(", changes: full", first, 9).await.unwrap();
    assert!(ids.iter().copied().eq(0..70), "{ids:?}");
}
