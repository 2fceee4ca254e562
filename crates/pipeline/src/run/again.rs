//! Extracting payloads of the raw zone again: what replay and rebuild have in common.
//!
//! A payload goes through the same decoder and extractor as when it came, with the same identity, so its records get
//! the same keys.

use std::sync::Arc;

use forebay_core::{PayloadHead, Result};
use object_store::ObjectStore;
use tokio::runtime::Handle;

use super::pour::Pour;
use crate::extract::{Extracted, Extraction, ObjectInput};
use crate::raw::{RawEntry, RawReader};

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

    /// Extracts one payload; `take` gets what comes out, piece by piece.
    pub(super) fn extract(
        &self,
        extraction: &mut dyn Extraction,
        entry: &RawEntry,
        ordinal: u64,
        take: &mut dyn FnMut(Extracted) -> Result<()>,
    ) -> Result<()> {
        let mut pour = Pour::new(&head(entry, ordinal))?;
        let mut out = Extracted::default();
        if extraction.wants_object() {
            let path = object_store::path::Path::from(entry.object.as_str());
            let input = ObjectInput {
                objects: &self.objects,
                path: &path,
                runtime: &self.runtime,
            };
            extraction.object(&pour.head, input, &mut out)?;
            while extraction.more(&mut out)? {
                take(std::mem::take(&mut out))?;
            }
            return take(out);
        }
        let mut payload = self.runtime.block_on(self.reader.open(entry))?;
        while let Some(bytes) = self.runtime.block_on(payload.next())? {
            pour.push(extraction, &bytes, &mut out)?;
            take(std::mem::take(&mut out))?;
        }
        pour.finish(extraction, &mut out)?;
        take(out)
    }
}
