//! The memory that bodies may take, all of them together.

use std::sync::Arc;

use forebay_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of all bodies that are being read or made durable: one of the largest, or many of the usual ones.
const BODIES_BYTES_MAX: usize = 80 << 20;

/// A bound that all requests share.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_BYTES_MAX)))
    }
}

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Room,
    permit: OwnedSemaphorePermit,
}

impl Room {
    /// Errors: `Unavailable` `server_busy`. Nobody waits here: who held room while waiting for more could wait for ever.
    pub(super) fn take(&self, bytes: usize) -> Result<Held> {
        let (room, permit) = (self.clone(), self.permit(bytes)?);
        Ok(Held { room, permit })
    }

    pub(super) fn held(&self) -> usize {
        BODIES_BYTES_MAX.saturating_sub(self.0.available_permits())
    }

    fn permit(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.0
            .clone()
            .try_acquire_many_owned(bytes)
            .map_err(|_| busy())
    }
}

impl Held {
    /// Errors: `Unavailable` `server_busy`.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<()> {
        self.permit.merge(self.room.permit(bytes)?);
        Ok(())
    }
}

fn busy() -> Error {
    Error::unavailable(
        "server_busy",
        "other pushes fill the memory that there is for them",
    )
    .with_hint("send it again a little later, or in smaller parts")
}
