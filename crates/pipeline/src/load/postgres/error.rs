//! What an error of the server asks of the caller, by its SQLSTATE.

use forebay_core::{Error, ErrorKind};
use tokio_postgres::error::{DbError, SqlState};

use crate::load::TARGET_GONE;

/// What failed, in words that finish "failed to …", with what to do by kind:
/// `Data` a row is refused, `Unavailable` later, `Denied` a privilege is missing, `Config` the statement does not fit.
pub(super) fn failed(what: &str, error: tokio_postgres::Error) -> Error {
    let Some(answer) = error.as_db_error() else {
        return gone(what).with_source(text(&error));
    };
    let message = format!("failed to {what}: {}", shown(answer));
    match kind(answer.code()) {
        ErrorKind::Unavailable => Error::unavailable(TARGET_GONE, message),
        ErrorKind::Data => Error::data("refused_by_postgres", message),
        ErrorKind::Denied => Error::denied("denied_by_postgres", message)
            .with_hint("grant the user of the URL what is missing"),
        kind => Error::new(kind, "postgres_statement", message),
    }
}

/// The connection is lost; what was sent last may have been done or not.
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

/// Message and SQLSTATE. The detail may repeat values of the row, which errors do not do.
fn shown(answer: &DbError) -> String {
    format!("{} (SQLSTATE {})", answer.message(), answer.code().code())
}

fn kind(state: &SqlState) -> ErrorKind {
    let code = state.code();
    match (&code[..2], code) {
        (_, "25006" | "55P03" | "55006") => ErrorKind::Unavailable,
        (_, "42501") | ("28", _) => ErrorKind::Denied,
        // Two rows with one key, values that do not fit, break a rule of the table or are too large for an index.
        ("21" | "22" | "23" | "44" | "54", _) => ErrorKind::Data,
        ("08" | "40" | "53" | "57" | "58" | "XX", _) => ErrorKind::Unavailable,
        _ => ErrorKind::Config,
    }
}

/// Whether another try of the same statement may find the lock free.
pub(super) fn is_locked(error: &tokio_postgres::Error) -> bool {
    matches!(state(error).as_deref(), Some("55P03" | "40P01" | "40001"))
}

/// Whether what is known of the table is out of date: a column or the table itself is not there any more.
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

/// Whether a row is refused for what is in it.
pub(super) fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|answer| kind(answer.code()) == ErrorKind::Data)
}

pub(super) fn state(error: &tokio_postgres::Error) -> Option<String> {
    Some(error.code()?.code().to_owned())
}

/// Why a row is refused, for people: message, constraint and column, never a value of the row.
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

/// A stable code for what the server refuses.
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
