//! DataFusion's errors as Forebay's: the kind decides the reaction, the message has the place in the statement.
//!
//! Nothing here logs, and nothing here knows which tables exist beyond the names it is handed.

mod causes;
mod locate;
mod memory;
mod names;
mod phrases;
mod wording;

use std::error::Error as StdError;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;
use forebay_core::{Error, ErrorKind};
use forebay_objects::{GONE, explain_objects, explain_text};
use tokio::task::JoinError;

use causes::{below, innermost, noted_place};
pub(crate) use locate::locate;
use locate::{Place, end_of, locate_any, locate_only, locate_value, quoted, split_place};
pub(crate) use names::nearest;
use names::{bad_schema, unknown_table};

/// Code of the error of a cancelled statement.
pub const QUERY_CANCELLED: &str = "query_cancelled";

pub(crate) fn cancelled() -> Error {
    Error::unavailable(QUERY_CANCELLED, "query cancelled")
}

/// The phase of an error: a value that fails while a constant is folded is the statement's fault, not the data's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Plan,
    Run,
}

/// Turns an error of the engine into one for people. `tables` are the names that a wrong table name is compared with.
pub(crate) fn explain(
    error: &DataFusionError,
    phase: Phase,
    sql: &str,
    tables: &[String],
) -> Error {
    let error = explain_engine(error, phase, sql, tables);
    let names = crate::as_of::folded_names(sql);
    match names.is_empty() {
        true => error,
        false => error.map_texts(|text| crate::as_of::unfold(text, &names)),
    }
}

fn explain_engine(error: &DataFusionError, phase: Phase, sql: &str, tables: &[String]) -> Error {
    if let Some(own) = below::<Error>(error) {
        return copy(own);
    }
    if let Some(error) = below::<JoinError>(error) {
        return task_failed(error);
    }
    if let Some(error) = below::<object_store::Error>(error) {
        return storage_error(error);
    }
    if let Some(error) = below::<std::io::Error>(error).filter(|error| cannot_write(error)) {
        return spill_failed(error);
    }
    let place = noted_place(error);
    let root = innermost(error).unwrap_or(error);
    match root {
        DataFusionError::SQL(error, _) => syntax(error, sql),
        // A function that finds an invalid argument only at run time.
        DataFusionError::Plan(message) if matches!(phase, Phase::Run) => {
            value_error(message, phase, sql)
        }
        DataFusionError::External(inner) if is_bad_pattern(inner.as_ref()) => {
            value_error(&one_line(&inner.to_string()), phase, sql)
        }
        DataFusionError::SchemaError(error, _) => bad_schema(error, place, sql),
        DataFusionError::Plan(message) | DataFusionError::Configuration(message) => {
            bad_plan(message, place, sql, tables)
        }
        DataFusionError::NotImplemented(message) => unsupported(message, place),
        DataFusionError::ResourcesExhausted(message) => memory::exhausted(message),
        // A join that has nowhere to spill to.
        DataFusionError::Execution(message) if memory::is_out_of_memory(message) => {
            memory::exhausted(message)
        }
        DataFusionError::Execution(message) => value_error(message, phase, sql),
        // Functions return it for invalid arguments.
        DataFusionError::Internal(message) if matches!(phase, Phase::Run) => {
            value_error(message, phase, sql)
        }
        DataFusionError::Internal(message) => engine_fault(message),
        wrapper => wrapped(wrapper, phase, sql),
    }
}

/// An error that the engine has only wrapped: that of a file, or of a computation.
fn wrapped(error: &DataFusionError, phase: Phase, sql: &str) -> Error {
    if is_of_file(error) {
        return read_failed(&error.to_string());
    }
    match innermost(error) {
        Some(inner) => arrow_error(inner, phase, sql),
        None => {
            let reason = wording::plain(first_line(&error.to_string()));
            Error::unavailable("query_failed", format!("the query failed: {reason}"))
        }
    }
}

/// Whether a file could not be read, or has invalid content.
fn is_of_file(error: &DataFusionError) -> bool {
    below::<ParquetError>(error).is_some()
        || below::<std::io::Error>(error).is_some()
        || matches!(error, DataFusionError::ObjectStore(_))
}

/// A file of the query that could not be read.
fn storage_error(error: &object_store::Error) -> Error {
    let explained = explain_objects("read a file of the query", error);
    match explained.kind() {
        ErrorKind::NotFound if explained.hint().is_none() => explained.with_hint(GONE),
        _ => explained,
    }
}

/// Queries write only spill files.
fn cannot_write(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem
    )
}

fn spill_failed(error: &std::io::Error) -> Error {
    Error::unavailable(
        "spill_failed",
        format!("the query outgrew its memory and failed to spill to disk: {error}"),
    )
    .with_hint("free disk space in the workspace's folder `spill`, or raise `memory` in `[sql]` of forebay.toml")
}

/// The engine's reader of Parquet makes text of the errors of the store.
fn read_failed(text: &str) -> Error {
    explain_text("read a file of the query", text).unwrap_or_else(|| {
        // What the libraries put before an error that they have only wrapped.
        let reason = first_line(text).replace("External error: ", "");
        let message = format!("failed to read a file of the query: {reason}");
        Error::unavailable("read_failed", message)
    })
}

/// Errors cannot be cloned; the engine may share one, so its text is copied.
fn copy(error: &Error) -> Error {
    let mut message = error.message().to_owned();
    if let Some(cause) = std::error::Error::source(error) {
        message = format!("{message}: {cause}");
    }
    let copied = Error::new(error.kind(), error.code(), message);
    let copied = error.context().fold(copied, |copied, (key, value)| {
        copied.with_context(key, value)
    });
    match error.hint() {
        Some(hint) => copied.with_hint(hint),
        None => copied,
    }
}

/// Carries one of our errors through the engine.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn bad_sql(message: impl std::fmt::Display, place: Option<Place>) -> Error {
    match place {
        Some((line, column)) => Error::config("bad_sql", format!("{line}:{column}: {message}")),
        None => Error::config("bad_sql", message.to_string()),
    }
}

fn syntax(error: &ParserError, sql: &str) -> Error {
    match error {
        ParserError::RecursionLimitExceeded => {
            Error::config("sql_too_deep", "the statement is nested too deeply")
                .with_hint("flatten parentheses and subqueries, or use WITH")
        }
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
            let (message, place) = split_place(message);
            let place = place.unwrap_or_else(|| end_of(sql));
            if message.to_ascii_lowercase().ends_with("found: exclude") {
                let (line, column) = place;
                let message =
                    format!("{line}:{column}: EXCLUDE of a window frame is not supported");
                return Error::unsupported("sql_unsupported", message)
                    .with_hint("take the value of the row itself away: sum(x) OVER (…) - x");
            }
            let message = wording::syntax(message);
            bad_sql(format!("syntax error: {message}"), Some(place))
        }
    }
}

fn bad_plan(message: &str, place: Option<Place>, sql: &str, tables: &[String]) -> Error {
    if let Some(name) = message
        .strip_prefix("table '")
        .and_then(|rest| rest.split_once("' not found"))
        .map(|(name, _)| name)
    {
        return unknown_table(name, place, sql, tables);
    }
    let place = place.or_else(|| quoted(message).and_then(|name| locate(sql, name)));
    let place = place.or_else(|| called(message).and_then(|name| locate(sql, name)));
    let mut lines = message.lines();
    let first = lines.next().unwrap_or(message);
    let place = place.or_else(|| wording::operator(first).and_then(|of| locate_only(sql, of)));
    let place = place.or_else(|| wording::clause(first).and_then(|of| locate_any(sql, of)));
    let error = bad_sql(wording::plain(first), place);
    match lines.find(|line| line.starts_with("Did you mean")) {
        Some(hint) => error.with_hint(hint.replace("Did", "did")),
        None => match wording::hint(first) {
            Some(hint) => error.with_hint(hint),
            None => error,
        },
    }
}

/// Errors: `Unsupported`, without the engine's own notation.
fn unsupported(message: &str, place: Option<Place>) -> Error {
    match message.strip_prefix("Physical plan does not support logical expression ") {
        Some(expr) if expr.starts_with("GroupingSet") => return sets_outside_groups(),
        Some(expr) if expr.starts_with("AggregateFunction") => return nested_aggregate(),
        Some(expr) if expr.starts_with("WindowFunction") => return nested_window(),
        Some(_) => return subquery_unsupported(),
        None => {}
    }
    let plain = wording::plain(first_line(message));
    let at = place.map_or_else(String::new, |(line, column)| format!("{line}:{column}: "));
    let error = Error::unsupported("sql_unsupported", format!("{at}not supported: {plain}"));
    match wording::hint(message) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn sets_outside_groups() -> Error {
    let message = "ROLLUP, CUBE and GROUPING SETS are elements of GROUP BY";
    Error::config("bad_sql", message).with_hint("write GROUP BY ROLLUP (a, b)")
}

fn nested_aggregate() -> Error {
    let message = "an aggregate within another, or outside of SELECT, HAVING and ORDER BY";
    Error::config("bad_sql", message).with_hint("compute the inner one in a subquery")
}

fn nested_window() -> Error {
    let message = "a window function outside of SELECT, QUALIFY and ORDER BY";
    Error::config("bad_sql", message).with_hint("compute it in a subquery, or write QUALIFY")
}

/// A subquery that could not be made a join.
pub(crate) fn subquery_unsupported() -> Error {
    let message = "not supported: a subquery that refers to the row outside in this form";
    Error::unsupported("sql_unsupported", message).with_hint(
        "refer to the row outside in conditions of its WHERE only, with = where it has GROUP BY, without UNION or LIMIT around them, and not from the ON of an outer join; or write a join. A list is unnested in the SELECT list: SELECT id, unnest(tags) AS tag",
    )
}

/// The function that a message begins with.
fn called(message: &str) -> Option<&str> {
    let (name, _) = message.split_once('(')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_name.then_some(name)
}

/// Whether a pattern is an invalid regular expression, or one that would grow too large.
fn is_bad_pattern(error: &(dyn StdError + 'static)) -> bool {
    let text = error.to_string();
    text.contains("regex parse error") || text.contains("regex exceeds size limit")
}

/// The first line of an error joined with its last line, which has the cause.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    match lines.as_slice() {
        [first, .., last] => format!("{first} {last}"),
        _ => text.to_owned(),
    }
}

fn value_error(message: &str, phase: Phase, sql: &str) -> Error {
    let hint = wording::hint(first_line(message));
    let message = &wording::plain(first_line(message));
    let error = match phase {
        Phase::Plan => bad_sql(message, locate_value(sql, message)),
        Phase::Run => Error::data(
            "sql_value",
            format!("a value makes the statement fail: {message}"),
        ),
    };
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn arrow_error(error: &ArrowError, phase: Phase, sql: &str) -> Error {
    match error {
        ArrowError::DivideByZero => match phase {
            Phase::Plan => bad_sql("division by zero", locate_only(sql, "/")),
            Phase::Run => Error::data(
                "divide_by_zero",
                "a value makes the statement fail: division by zero",
            )
            .with_hint("write `a / nullif(b, 0)` to get null instead"),
        },
        ArrowError::ArithmeticOverflow(message) => match phase {
            Phase::Plan => bad_sql(message, None),
            Phase::Run => Error::data(
                "overflow",
                format!(
                    "a value makes the statement fail: {}",
                    wording::plain(first_line(message))
                ),
            )
            .with_hint(wider_type(message)),
        },
        ArrowError::CastError(message) => match phase {
            Phase::Plan => bad_sql(
                wording::plain(first_line(message)),
                locate_value(sql, message),
            ),
            Phase::Run => Error::data(
                "bad_cast",
                format!(
                    "a value makes the statement fail: {}",
                    wording::plain(first_line(message))
                ),
            )
            .with_hint("write `try_cast(x AS type)` to get null instead"),
        },
        ArrowError::IoError(..) | ArrowError::ParquetError(_) => read_failed(&error.to_string()),
        ArrowError::MemoryError(message) => Error::unavailable(
            "query_memory",
            format!("the query ran out of memory: {message}"),
        ),
        ArrowError::NotYetImplemented(message) => unsupported(message, None),
        ArrowError::SchemaError(message) => engine_fault(message),
        other => value_error(&other.to_string(), phase, sql),
    }
}

/// What to do about a fault of the engine.
const FAULT_HINT: &str = "this is a bug: write the statement in another form, for example in steps with WITH, and report it with the statement";

/// A state of the engine that it takes for impossible.
fn engine_fault(message: &str) -> Error {
    let message = format!("internal SQL engine error: {}", first_line(message));
    Error::bug("sql_engine", message).with_hint(FAULT_HINT)
}

/// The engine panics on some statements and values; that ends the statement, not the process. The text of the panic is none for
/// people, and may have values: it is not repeated.
pub(crate) fn panicked() -> Error {
    let message = "the SQL engine failed on this statement, or on a value that it read";
    Error::bug("sql_engine", message).with_hint(FAULT_HINT)
}

/// A task of the engine that has panicked, or was stopped with the process.
fn task_failed(error: &JoinError) -> Error {
    match error.is_panic() {
        true => panicked(),
        false => cancelled(),
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or(message)
}

/// The type that holds more than the one that has overflowed: whole numbers have at most 20 digits, decimals 38.
fn wider_type(message: &str) -> &'static str {
    let mut numbers = message.split(|c: char| !c.is_ascii_digit());
    let is_decimal = message.contains("38 digits") || numbers.any(|digits| digits.len() > 20);
    match is_decimal {
        true => "a decimal has at most 38 digits; compute with doubles: `a::double + b`",
        false => "cast to a wider type first: `a::decimal(38,0) + b`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_is_a_bug_however_it_is_wrapped() {
        use datafusion::parquet::errors::ParquetError;
        use std::sync::Arc;
        let panicking = tokio::spawn(async { panic!("index out of bounds: secret") });
        let join = Arc::new(panicking.await.unwrap_err());
        let external = |join| DataFusionError::External(Box::new(Arc::clone(join)));
        let mut deep = external(&join);
        for _ in 0..40 {
            let arrow = ArrowError::ExternalError(Box::new(deep));
            deep = DataFusionError::Shared(Arc::new(DataFusionError::ArrowError(
                Box::new(arrow),
                None,
            )));
        }
        let io = std::io::Error::other(external(&join));
        for error in [
            DataFusionError::Context("Join Error".to_owned(), Box::new(external(&join))),
            DataFusionError::ParquetError(Box::new(ParquetError::External(Box::new(external(
                &join,
            ))))),
            DataFusionError::IoError(io),
            DataFusionError::Collection(vec![external(&join)]),
            DataFusionError::External(Box::new(Arc::new(external(&join)))),
            deep,
        ] {
            for phase in [Phase::Plan, Phase::Run] {
                let explained = explain(&error, phase, "select 1", &[]);
                let found = (explained.kind(), explained.code());
                assert_eq!(found, (ErrorKind::Bug, "sql_engine"), "{error}");
                assert!(!explained.to_string().contains("secret"), "{explained}");
                assert!(explained.hint().is_some_and(|hint| hint.contains("report")));
            }
        }
    }

    #[tokio::test]
    async fn a_task_that_was_stopped_is_no_bug() {
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        let join = task.await.unwrap_err();
        let error = DataFusionError::ExecutionJoin(Box::new(join));
        let explained = explain(&error, Phase::Run, "", &[]);
        assert_eq!(explained.kind(), ErrorKind::Unavailable);
        assert_eq!(explained.code(), "query_cancelled");
    }

    #[test]
    fn an_error_below_others_is_explained_as_if_it_were_alone() {
        use datafusion::parquet::errors::ParquetError;
        let explained = |error: DataFusionError| {
            let explained = explain(&error, Phase::Run, "", &[]);
            assert!(
                !explained.message().contains("External error"),
                "{explained}"
            );
            (explained.kind(), explained.code())
        };
        let external = |error: Box<dyn StdError + Send + Sync>| DataFusionError::External(error);
        let division = || ArrowError::ExternalError(Box::new(ArrowError::DivideByZero));
        for error in [
            external(Box::new(division())),
            DataFusionError::ArrowError(Box::new(division()), None),
        ] {
            assert_eq!(explained(error), (ErrorKind::Data, "divide_by_zero"));
        }
        let torn = || Box::new(ParquetError::EOF("torn".to_owned()));
        for error in [
            external(torn()),
            DataFusionError::ArrowError(Box::new(ArrowError::ExternalError(torn())), None),
        ] {
            assert_eq!(explained(error), (ErrorKind::Unavailable, "read_failed"));
        }
        let own = Error::data("own", "the value is too long");
        let own = ParquetError::External(Box::new(external(Box::new(own))));
        let own = DataFusionError::ParquetError(Box::new(own));
        assert_eq!(explained(own), (ErrorKind::Data, "own"));
        let strange = external("something else".into());
        assert_eq!(explained(strange), (ErrorKind::Unavailable, "query_failed"));
    }

    #[test]
    fn an_error_of_the_object_store_keeps_its_kind_however_it_is_wrapped() {
        use datafusion::parquet::errors::ParquetError;
        use object_store::Error as Store;
        let denied = || Store::PermissionDenied {
            path: "tables/x.parquet".to_owned(),
            source: "status code: 403".into(),
        };
        let outage = || Store::Generic {
            store: "S3",
            source: "connection reset".into(),
        };
        let parquet = |error: Store| {
            DataFusionError::ParquetError(Box::new(ParquetError::External(Box::new(error))))
        };
        let arrow = |error: Store| {
            let inner = ArrowError::ExternalError(Box::new(parquet(error)));
            DataFusionError::ArrowError(Box::new(inner), None)
        };
        let direct = |error: Store| DataFusionError::ObjectStore(Box::new(error));
        let shared = |error: Store| DataFusionError::Shared(std::sync::Arc::new(direct(error)));
        let explained = |error: &DataFusionError| {
            let error = explain(error, Phase::Run, "", &[]);
            (error.kind(), error.code())
        };
        for wrap in [
            &parquet as &dyn Fn(Store) -> DataFusionError,
            &arrow,
            &direct,
            &shared,
        ] {
            assert_eq!(
                explained(&wrap(denied())),
                (ErrorKind::Denied, "object_denied")
            );
            assert_eq!(
                explained(&wrap(outage())),
                (ErrorKind::Unavailable, "object_store")
            );
        }
        let wrapped =
            ParquetError::General(format!("Failed to fetch metadata for file x: {}", denied()));
        let wrapped = DataFusionError::ParquetError(Box::new(wrapped));
        assert_eq!(explained(&wrapped), (ErrorKind::Denied, "object_denied"));
        let torn = DataFusionError::ParquetError(Box::new(ParquetError::General("torn".into())));
        assert_eq!(explained(&torn), (ErrorKind::Unavailable, "read_failed"));
    }
}
