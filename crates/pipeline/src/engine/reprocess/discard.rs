//! Closes open refusals without landing them: the records are discarded on purpose.
//!
//! Each becomes an event `discarded`, in one commit that names the author. Nothing is rewritten: the rows of the quarantine
//! stay as evidence, and the records' bytes stay in the raw zone. Holds the lease that keeps two replays apart, so a record
//! is either replayed or discarded.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::{Error, Ident, Result, Timestamp};
use forebay_store::LeaseRequest;
use tokio::runtime::Handle;

use super::replay;
use crate::engine::RunContext;
use crate::engine::commit::{CommitNote, CommitUnit, commit};
use crate::engine::refusals::{close_events, open_events};
use crate::engine::split::lease;
use crate::quarantine::{self, Event, EventKind};

/// Selects open refusals of a pipeline: those that meet every given condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscardFilter {
    /// Any of these ids; all when there are none.
    pub ids: BTreeSet<String>,
    pub code: Option<String>,
    /// Name of the payload: a file or a URL.
    pub payload: Option<String>,
    /// Refused before this time.
    pub before: Option<Timestamp>,
}

impl DiscardFilter {
    fn matches(&self, event: &Event) -> bool {
        let payload = event.payload.as_ref().map(|payload| &payload.name);
        (self.ids.is_empty() || self.ids.contains(&event.id))
            && self
                .code
                .as_ref()
                .is_none_or(|code| event.rejected.code == *code)
            && self
                .payload
                .as_ref()
                .is_none_or(|name| payload == Some(name))
            && self.before.is_none_or(|before| event.at < before)
    }
}

/// The records that are or would be discarded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscardPlan {
    /// Number of records by error code.
    pub records: BTreeMap<String, u64>,
    /// Requested ids that are not open.
    pub unknown: Vec<String>,
}

impl DiscardPlan {
    fn new(filter: &DiscardFilter, events: &[Event]) -> Self {
        let mut plan = Self::default();
        for event in events {
            let code = event.rejected.code.clone();
            *plan.records.entry(code).or_default() += 1;
        }
        let found: BTreeSet<&String> = events.iter().map(|event| &event.id).collect();
        let asked = filter.ids.iter();
        plan.unknown = asked.filter(|id| !found.contains(id)).cloned().collect();
        plan
    }

    pub fn total(&self) -> u64 {
        self.records.values().sum()
    }
}

/// The refusals that [`discard`] would close.
pub async fn plan_discard(
    pipeline: &Ident,
    filter: &DiscardFilter,
    context: &RunContext,
) -> Result<DiscardPlan> {
    let events = open_events(&context.lake, &context.branch, pipeline).await?;
    let events: Vec<Event> = events
        .into_iter()
        .filter(|event| filter.matches(event))
        .collect();
    Ok(DiscardPlan::new(filter, &events))
}

/// Closes the open refusals that `filter` selects.
///
/// # Errors
/// `Conflict` `leased` while a replay of the pipeline runs.
pub async fn discard(
    pipeline: &Ident,
    filter: &DiscardFilter,
    context: &RunContext,
) -> Result<DiscardPlan> {
    let request = LeaseRequest {
        branch: context.branch.clone(),
        pipeline: pipeline.clone(),
        split: replay::SPLIT.parse()?,
        owner: context.owner.clone(),
        duration: context.lease,
    };
    lease::held(&request, context, async |_| {
        let events = open_events(&context.lake, &context.branch, pipeline).await?;
        let events = events.into_iter().filter(|event| filter.matches(event));
        let events: Vec<Event> = events.collect();
        let plan = DiscardPlan::new(filter, &events);
        if !events.is_empty() {
            close(pipeline, events, &plan, context).await?;
        }
        Ok(plan)
    })
    .await
}

async fn close(
    pipeline: &Ident,
    events: Vec<Event>,
    plan: &DiscardPlan,
    context: &RunContext,
) -> Result<()> {
    let closed = close_events(events, EventKind::Discarded, context.clock.now());
    let rows = quarantine::to_batch(&closed)?;
    let table = quarantine::table(pipeline)?;
    let mut unit = CommitUnit::new(context, pipeline, &Handle::current());
    let writing = tokio::task::spawn_blocking(move || {
        unit.add(&table, &rows)?;
        unit.seal()
    });
    let sealed = writing.await.map_err(|error| {
        Error::bug("discard_panicked", "writing the events panicked").with_source(error)
    })??;
    let codes: Vec<String> = plan
        .records
        .iter()
        .map(|(code, records)| format!("{records} {code}"))
        .collect();
    let note = CommitNote {
        message: format!(
            "{pipeline}: discarded from quarantine: {}",
            codes.join(", ")
        ),
        ..CommitNote::default()
    };
    commit(context, sealed, note).await.map(drop)
}
