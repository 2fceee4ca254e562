//! A lake in a temporary folder, and the few steps that every test takes. The files of its tables lie in the folder, or
//! in a bucket when the process was told so.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use bytes::Bytes;
use forebay_core::{Clock, CommitId, RefName, Result, SystemClock, TableName, Timestamp};
use forebay_lake::{CommitRequest, Draft, Lake, LakeCommit, Table, WriterOptions};
use forebay_store::{AsOf, PositionMove, Store};
use forebay_testkit::{FakeClock, PostgresServer, S3Server, Workspace, on_s3};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub(crate) const START: Timestamp = Timestamp(1_767_225_600_000_000);

/// Long after every file of a test was written.
pub(crate) const LATER: Timestamp = Timestamp(4_000_000_000_000_000);

pub(crate) fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

pub(crate) fn head() -> AsOf {
    AsOf::Head(RefName::main())
}

/// Where tables lie.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) root: String,
}

impl Place {
    fn new(folder: &Path) -> Self {
        if on_s3() {
            return Self::bucket();
        }
        Self {
            objects: Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap()),
            root: format!("file://{}", folder.display()),
        }
    }

    /// A prefix of a new bucket.
    fn bucket() -> Self {
        let server = S3Server::shared().expect("whoever asks for S3 has installed it");
        let bucket = server.bucket();
        Self {
            root: format!("s3://{bucket}/some/lake"),
            objects: Arc::new(PrefixStore::new(server.client(&bucket), "some/lake")),
        }
    }

    /// One that has no disk below it.
    pub(crate) fn without_disk() -> Self {
        if on_s3() {
            return Self::bucket();
        }
        Self {
            root: "s3://bucket/lake".to_owned(),
            objects: Arc::new(InMemory::new()),
        }
    }
}

pub(crate) struct Site {
    pub(crate) folder: Workspace,
    pub(crate) place: Place,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) lake: Lake,
    /// Where the catalog is, if not in the folder.
    catalog: Option<String>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let (folder, clock) = (Workspace::new(), FakeClock::auto(START));
        let place = Place::new(folder.path());
        let lake = open(&folder, None, clock.clone(), place.clone()).await;
        Self {
            folder,
            place,
            clock,
            lake,
            catalog: None,
        }
    }

    /// One with its catalog in a schema of a server; `None`, with a line, where no Postgres is installed.
    pub(crate) async fn on_postgres() -> Option<Self> {
        let server = PostgresServer::shared()?;
        let schema = uuid::Uuid::new_v4().simple();
        let catalog = Some(format!("{}&schema=lake_{schema}", server.url()));
        let (folder, clock) = (Workspace::new(), FakeClock::auto(START));
        let place = Place::new(folder.path());
        let lake = open(&folder, catalog.as_deref(), clock.clone(), place.clone()).await;
        Some(Self {
            folder,
            place,
            clock,
            lake,
            catalog,
        })
    }

    /// The same lake as another process has it.
    pub(crate) async fn another(&self) -> Lake {
        self.another_on(self.place.objects.clone()).await
    }

    pub(crate) async fn another_on(&self, objects: Arc<dyn ObjectStore>) -> Lake {
        let root = self.place.root.clone();
        open(
            &self.folder,
            self.catalog.as_deref(),
            self.clock.clone(),
            Place { objects, root },
        )
        .await
    }

    /// Another process whose clock says so.
    pub(crate) async fn another_at(&self, now: Timestamp) -> Lake {
        open(
            &self.folder,
            self.catalog.as_deref(),
            FakeClock::auto(now),
            self.place.clone(),
        )
        .await
    }

    /// Another process whose time passes: its waits are real.
    pub(crate) async fn another_in_real_time(&self) -> Lake {
        open(
            &self.folder,
            self.catalog.as_deref(),
            SystemClock::shared(),
            self.place.clone(),
        )
        .await
    }

    /// The values of the column `id` in a state of a table, ascending.
    pub(crate) async fn ids_of(&self, table: &Table) -> Vec<i64> {
        ids_in(&self.place.objects, table).await
    }

    /// The newest state of a table that is there.
    pub(crate) async fn table(&self, table: &str) -> Table {
        newest(&self.lake, table).await
    }

    /// … as another process sees it.
    pub(crate) async fn table_elsewhere(&self, table: &str) -> Table {
        newest(&self.another().await, table).await
    }

    pub(crate) async fn draft(&self, table: &str) -> Draft {
        let draft = self.lake.draft(&RefName::main(), &name(table)).await;
        draft.unwrap()
    }

    /// Commits one draft, which must work.
    pub(crate) async fn commit(&self, draft: Draft) -> LakeCommit {
        let request = request(vec![draft], Vec::new());
        self.lake.commit(request).await.unwrap()
    }

    /// The values of the column `id` in the newest state, ascending.
    pub(crate) async fn ids(&self, table: &str) -> Vec<i64> {
        let lake = self.another().await;
        match lake.table(&head(), &name(table)).await.unwrap() {
            Some(table) => self.ids_of(&table).await,
            None => Vec::new(),
        }
    }
}

async fn newest(lake: &Lake, table: &str) -> Table {
    lake.table(&head(), &name(table)).await.unwrap().unwrap()
}

async fn open(
    folder: &Workspace,
    catalog: Option<&str>,
    clock: Arc<dyn Clock>,
    place: Place,
) -> Lake {
    let path = folder.path().join("store.sqlite");
    let store = match catalog {
        Some(url) => Store::open_url(&url.parse().unwrap(), clock.clone()).await,
        None => Store::open(&path, clock.clone()).await,
    };
    let store = store.unwrap();
    Lake::new(store, place.objects, place.root, clock)
}

pub(crate) fn id_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]))
}

pub(crate) fn id_rows(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_new(id_schema(), vec![column]).unwrap()
}

/// A draft that holds `rows`, its table made or grown to fit them.
pub(crate) async fn drafted(lake: &Lake, table: &str, rows: RecordBatch) -> Result<Draft> {
    drafted_on(lake, &RefName::main(), table, rows).await
}

pub(crate) async fn drafted_on(
    lake: &Lake,
    branch: &RefName,
    table: &str,
    rows: RecordBatch,
) -> Result<Draft> {
    let mut draft = lake.draft(branch, &name(table)).await?;
    if draft.exists() {
        draft.evolve(&rows.schema())?;
    } else {
        draft.create(&rows.schema(), &[])?;
    }
    let mut writer = draft.writer(WriterOptions::default())?;
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(written.await.unwrap()?);
    Ok(draft)
}

pub(crate) fn request(drafts: Vec<Draft>, positions: Vec<PositionMove>) -> CommitRequest {
    CommitRequest {
        id: CommitId::new(START, uuid::Uuid::new_v4().as_u128()),
        branch: RefName::main(),
        author: "test".to_owned(),
        message: "a test's change".to_owned(),
        run: None,
        drafts,
        positions,
    }
}

pub(crate) async fn append(lake: &Lake, table: &str, rows: RecordBatch) -> Result<LakeCommit> {
    let draft = drafted(lake, table, rows).await?;
    lake.commit(request(vec![draft], Vec::new())).await
}

pub(crate) async fn bytes_of(
    objects: &Arc<dyn ObjectStore>,
    path: &object_store::path::Path,
) -> Bytes {
    objects.get(path).await.unwrap().bytes().await.unwrap()
}

/// The rows of a table that are not deleted, as its files have them.
pub(crate) async fn live_rows(objects: &Arc<dyn ObjectStore>, table: &Table) -> Vec<RecordBatch> {
    let mut live = Vec::new();
    for file in table.scan(None).await.unwrap().files {
        let bytes = bytes_of(objects, &file.path).await;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let mut first = 0;
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let end = first + batch.num_rows() as u64;
            let is_live = |row| {
                !file
                    .deleted
                    .as_ref()
                    .is_some_and(|deleted| deleted.contains(row))
            };
            let kept: BooleanArray = (first..end).map(|row| Some(is_live(row))).collect();
            live.push(filter_record_batch(&batch, &kept).unwrap());
            first = end;
        }
    }
    live
}

/// The values of the column `id` in every file of the table's snapshot, ascending.
pub(crate) async fn ids_in(objects: &Arc<dyn ObjectStore>, table: &Table) -> Vec<i64> {
    let plan = table.scan(None).await.unwrap();
    let mut ids = Vec::new();
    for file in plan.files {
        let bytes = bytes_of(objects, &file.path).await;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let column = batch.column_by_name("id").unwrap();
            assert_eq!(column.null_count(), 0);
            ids.extend(column.as_primitive::<Int64Type>().values());
        }
    }
    ids.sort_unstable();
    ids
}
