//! Why an operation ended without an answer, and values that nobody can have written.

use forebay_core::Error;

use crate::database::explain;

pub(crate) enum Stop {
    /// The store refuses the operation: only this one is undone.
    Refused(Error),
    /// The database failed: the whole SQL transaction is aborted, and its connection closed.
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

/// A value in the store that only a damaged or foreign writer can have left there.
pub(super) fn corrupt(what: &str, found: &str) -> Error {
    Error::bug(
        "store_corrupt",
        format!("the store has {found:?} as {what}"),
    )
}

/// Reads a name or id that the store wrote.
pub(super) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| corrupt(what, text))
}
