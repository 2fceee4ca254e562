//! Extracts payloads of the raw zone again: the common part of replay and rebuild.
//!
//! A payload goes through the same decoder and extractor as on arrival, with the same identity, so its records get the same
//! keys.

use std::path::PathBuf;
use std::sync::Arc;

use forebay_core::{Compression, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::engine::RunContext;
use crate::engine::payload::pour::Pour;
use crate::engine::payload::spill::SpilledPayload;
use crate::engine::payload::stored::StoredPayload;
use crate::engine::payload::verify::verify;
use crate::raw::{RawEntry, RawReader};
use forebay_formats::decode;
use forebay_formats::{Extracted, Extraction, ObjectInput};

/// Receives the output of an extractor.
type Take<'a> = dyn FnMut(Extracted) -> Result<()> + 'a;

/// Reads payloads of the raw zone into an extractor. Blocks.
pub(in crate::engine) struct Reextraction {
    objects: Arc<dyn ObjectStore>,
    reader: RawReader,
    runtime: Handle,
    spill: PathBuf,
}

impl Reextraction {
    pub(in crate::engine) fn new(context: &RunContext, runtime: Handle) -> Self {
        let objects = context.lake.objects().clone();
        Self {
            reader: RawReader::new(objects.clone()),
            objects,
            runtime,
            spill: context.spill.clone(),
        }
    }

    pub(in crate::engine) fn reader(&self) -> &RawReader {
        &self.reader
    }

    /// Extracts one payload, given as its parts in order; `take` gets the output, piece by piece.
    pub(in crate::engine) fn extract(
        &self,
        extraction: &mut dyn Extraction,
        parts: &[RawEntry],
        ordinal: u64,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let Some(first) = parts.first() else {
            return Ok(());
        };
        let head = first.head(ordinal);
        let stored = StoredParts { again: self, parts };
        if let Some(refused) = verify(&head, &stored)? {
            return take(Extracted::of(Vec::new(), vec![refused]));
        }
        let mut pour = Pour::new(&head)?;
        if extraction.wants_object() {
            return self.object(extraction, &pour, &stored, take);
        }
        let mut out = Extracted::default();
        stored.read(&mut |bytes| {
            pour.push(extraction, bytes, &mut out)?;
            take(std::mem::take(&mut out))
        })?;
        let mut out = Extracted::default();
        pour.finish(extraction, &mut out)?;
        take(out)
    }

    fn object(
        &self,
        extraction: &mut dyn Extraction,
        pour: &Pour,
        stored: &StoredParts<'_>,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let compression = pour.head.compression;
        if compression != Compression::None {
            let spilled = SpilledPayload::write(&self.spill, compression, stored)?;
            return self.read_object(extraction, pour, (&spilled.objects, &spilled.path), take);
        }
        let object = stored.parts.first().map(|entry| entry.object.as_str());
        let path = Path::from(object.unwrap_or_default());
        self.read_object(extraction, pour, (&self.objects, &path), take)
    }

    fn read_object(
        &self,
        extraction: &mut dyn Extraction,
        pour: &Pour,
        (objects, path): (&Arc<dyn ObjectStore>, &Path),
        take: &mut Take<'_>,
    ) -> Result<()> {
        let input = ObjectInput {
            objects,
            path,
            runtime: &self.runtime,
        };
        let mut out = Extracted::default();
        extraction.object(&pour.head, input, &mut out)?;
        while extraction.more(&mut out)? {
            take(std::mem::take(&mut out))?;
        }
        take(out)
    }
}

/// The parts of a payload, in order.
struct StoredParts<'a> {
    again: &'a Reextraction,
    parts: &'a [RawEntry],
}

impl StoredPayload for StoredParts<'_> {
    fn read(&self, take: &mut decode::Take<'_>) -> Result<()> {
        let Reextraction {
            reader, runtime, ..
        } = self.again;
        for part in self.parts {
            let mut payload = runtime.block_on(reader.open(part))?;
            while let Some(bytes) = runtime.block_on(payload.next())? {
                take(&bytes)?;
            }
        }
        Ok(())
    }
}
