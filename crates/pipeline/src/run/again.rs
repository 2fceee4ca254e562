//! Extracting payloads of the raw zone again: what replay and rebuild have in common.
//!
//! A payload goes through the same decoder and extractor as when it came, with the same identity, so its records get
//! the same keys.

use std::sync::Arc;

use forebay_core::{Error, PayloadHead, Result};
use object_store::ObjectStore;
use tokio::runtime::Handle;

use super::pour::Pour;
use crate::extract::{Extracted, Extraction, ObjectInput};
use crate::file::PipelineSpec;
use crate::load::iceberg::IcebergTarget;
use crate::raw::{PART_ATTRIBUTE, RawEntry, RawReader};

/// The table that the pipeline loads.
///
/// Errors: `Unsupported` when it loads into something else.
pub(super) fn target(spec: &PipelineSpec) -> Result<IcebergTarget> {
    spec.load
        .lake()
        .cloned()
        .ok_or_else(|| not_in_the_lake(spec))
}

pub(super) fn not_in_the_lake(spec: &PipelineSpec) -> Error {
    let (name, sink) = (&spec.name, spec.load.describe());
    Error::unsupported(
        "not_in_the_lake",
        format!("{name} loads into {sink}, not into a table of the lake"),
    )
}

/// Gets what an extractor gives.
type Take<'a> = dyn FnMut(Extracted) -> Result<()> + 'a;

/// The head of a payload as it was when it came, numbered anew.
fn head(entry: &RawEntry, ordinal: u64) -> PayloadHead {
    PayloadHead {
        ordinal,
        name: entry.name.clone(),
        received_at: entry.received_at,
        content_type: entry.content_type.clone(),
        compression: entry.compression,
        attributes: entry.attributes.clone(),
    }
}

/// Reads payloads of the raw zone into an extractor. Blocks.
pub(super) struct Again {
    objects: Arc<dyn ObjectStore>,
    reader: RawReader,
    runtime: Handle,
}

impl Again {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, runtime: Handle) -> Self {
        Self {
            reader: RawReader::new(objects.clone()),
            objects,
            runtime,
        }
    }

    pub(super) fn reader(&self) -> &RawReader {
        &self.reader
    }

    /// Extracts one payload, given as its parts in order; `take` gets what comes out, piece by piece.
    pub(super) fn extract(
        &self,
        extraction: &mut dyn Extraction,
        parts: &[RawEntry],
        ordinal: u64,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let Some(first) = parts.first() else {
            return Ok(());
        };
        let mut pour = Pour::new(&head(first, ordinal))?;
        if extraction.wants_object() {
            return self.object(extraction, &pour, first, take);
        }
        for part in parts {
            self.part(extraction, &mut pour, part, take)?;
        }
        let mut out = Extracted::default();
        pour.finish(extraction, &mut out)?;
        take(out)
    }

    fn object(
        &self,
        extraction: &mut dyn Extraction,
        pour: &Pour,
        entry: &RawEntry,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let path = object_store::path::Path::from(entry.object.as_str());
        let input = ObjectInput {
            objects: &self.objects,
            path: &path,
            runtime: &self.runtime,
        };
        let mut out = Extracted::default();
        extraction.object(&pour.head, input, &mut out)?;
        while extraction.more(&mut out)? {
            take(std::mem::take(&mut out))?;
        }
        take(out)
    }

    fn part(
        &self,
        extraction: &mut dyn Extraction,
        pour: &mut Pour,
        entry: &RawEntry,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let mut payload = self.runtime.block_on(self.reader.open(entry))?;
        let mut out = Extracted::default();
        while let Some(bytes) = self.runtime.block_on(payload.next())? {
            pour.push(extraction, &bytes, &mut out)?;
            take(std::mem::take(&mut out))?;
        }
        Ok(())
    }
}

/// Puts the parts of each payload together: a run that commits inside a payload leaves an entry for each part, one behind
/// the other in the index.
#[derive(Debug, Default)]
pub(super) struct Parts {
    held: Vec<RawEntry>,
}

impl Parts {
    /// Takes the next entry of the index, and gives the payload before it if that is complete now.
    pub(super) fn push(&mut self, entry: RawEntry) -> Option<Vec<RawEntry>> {
        let goes_on = self.held.last().is_some_and(|last| follows(&entry, last));
        if goes_on {
            self.held.push(entry);
            return None;
        }
        let before = std::mem::replace(&mut self.held, vec![entry]);
        (!before.is_empty()).then_some(before)
    }

    /// The last payload.
    pub(super) fn finish(self) -> Option<Vec<RawEntry>> {
        (!self.held.is_empty()).then_some(self.held)
    }
}

fn follows(entry: &RawEntry, last: &RawEntry) -> bool {
    let part =
        |entry: &RawEntry| -> Option<u64> { entry.attributes.get(PART_ATTRIBUTE)?.parse().ok() };
    let same = (&entry.name, entry.received_at, &entry.split)
        == (&last.name, last.received_at, &last.split);
    same && part(last).is_some_and(|last| part(entry) == Some(last + 1))
}
