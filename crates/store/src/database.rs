//! The two databases of a store and their differences: opening, locking, a few statements.
//!
//! Whichever it is, one writer at a time holds the store: SQLite's write lock, or an advisory lock of Postgres, from the
//! first statement of a transaction to its end. The SQL statements of the store are in `sql/`, once for both.

mod error;
mod mark;
mod postgres;
mod progress;
mod query;
mod sqlite;
mod url;

use forebay_core::{Clock, Result};
use sqlx::pool::PoolConnection;
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection,
    SqlitePool,
};

pub(crate) use self::error::{explain, is_busy, is_cut, is_read_only};
pub(crate) use self::mark::{CatalogMark, StoredMark};
use self::postgres::answered;
pub(crate) use self::progress::CatalogProgress;
use self::query::Statement;
pub(crate) use self::query::{Sql, Together, query, rows_of};
pub use self::url::StoreUrl;

/// Connections of a store that read at once.
const READERS_MAX: u32 = 4;

/// Where to connect to.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(Box<sqlite::File>),
    Postgres(Box<postgres::Server>),
}

impl Database {
    /// A writing connection to a migrated store.
    pub(crate) async fn open(&self, clock: &dyn Clock) -> Result<Connection> {
        match self {
            Self::Sqlite(file) => file.open(clock).await.map(Connection::Sqlite),
            Self::Postgres(server) => Ok(Connection::Postgres(Box::new(server.open().await?))),
        }
    }

    /// One more writing connection to a store that was opened before.
    pub(crate) async fn connect(&self) -> Result<Connection, sqlx::Error> {
        match self {
            Self::Sqlite(file) => file.connect().await.map(Connection::Sqlite),
            Self::Postgres(server) => Ok(Connection::Postgres(Box::new(server.connect().await?))),
        }
    }

    /// The mark beside the catalog; Postgres has none.
    pub(crate) fn mark(&self) -> Option<CatalogMark> {
        match self {
            Self::Sqlite(file) => Some(file.mark().clone()),
            Self::Postgres(_) => None,
        }
    }

    /// Sets the mark to the state of the catalog, even if that is older; returns the problem found.
    pub(crate) async fn accept_loss(&self, clock: &dyn Clock) -> Result<Option<String>> {
        match self {
            Self::Sqlite(file) => file.accept_loss(clock).await,
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Connect when first used; cannot write.
    pub(crate) fn readers(&self) -> Readers {
        match self {
            Self::Sqlite(file) => Readers::Sqlite(file.readers()),
            Self::Postgres(server) => Readers::Postgres(server.readers()),
        }
    }
}

/// A writing connection. Dropped, it ends with whatever transaction it has.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Box<PgConnection>),
}

impl Connection {
    pub(crate) fn sql(&mut self) -> Sql<'_> {
        match self {
            Self::Sqlite(sql) => Sql::Sqlite(sql),
            Self::Postgres(sql) => Sql::Postgres(sql),
        }
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(sql) => sql.close().await,
            Self::Postgres(sql) => answered(sql.close()).await,
        }
    }
}

/// The statements that the databases do not share.
struct Dialect {
    /// Begins a transaction that alone may write.
    begin: &'static str,
    /// Keeps the last batch of a writer, then COMMIT: the values are an id and a number of our own.
    mark_and_commit: fn(id: &uuid::Uuid, batch: i64) -> String,
    /// Deletes writers that ended long ago.
    prune: &'static str,
}

impl Sql<'_> {
    fn dialect(&self) -> &'static Dialect {
        match self {
            Self::Sqlite(_) => &sqlite::DIALECT,
            Self::Postgres(_) => &postgres::DIALECT,
        }
    }

    /// Begins the only transaction that may write: the state that it reads stays valid until it ends.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.command(self.dialect().begin).await
    }

    /// Statements without values and without an answer.
    pub(crate) async fn command(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => query(text).execute(self).await.map(drop),
            // As one message, be it two statements.
            Self::Postgres(sql) => answered(sqlx::raw_sql(text).execute(&mut **sql))
                .await
                .map(drop),
        }
    }

    /// Keeps `batch` as the last one of the writer `id`, and commits; in one message.
    pub(crate) async fn mark_and_commit(
        &mut self,
        id: &uuid::Uuid,
        batch: i64,
    ) -> Result<(), sqlx::Error> {
        let text = AssertSqlSafe((self.dialect().mark_and_commit)(id, batch));
        match self {
            Self::Sqlite(sql) => sqlx::raw_sql(text).execute(&mut **sql).await.map(drop),
            Self::Postgres(sql) => answered(sqlx::raw_sql(text).execute(&mut **sql))
                .await
                .map(drop),
        }
    }

    pub(crate) fn prune(&self) -> Statement {
        query(self.dialect().prune)
    }
}

/// The migrations that a store of this version still needs; `None` when it has more than there are.
fn pending(migrations: &'static [&'static str], version: i64) -> Option<&'static [&'static str]> {
    migrations.get(usize::try_from(version).ok()?..)
}

#[derive(Debug, Clone)]
pub(crate) enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Readers {
    pub(crate) async fn acquire(&self) -> Result<Reader, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Reader::Sqlite(pool.acquire().await?),
            Self::Postgres(pool) => Reader::Postgres(pool.acquire().await?),
        })
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A reading connection; goes back to the others when dropped.
pub(crate) enum Reader {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Reader {
    pub(crate) fn sql(&mut self) -> Sql<'_> {
        match self {
            Self::Sqlite(sql) => Sql::Sqlite(sql),
            Self::Postgres(sql) => Sql::Postgres(sql),
        }
    }
}
