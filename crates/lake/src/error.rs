//! Errors of the `iceberg` crate in Forebay's own words.

use forebay_core::{Error, ErrorKind};
use forebay_objects::explain_objects;
use parquet::errors::ParquetError;

/// `what` completes "failed to …".
pub(crate) fn from_iceberg(what: &str, error: iceberg::Error) -> Error {
    let message = format!("failed to {what}");
    let (kind, code) = match error.kind() {
        iceberg::ErrorKind::FeatureUnsupported => (ErrorKind::Unsupported, "iceberg_unsupported"),
        _ => (ErrorKind::Data, "iceberg_invalid"),
    };
    Error::new(kind, code, message).with_source(error)
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
    fn a_feature_that_is_missing_is_no_damage() {
        let kind = |kind| {
            let below = iceberg::Error::new(kind, "torn");
            from_iceberg("read the manifest", below).kind()
        };
        assert_eq!(kind(iceberg::ErrorKind::DataInvalid), ErrorKind::Data);
        let missing = iceberg::ErrorKind::FeatureUnsupported;
        assert_eq!(kind(missing), ErrorKind::Unsupported);
    }
}
