//! What an error of SQLite means to a caller. Never decides whether to try again: that is the writer's business.

use forebay_core::Error;

/// Why an operation ended without an answer.
pub(super) enum Stop {
    /// The store works and says no: only this operation is undone.
    Refused(Error),
    /// The database failed: the whole SQL transaction is given up, and its connection with it.
    Broken(sqlx::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(error) => error,
            Stop::Broken(error) => explain(error),
        }
    }
}

/// SQLite's primary result code.
fn result_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Another process holds the write lock (SQLITE_BUSY, SQLITE_LOCKED).
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(result_code(error), Some(5 | 6))
}

pub(super) fn explain(error: sqlx::Error) -> Error {
    let explained = match result_code(&error) {
        Some(5 | 6) => Error::unavailable("store_busy", "the store is locked by another process")
            .with_hint("find the process that holds the store file open in a transaction"),
        Some(13) => Error::unavailable("store_full", "the disk of the store is full")
            .with_hint("free space on it: work continues by itself"),
        Some(8 | 10 | 14) => {
            Error::unavailable("store_io", "the store file cannot be read or written")
                .with_hint("check that its folder exists, its permissions and its disk")
        }
        Some(26) => Error::config("not_a_store", "the store file is not a SQLite database"),
        Some(11) => Error::bug("store_corrupt", "the store file is damaged")
            .with_hint("stop every process, keep a copy of the file, and restore it from a backup"),
        Some(_) => Error::bug("store_sql", "the store refused a statement"),
        None => Error::unavailable("store_unreachable", "the store does not answer"),
    };
    explained.with_source(error)
}

/// A value in the store that only a damaged or foreign writer can have left there.
pub(super) fn corrupt(what: &str, found: &str) -> Error {
    Error::bug(
        "store_corrupt",
        format!("the store holds {found:?} as {what}"),
    )
}

/// Reads a name or id that the store wrote.
pub(super) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| corrupt(what, text))
}
