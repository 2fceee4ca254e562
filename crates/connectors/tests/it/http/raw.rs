//! What the runs of a test have stored: a pass that resumes knows its records from here.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay_connectors::source::{PayloadReader, StoredPayload, StoredPayloads};
use forebay_core::{Chunk, Result};

/// The raw zone of a pipeline, in memory.
#[derive(Default)]
pub(super) struct RawZone(Mutex<Vec<StoredPayload>>);

struct Payloads(std::vec::IntoIter<StoredPayload>);

impl RawZone {
    pub(super) fn store(&self, chunk: &Chunk) {
        self.0.lock().unwrap().push(StoredPayload {
            head: Arc::clone(&chunk.head),
            bytes: chunk.bytes.clone(),
        });
    }
}

#[async_trait]
impl StoredPayloads for RawZone {
    async fn with_attribute(&self, name: &str, value: &str) -> Result<Box<dyn PayloadReader>> {
        let stored = self.0.lock().unwrap();
        let has_attribute = |payload: &&StoredPayload| {
            payload.head.attributes.get(name).map(String::as_str) == Some(value)
        };
        let found: Vec<_> = stored.iter().filter(has_attribute).cloned().collect();
        Ok(Box::new(Payloads(found.into_iter())))
    }
}

#[async_trait]
impl PayloadReader for Payloads {
    async fn next(&mut self) -> Result<Option<StoredPayload>> {
        Ok(self.0.next())
    }
}
