//! Errors of the `iceberg` crate in Forebay's own words.
//!
//! An error that passed through `iceberg` keeps the kind it had below (`Unavailable` stays retryable).

use std::error::Error as StdError;

use forebay_core::{Error, ErrorKind};
use forebay_objects::explain_objects;
use parquet::errors::ParquetError;

/// `what` completes "failed to …".
pub(crate) fn from_iceberg(what: &str, error: iceberg::Error) -> Error {
    let message = format!("failed to {what}");
    let below = error
        .source()
        .and_then(|source| source.downcast_ref::<Error>());
    let (kind, code) = match below {
        Some(inner) => (inner.kind(), inner.code()),
        None => match error.kind() {
            iceberg::ErrorKind::FeatureUnsupported => {
                (ErrorKind::Unsupported, "iceberg_unsupported")
            }
            _ => (ErrorKind::Data, "iceberg_invalid"),
        },
    };
    let hint = below.and_then(Error::hint).map(str::to_owned);
    let wrapped = Error::new(kind, code, message).with_source(error);
    match hint {
        Some(hint) => wrapped.with_hint(hint),
        None => wrapped,
    }
}

/// Reads an Avro file. The crates below panic on some damaged headers, which is an error like any other.
pub(crate) fn read_avro<T>(parse: impl FnOnce() -> iceberg::Result<T>) -> iceberg::Result<T> {
    let parsed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(parse));
    parsed.unwrap_or_else(|_| {
        let message = "the Avro file is damaged: its reader panicked";
        let kind = iceberg::ErrorKind::DataInvalid;
        Err(iceberg::Error::new(kind, message))
    })
}

pub(crate) fn to_iceberg(error: Error) -> iceberg::Error {
    let retryable = error.kind().is_retryable();
    iceberg::Error::new(iceberg::ErrorKind::Unexpected, error.message().to_owned())
        .with_retryable(retryable)
        .with_source(error)
}

/// The storage's own errors come back through Parquet's.
pub(crate) fn unreadable(error: ParquetError) -> Error {
    let what = "read a data file of the table";
    match error {
        ParquetError::External(below) => match below.downcast::<object_store::Error>() {
            Ok(below) => explain_objects(what, &below),
            Err(below) => Error::data("unreadable_file", format!("failed to {what}"))
                .with_source(ParquetError::External(below)),
        },
        error => Error::data("unreadable_file", format!("failed to {what}")).with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_below_iceberg_stays_retryable() {
        let outage = Error::unavailable("object_store", "failed to write");
        let error = from_iceberg("write the manifest", to_iceberg(outage));
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Unavailable, "object_store")
        );
        let other = iceberg::Error::new(iceberg::ErrorKind::DataInvalid, "torn");
        assert_eq!(
            from_iceberg("read the manifest", other).kind(),
            ErrorKind::Data
        );
    }
}
