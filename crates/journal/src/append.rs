//! Append requests and their answers, the same for a journal on disk and in the storage.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_core::{Error, Result, Timestamp};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::frame::Frames;
use super::keys::{Keyed, Keys, Seen};

/// Bytes that are made durable at once, about.
pub(super) const BATCH_BYTES: usize = 8 << 20;

/// Records of one caller.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) frames: Frames,
    /// When it was sent, in monotonic time.
    pub(super) sent_at: Duration,
    /// Gets the offset of each record.
    pub(super) reply: oneshot::Sender<Result<Vec<u64>>>,
    /// Room in the queue, given back when this is dropped.
    pub(super) _room: OwnedSemaphorePermit,
}

/// The keys of the records at these offsets.
pub(super) fn keyed(appends: &VecDeque<Append>, offsets: &[Vec<u64>]) -> Vec<Keyed> {
    let mut all = Vec::new();
    for (append, offsets) in appends.iter().zip(offsets) {
        for (keyed, &offset) in append.frames.keys().iter().zip(offsets) {
            if let Some((key, print, at)) = *keyed {
                let seen = Seen { offset, print, at };
                all.push(Keyed { key, seen });
            }
        }
    }
    all
}

/// Ends the reservations of durable records.
pub(super) fn settle(keyed: &[Keyed], keys: &Mutex<Keys>, now: Timestamp) {
    let mut keys = keys.lock();
    for Keyed { key, seen } in keyed {
        keys.settle(*key, Some(*seen), now);
    }
}

/// Frees the keys of records that are not in the journal and never will be.
pub(super) fn free(appends: &VecDeque<Append>, keys: &Mutex<Keys>, now: Timestamp) {
    let mut keys = keys.lock();
    for (key, ..) in appends
        .iter()
        .flat_map(|append| append.frames.keys().iter().flatten())
    {
        keys.settle(*key, None, now);
    }
}

/// Sends each caller the offsets of its records.
pub(super) fn answer(appends: VecDeque<Append>, offsets: Vec<Vec<u64>>, callers: Option<&Handle>) {
    let answer = move || {
        for (append, offsets) in appends.into_iter().zip(offsets) {
            // The caller may be gone; the record stays.
            let _ = append.reply.send(Ok(offsets));
        }
    };
    // Waiting callers are woken from inside the runtime: from outside, each wake-up would be a system call.
    match callers {
        Some(runtime) => drop(runtime.spawn(async move { answer() })),
        None => answer(),
    }
}

/// Sends each caller the error: its records were rejected, or their state is unknown.
pub(super) fn refuse(appends: VecDeque<Append>, why: impl Fn() -> Error) {
    for append in appends {
        let _ = append.reply.send(Err(why()));
    }
}
