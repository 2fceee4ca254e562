//! Extracting payloads of the raw zone again: what replay and rebuild have in common.
//!
//! A payload goes through the same decoder and extractor as when it came, with the same identity, so its records get
//! the same keys.

use std::sync::Arc;

use forebay_core::{Error, Result};
use object_store::ObjectStore;
use tokio::runtime::Handle;

use super::pour::Pour;
use crate::extract::{Extracted, Extraction, ObjectInput};
use crate::file::PipelineSpec;
use crate::load::iceberg::IcebergTarget;
use crate::raw::{RawEntry, RawReader};

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
        let mut pour = Pour::new(&first.head(ordinal))?;
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
