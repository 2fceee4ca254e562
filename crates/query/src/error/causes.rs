//! What is below an error: the engine and its readers wrap errors in their own, to any depth, and share some of them.

use std::error::Error as StdError;
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use tokio::task::JoinError;

use super::locate::Place;

/// Causes that are inspected below an error: each exchange of rows between threads wraps it once more.
const CAUSES_MAX: usize = 256;

/// An error and its causes, from the outermost one.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| next(*error)).take(CAUSES_MAX)
}

/// The next cause. `source` of an error that is shared, or is one of IO, is that of the error inside.
fn next<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return io.get_ref().map(|inner| inner as _);
    }
    if let Some(shared) = error.downcast_ref::<Arc<DataFusionError>>() {
        return Some(shared.as_ref());
    }
    if let Some(shared) = error.downcast_ref::<Arc<JoinError>>() {
        return Some(shared.as_ref());
    }
    if let Some(shared) = error.downcast_ref::<Arc<ArrowError>>() {
        return Some(shared.as_ref());
    }
    error.source()
}

/// The first error of this type in another.
pub(super) fn below<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The innermost error of this type in another.
pub(super) fn innermost<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    causes(error)
        .filter_map(|cause| cause.downcast_ref())
        .last()
}

/// The innermost place that the engine has noted.
pub(super) fn noted_place(error: &(dyn StdError + 'static)) -> Option<Place> {
    let noted = causes(error).filter_map(|cause| match cause.downcast_ref()? {
        DataFusionError::Diagnostic(diagnostic, _) => diagnostic.span,
        _ => None,
    });
    let span = noted.last()?;
    Some((span.start.line, span.start.column))
}
