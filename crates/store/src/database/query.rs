//! One statement for either database.
//!
//! Both take `$1` as a parameter, `ON CONFLICT`, `RETURNING` and rows from [`rows_of`]; the store's statements use only the syntax that
//! both understand. Values are whole numbers and text, nothing else.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Database, Encode, FromRow, IntoArguments, Postgres, Sqlite, Type};

use super::postgres::answered;

/// A connection that is lent for some statements.
#[derive(Debug)]
pub(crate) enum Sql<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// A type that can be read from a row of either database: tuples and structs of `i64`, `String` and options of them.
pub(crate) trait Fetched:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send
{
}

impl<T> Fetched for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send {}

pub(crate) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(storable(text)))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(storable))
    }
}

/// Postgres has no NUL in text: U+FFFD replaces it, in both databases.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Rows for `json_each($1)`: an array of objects, of which a statement reads `value->>'key'`.
pub(crate) fn rows_of(objects: Vec<serde_json::Value>) -> String {
    // Escaped, as JSON has it, a NUL would pass `storable` and fail in Postgres.
    let mut array = serde_json::Value::Array(objects);
    without_nul(&mut array);
    array.to_string()
}

fn without_nul(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.contains('\0') => *text = storable(text),
        serde_json::Value::Array(values) => values.iter_mut().for_each(without_nul),
        serde_json::Value::Object(values) => values.values_mut().for_each(without_nul),
        _ => (),
    }
}

pub(crate) struct Statement {
    text: &'static str,
    values: Vec<Value>,
}

pub(crate) fn query(text: &'static str) -> Statement {
    Statement {
        text,
        values: Vec::new(),
    }
}

impl Statement {
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The number of rows that it changed.
    pub(crate) async fn execute(self, sql: &mut Sql<'_>) -> Result<u64, sqlx::Error> {
        Ok(match sql {
            Sql::Sqlite(sql) => {
                let done = self.bound::<Sqlite>().execute(&mut **sql).await?;
                done.rows_affected()
            }
            Sql::Postgres(sql) => {
                let done = answered(self.bound::<Postgres>().execute(&mut **sql)).await?;
                done.rows_affected()
            }
        })
    }

    pub(crate) async fn fetch_all<R: Fetched>(
        self,
        sql: &mut Sql<'_>,
    ) -> Result<Vec<R>, sqlx::Error> {
        match sql {
            Sql::Sqlite(sql) => {
                let rows = self.bound::<Sqlite>().fetch_all(&mut **sql).await?;
                rows.iter()
                    .map(<R as FromRow<'_, SqliteRow>>::from_row)
                    .collect()
            }
            Sql::Postgres(sql) => {
                let rows = answered(self.bound::<Postgres>().fetch_all(&mut **sql)).await?;
                rows.iter()
                    .map(<R as FromRow<'_, PgRow>>::from_row)
                    .collect()
            }
        }
    }

    /// The first row. Not for statements that change something: those must run to their end.
    pub(crate) async fn fetch_optional<R: Fetched>(
        self,
        sql: &mut Sql<'_>,
    ) -> Result<Option<R>, sqlx::Error> {
        match sql {
            Sql::Sqlite(sql) => {
                let row = self.bound::<Sqlite>().fetch_optional(&mut **sql).await?;
                row.map(|row| <R as FromRow<'_, SqliteRow>>::from_row(&row))
                    .transpose()
            }
            Sql::Postgres(sql) => {
                let row = answered(self.bound::<Postgres>().fetch_optional(&mut **sql)).await?;
                row.map(|row| <R as FromRow<'_, PgRow>>::from_row(&row))
                    .transpose()
            }
        }
    }

    fn bound<DB: Database>(self) -> sqlx::query::Query<'static, DB, DB::Arguments>
    where
        DB::Arguments: IntoArguments<DB>,
        Option<i64>: for<'t> Encode<'t, DB> + Type<DB>,
        Option<String>: for<'t> Encode<'t, DB> + Type<DB>,
    {
        let bound = sqlx::query(self.text);
        self.values
            .into_iter()
            .fold(bound, |bound, value| match value {
                Value::Number(number) => bound.bind(number),
                Value::Text(text) => bound.bind(text),
            })
    }
}

/// Statements that change something, done as one: one message, and one count of the rows that they changed. They share
/// their values and cannot see each other's changes.
pub(crate) struct Together {
    sqlite: String,
    postgres: String,
}

impl Together {
    pub(crate) fn of(statements: &[&str]) -> Self {
        let mut parts = Vec::new();
        let mut counts = Vec::new();
        for (n, statement) in statements.iter().enumerate() {
            parts.push(format!("done_{n} AS ({statement} RETURNING 1)"));
            counts.push(format!("(SELECT count(*) FROM done_{n})"));
        }
        Self {
            sqlite: statements.join(";"),
            postgres: format!("WITH {} SELECT {}", parts.join(", "), counts.join(" + ")),
        }
    }

    pub(crate) async fn execute(
        &'static self,
        values: impl IntoIterator<Item = String>,
        sql: &mut Sql<'_>,
    ) -> Result<u64, sqlx::Error> {
        let bound = |text| values.into_iter().fold(query(text), Statement::bind);
        match sql {
            Sql::Sqlite(_) => bound(self.sqlite.as_str()).execute(sql).await,
            Sql::Postgres(_) => {
                let counted: Vec<(i64,)> = bound(self.postgres.as_str()).fetch_all(sql).await?;
                Ok(counted.iter().map(|(rows,)| rows.unsigned_abs()).sum())
            }
        }
    }
}
