//! A store of the test's own with a clock that the test sets, and short ways to say what to commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Clock, CommitId, Position, RefName, Result, TableName, Timestamp};
use forebay_store::{
    AsOf, Change, Commit, Committed, HeadChange, Lease, LeaseRequest, PositionMove, Store,
};
use forebay_testkit::PostgresServer;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Decode, PgConnection, Row, SqliteConnection, Type,
};
use tempfile::TempDir;
use uuid::Uuid;

/// Stands still until the test moves it; sleeping is real.
#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: Arc<HandClock>,
    /// To open the same store again.
    pub(crate) url: String,
    _dir: Option<TempDir>,
}

/// One more handle.
pub(crate) async fn open(url: &str, clock: Arc<dyn Clock>) -> Store {
    Store::open_url(&url.parse().unwrap(), clock).await.unwrap()
}

pub(crate) fn file_url() -> (String, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    (url, dir)
}

/// A schema of its own on the server that all tests share; `None`, with a line, where no Postgres is installed.
pub(crate) fn schema_url() -> Option<String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let server = PostgresServer::shared()?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Some(format!("{}&schema=test_{number}", server.url()))
}

/// Rows of text, read beside the store.
pub(crate) type Rows = Result<Vec<Vec<Option<String>>>, sqlx::Error>;

pub(crate) async fn sqlite_rows(url: &str, sql: &'static str) -> Rows {
    let mut connection = SqliteConnection::connect(url).await?;
    texts(sqlx::query(sql).fetch_all(&mut connection).await?)
}

pub(crate) async fn postgres_rows(url: &str, sql: &'static str) -> Rows {
    let mut connection = in_schema(url).await?;
    texts(sqlx::query(sql).fetch_all(&mut connection).await?)
}

/// A session that sees the schema of a store's URL as the store does.
pub(crate) async fn in_schema(url: &str) -> Result<PgConnection, sqlx::Error> {
    let (server, schema) = url.split_once("&schema=").unwrap();
    let mut connection = PgConnection::connect(server).await?;
    let path = AssertSqlSafe(format!("SET search_path TO {schema}"));
    sqlx::raw_sql(path).execute(&mut connection).await?;
    Ok(connection)
}

fn texts<R: Row>(rows: Vec<R>) -> Rows
where
    usize: ColumnIndex<R>,
    Option<String>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    let text = |row: &R| (0..row.len()).map(|n| row.try_get(n)).collect();
    rows.iter().map(text).collect()
}

impl World {
    pub(crate) async fn in_file() -> Self {
        let (url, dir) = file_url();
        Self::at(url, Some(dir)).await
    }

    pub(crate) async fn on_server() -> Option<Self> {
        Some(Self::at(schema_url()?, None).await)
    }

    async fn at(url: String, dir: Option<TempDir>) -> Self {
        let clock = Arc::new(HandClock::default());
        clock.set(1_000_000);
        let store = open(&url, clock.clone()).await;
        Self {
            store,
            clock,
            url,
            _dir: dir,
        }
    }
}

pub(crate) fn branch(name: &str) -> RefName {
    name.parse().unwrap()
}

pub(crate) fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

pub(crate) fn uuid_of(table: &str) -> Uuid {
    Uuid::from_u128(
        table
            .bytes()
            .fold(0, |sum, byte| sum * 256 + u128::from(byte)),
    )
}

/// Ids are unique in the process, and by its id between processes.
pub(crate) fn next_id() -> CommitId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let random =
        u128::from(std::process::id()) << 40 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    CommitId::new(Timestamp(1_000_000), random)
}

pub(crate) fn commit_on(branch: &RefName) -> Commit {
    Commit {
        id: next_id(),
        branch: branch.clone(),
        author: "test".into(),
        message: "change".into(),
        run: None,
        at: None,
        heads: vec![],
        positions: vec![],
    }
}

pub(crate) fn set(name: &str, expected: Option<&str>, location: &str) -> HeadChange {
    HeadChange {
        table: table(name),
        uuid: uuid_of(name),
        expected: expected.map(str::to_owned),
        change: Change::Set(location.to_owned()),
    }
}

pub(crate) fn drop_table(name: &str, expected: &str) -> HeadChange {
    HeadChange {
        change: Change::Drop,
        ..set(name, Some(expected), "")
    }
}

impl World {
    pub(crate) async fn commit(&self, branch: &RefName, heads: &[HeadChange]) -> Result<Committed> {
        self.store
            .commit(Commit {
                heads: heads.to_vec(),
                ..commit_on(branch)
            })
            .await
    }

    /// `a.t=m1 b.u=m2`: the tables of a state with their locations.
    pub(crate) async fn tables(&self, as_of: &AsOf) -> String {
        let heads = self.store.heads(as_of).await.unwrap();
        let mut shown = Vec::new();
        for head in heads {
            assert_eq!(head.uuid, uuid_of(&head.table.to_string()));
            let one = self.store.head(as_of, &head.table).await.unwrap();
            assert_eq!(
                one.as_ref(),
                Some(&head),
                "one table and all tables must agree"
            );
            shown.push(format!("{}={}", head.table, head.metadata_location));
        }
        shown.join(" ")
    }

    pub(crate) async fn now(&self, branch: &RefName) -> String {
        self.tables(&AsOf::Head(branch.clone())).await
    }
}

pub(crate) fn request(branch: &RefName, owner: &str) -> LeaseRequest {
    LeaseRequest {
        branch: branch.clone(),
        pipeline: "quakes".parse().unwrap(),
        split: "all".parse().unwrap(),
        owner: owner.to_owned(),
        duration: Duration::from_secs(10),
    }
}

pub(crate) fn moved(lease: &Lease, done: i64, to: i64) -> PositionMove {
    PositionMove {
        pipeline: "quakes".parse().unwrap(),
        split: "all".parse().unwrap(),
        epoch: lease.epoch,
        sequence: lease.sequence + done,
        sequence_after: lease.sequence + done + 1,
        position: position(to),
    }
}

pub(crate) fn position(at: i64) -> Position {
    Position(serde_json::json!({ "at": at }))
}

/// A commit that moves nothing but the position.
pub(crate) fn step(branch: &RefName, lease: &Lease, done: i64, to: i64) -> Commit {
    Commit {
        positions: vec![moved(lease, done, to)],
        ..commit_on(branch)
    }
}
