//! Classifies the server's errors by SQLSTATE, for the caller's reaction.

use forebay_core::{Error, ErrorKind};
use tokio_postgres::error::{DbError, SqlState};

use crate::sink::TARGET_GONE;

/// The failed operation, in words that finish "failed to …"; the kind decides the reaction: `Data` reject the row,
/// `Unavailable` retry later, `Denied` grant a privilege, `Config` fix the statement.
pub(super) fn failed(what: &str, error: tokio_postgres::Error) -> Error {
    let Some(answer) = error.as_db_error() else {
        return gone(what).with_source(text(&error));
    };
    let message = format!("failed to {what}: {}", shown(answer));
    match kind(answer.code()) {
        ErrorKind::Unavailable => Error::unavailable(TARGET_GONE, message),
        ErrorKind::Data => Error::data("refused_by_postgres", message),
        ErrorKind::Denied => Error::denied("denied_by_postgres", message)
            .with_hint("grant the missing privilege to that user"),
        kind => Error::new(kind, "postgres_statement", message),
    }
}

/// The connection is lost; the last statement may have been executed or not.
pub(super) fn gone(what: &str) -> Error {
    Error::unavailable(
        TARGET_GONE,
        format!("failed to {what}: the connection was lost"),
    )
}

fn text(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Message and SQLSTATE. The detail may contain values of the row, which must not appear in errors.
fn shown(answer: &DbError) -> String {
    format!("{} (SQLSTATE {})", answer.message(), answer.code().code())
}

fn kind(state: &SqlState) -> ErrorKind {
    let code = state.code();
    match (&code[..2], code) {
        (_, "25006" | "55P03" | "55006") => ErrorKind::Unavailable,
        (_, "42501") | ("28", _) => ErrorKind::Denied,
        // Duplicate keys, values that do not fit, break a rule of the table or are too large for a page or an index, and
        // errors raised by functions of triggers, checks and generated columns.
        ("09" | "21" | "22" | "23" | "27" | "2F" | "38" | "39" | "44" | "54" | "P0", _) => {
            ErrorKind::Data
        }
        ("08" | "40" | "53" | "57" | "58" | "XX", _) => ErrorKind::Unavailable,
        _ => ErrorKind::Config,
    }
}

/// Whether another try of the same statement may find the lock free.
pub(super) fn is_locked(error: &tokio_postgres::Error) -> bool {
    matches!(state(error).as_deref(), Some("55P03" | "40P01" | "40001"))
}

/// Whether the cached table is outdated: a column or the table itself no longer exists.
pub(super) fn is_outdated(error: &tokio_postgres::Error) -> bool {
    matches!(
        state(error).as_deref(),
        Some("42703" | "42P01" | "0A000" | "42804")
    )
}

/// Whether two rows of one statement had one key.
pub(super) fn is_double(error: &tokio_postgres::Error) -> bool {
    state(error).as_deref() == Some("21000")
}

/// Whether a row is rejected for its values. Only called for statements that send rows, while nobody can change the table:
/// errors of the statement itself have been found before.
pub(super) fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|answer| {
        kind(answer.code()) == ErrorKind::Data
            || is_value_error(answer.code())
            || is_custom(answer.code())
            || is_row_security(answer)
    })
}

/// Errors of other classes that a function raises for a value: a name too long, a type that does not match, and errors of
/// extensions (PostGIS for one) without a code of their own.
fn is_value_error(state: &SqlState) -> bool {
    matches!(state.code(), "42622" | "42804" | "42846" | "XX000")
}

/// Whether the code is in none of the server's classes: a trigger has raised it with `USING ERRCODE`.
fn is_custom(state: &SqlState) -> bool {
    const CLASSES: &[&str] = &[
        "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21",
        "22", "23", "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D",
        "3F", "40", "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
    ];
    !CLASSES.contains(&&state.code()[..2])
}

/// A policy of row-level security rejects the row, under the code of a missing privilege.
fn is_row_security(answer: &DbError) -> bool {
    answer.code().code() == "42501" && answer.routine() == Some("ExecWithCheckOptions")
}

pub(super) fn state(error: &tokio_postgres::Error) -> Option<String> {
    Some(error.code()?.code().to_owned())
}

/// Why a row is rejected, for display: message, constraint and column, never a value of the row.
pub(super) fn reason(answer: &DbError) -> String {
    let mut reason = shown(answer);
    if let Some(name) = answer.constraint() {
        reason = format!("{reason}, constraint {name}");
    }
    match answer.column() {
        Some(name) => format!("{reason}, column {name}"),
        None => reason,
    }
}

/// A stable code for rejects of the server.
pub(super) fn code(answer: &DbError) -> &'static str {
    match answer.code().code() {
        "23505" => "unique_violation",
        "23502" => "null_not_allowed",
        "23503" => "foreign_key_violation",
        "23514" | "44000" => "check_violation",
        "23P01" => "exclusion_violation",
        "22003" => "number_out_of_range",
        "22001" => "text_too_long",
        "22021" | "22P05" => "bad_text",
        "22P02" | "22P03" => "bad_value",
        "22007" | "22008" => "bad_time",
        "42501" => "row_security_violation",
        "42622" => "text_too_long",
        state if state.starts_with("54") => "row_too_large",
        state if state.starts_with("23") => "constraint_violation",
        _ => "refused_by_postgres",
    }
}

/// The row of a COPY that the server stopped at, counted from 0.
pub(super) fn line(answer: &DbError) -> Option<usize> {
    let place = answer.where_()?;
    let (_, rest) = place.split_once(", line ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<usize>().ok()?.checked_sub(1)
}
