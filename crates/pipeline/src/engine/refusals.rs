//! The refusals of a pipeline: which are open, and the events that close them.

use forebay_core::{Ident, RefName, Result, Timestamp};
use forebay_lake::Lake;
use futures::TryStreamExt;

use super::scan;
use crate::quarantine::{self, Event, EventKind, OpenEvents};

/// The open refusals of a pipeline, without the records' bytes.
pub(in crate::engine) async fn open_events(
    lake: &Lake,
    branch: &RefName,
    pipeline: &Ident,
) -> Result<Vec<Event>> {
    let table = quarantine::table(pipeline)?;
    let mut rows = scan::rows(lake, branch, &table).await?;
    let mut open = OpenEvents::default();
    while let Some(batch) = rows.try_next().await? {
        open.add(&batch)?;
    }
    Ok(open.finish())
}

/// The events that close others.
pub(in crate::engine) fn close_events(
    events: Vec<Event>,
    kind: EventKind,
    at: Timestamp,
) -> Vec<Event> {
    let closed = events.into_iter().map(|event| Event { kind, at, ..event });
    closed.collect()
}
