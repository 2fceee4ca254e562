//! Maps database errors to errors for the caller. Never decides whether to retry: that is up to the writer.

use std::path::Path;

use forebay_core::Error;

enum Trouble {
    /// Another process holds the lock, or Postgres chose us to end a deadlock: nothing is done, and trying again helps.
    Busy,
    Full,
    /// The file, or the connection to the server.
    Io,
    Cut,
    Denied,
    /// A standby.
    ReadOnly,
    /// A disk or a folder that is not writable.
    ReadOnlyFile,
    NotAStore,
    Damaged,
    Statement,
}

fn trouble(error: &sqlx::Error) -> Trouble {
    // Of a row that the store wrote: a value of another type, or no text at all.
    if matches!(
        error,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)
    ) {
        return Trouble::Damaged;
    }
    if let Some(code) = sqlstate(error) {
        return of_postgres(&code);
    }
    match result_code(error) {
        Some(5 | 6) => Trouble::Busy,
        Some(13) => Trouble::Full,
        Some(8) => Trouble::ReadOnlyFile,
        Some(IOERR | 14) => Trouble::Io,
        Some(26) => Trouble::NotAStore,
        Some(11) => Trouble::Damaged,
        Some(_) => Trouble::Statement,
        None => Trouble::Cut,
    }
}

/// SQLite's primary result code.
fn result_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// The five letters of Postgres.
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    error.code().map(|code| code.into_owned())
}

fn of_postgres(code: &str) -> Trouble {
    match code {
        // serialization_failure, deadlock_detected, lock_not_available
        "40001" | "40P01" | "55P03" => Trouble::Busy,
        "53100" => Trouble::Full,
        // Our transaction was idle for too long; a standby; no such database, no right to it.
        "25P03" => Trouble::Cut,
        "25006" => Trouble::ReadOnly,
        "3D000" | "42501" => Trouble::Denied,
        "58030" => Trouble::Io,
        "XX001" | "XX002" => Trouble::Damaged,
        _ => match &code[..2] {
            "28" => Trouble::Denied,
            // Connection, insufficient resources, operator intervention (shut down, starting up).
            "08" | "53" | "57" => Trouble::Cut,
            _ => Trouble::Statement,
        },
    }
}

/// Another process holds the lock; nothing was done.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(trouble(error), Trouble::Busy)
}

/// The connection is lost; a new one may work.
pub(crate) fn is_cut(error: &sqlx::Error) -> bool {
    matches!(trouble(error), Trouble::Cut)
}

pub(crate) fn explain(error: sqlx::Error) -> Error {
    let explained = match trouble(&error) {
        Trouble::Busy => Error::unavailable("store_busy", "the store is locked by another process")
            .with_hint("find the process that holds the store open in a transaction"),
        Trouble::Full => Error::unavailable("store_full", "the disk of the store is full")
            .with_hint("free space on it: work then continues automatically"),
        Trouble::Io => Error::unavailable("store_io", "the store file cannot be read or written")
            .with_hint(CHECK_DISK),
        Trouble::Cut => Error::unavailable("store_unreachable", "the store does not answer"),
        Trouble::Denied => Error::config("store_denied", "the store's database refused the credentials")
            .with_hint("check user, password, database and rights: `CREATE` on the database, or on a schema made for us"),
        Trouble::ReadOnly => {
            Error::unavailable("store_read_only", "the store's server is read-only")
                .with_hint("name the primary server, not a standby, in the URL of the store")
        }
        Trouble::ReadOnlyFile => read_only("the store cannot be written: its disk is read-only, or this user may not write there"),
        Trouble::NotAStore => {
            Error::config("not_a_store", "the store file is not a SQLite database")
        }
        Trouble::Damaged => Error::bug("store_corrupt", "the store is damaged")
            .with_hint(RESTORE),
        Trouble::Statement => Error::bug("store_sql", "the store refused a statement"),
    };
    explained.with_source(error)
}

/// The file, or its folder, is not writable for this process. A log that cannot be recovered is `SQLITE_PROTOCOL` (15) as well, by
/// how its lock was met.
pub(crate) fn is_read_only(error: &sqlx::Error) -> bool {
    matches!(result_code(error), Some(8 | 14 | 15))
}

pub(super) fn read_only(what: &str) -> Error {
    Error::unavailable("store_read_only", what).with_hint(
        "work as a user who may write to the folder of the store, or with a copy of the workspace (`--workspace DIR`) on a writable disk",
    )
}

/// SQLite has found damage in a file, or could not read it.
pub(super) fn damaged(what: &str) -> Error {
    let what = what.replace('\n', "; ");
    if is_unreadable(&what) {
        let what = format!("the store file cannot be read: {what}");
        return Error::unavailable("store_io", what).with_hint(CHECK_DISK);
    }
    Error::bug("store_corrupt", format!("the store is damaged: {what}")).with_hint(RESTORE)
}

/// SQLite's checks name the result code of a page that the system did not give them.
fn is_unreadable(what: &str) -> bool {
    let code = what.split_once("error code=");
    let digits = code.map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit));
    let code: Option<i32> = digits.and_then(|digits| digits.collect::<String>().parse().ok());
    code.is_some_and(|code| code & 0xff == IOERR)
}

/// The system does not give us the mark, or does not take it.
pub(super) fn mark_unreadable(error: std::io::Error, mark: &Path) -> Error {
    let what = format!("failed to open catalog mark {}", mark.display());
    Error::unavailable("store_io", what)
        .with_hint(CHECK_DISK)
        .with_source(error)
}

const IOERR: i32 = 10;
const CHECK_DISK: &str = "check that its folder exists, its permissions and its disk";
// SQLite calls a page that the disk does not give damaged, too.
const RESTORE: &str = "check its disk for errors first (`dmesg`); if there are none, stop every process, keep a copy of the store and restore it from a backup";

pub(super) fn too_new(version: i64, known: usize) -> Error {
    Error::config(
        "store_too_new",
        format!("the store has schema {version}, this program knows up to {known}"),
    )
    .with_hint("run the newer Forebay that wrote it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_the_disk_does_not_give_is_not_called_damage() {
        let unreadable =
            "*** in database main ***\nTree 12 page 12: unable to get the page. error code=8458";
        assert_eq!(damaged(unreadable).code(), "store_io");
        let torn =
            "*** in database main ***\nTree 12 page 12: btreeInitPage() returns error code 11";
        assert_eq!(damaged(torn).code(), "store_corrupt");
    }
}
