//! Writers take turns at a table, so that they do not rebase on each other without end.
//!
//! Two writers that commit without a pause take equally long, so the one that lost once would lose every time. Writers of
//! one process queue for a table; processes on one machine queue for a lock on a file beside it. Only speed depends on
//! all this: the compare-and-set in the store keeps a commit correct, so a writer that cannot get a turn commits
//! without one.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use forebay_core::{Clock, RefName, TableName};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedMutexGuard, oneshot};

use crate::Draft;

type Queue = tokio::sync::Mutex<()>;

/// Forgotten queues are swept out when this many are remembered.
const SWEEP_AT: usize = 1_024;
/// The longest wait for other processes; one of them may be stopped.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a table is kept for another engine that came second, so that it can redo its change. Each time that it comes second again
/// doubles it: a change that reads the whole table takes as long as that.
const RESERVED_FIRST: Duration = Duration::from_secs(1);
const RESERVED_MAX: Duration = Duration::from_secs(16);
/// An engine that has not come second for so long begins with the first of them again.
const REFUSALS_FORGOTTEN_AFTER: Duration = Duration::from_secs(120);
/// Tables that are kept at the same time.
const RESERVATIONS_MAX: usize = 64;

type TableKey = (RefName, TableName);

#[derive(Debug, Default)]
pub(crate) struct Turns {
    queues: Mutex<HashMap<TableKey, Weak<Queue>>>,
    /// Tables that are kept for other engines, each until it is notified.
    reserved: Mutex<HashMap<TableKey, Arc<Notify>>>,
    /// Tables whose changes by other engines were refused, until one has landed.
    refused: Mutex<HashMap<TableKey, Refusals>>,
}

/// How often changes of a table have come second since the last one that landed.
#[derive(Debug, Clone, Copy)]
struct Refusals {
    count: u32,
    /// When the last of them was; monotonic.
    at: Duration,
}

impl Refusals {
    fn reserved_for(self) -> Duration {
        let doubled = RESERVED_FIRST * 2_u32.saturating_pow(self.count.min(16));
        doubled.min(RESERVED_MAX)
    }
}

/// A turn at one table; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _among_processes: Option<File>,
    _in_process: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits for a turn at every table.
    pub(crate) async fn take(
        &self,
        branch: &RefName,
        mut tables: Vec<&Draft>,
        clock: &Arc<dyn Clock>,
    ) -> Vec<Turn> {
        // One order for all, so that two commits over the same tables do not wait for each other.
        tables.sort_by_key(|draft| draft.name());
        let mut turns = Vec::with_capacity(tables.len());
        for draft in tables {
            let file = draft.storage().turn_file(&draft.folder());
            let key = (branch.clone(), draft.name().clone());
            turns.push(self.take_one(&key, file, clock).await);
        }
        turns
    }

    async fn take_one(
        &self,
        key: &TableKey,
        file: Option<PathBuf>,
        clock: &Arc<dyn Clock>,
    ) -> Turn {
        let in_process = self.queue(key).lock_owned().await;
        let among_processes = match file {
            Some(file) => locked(&file, clock).await,
            None => None,
        };
        Turn {
            _among_processes: among_processes,
            _in_process: in_process,
        }
    }

    /// Takes the next turn at a table for another engine, whose change takes longer than ours: it writes files in between. Writers
    /// queue in order, so one of ours that waits is next.
    pub(crate) async fn reserve(
        &self,
        key: TableKey,
        file: Option<PathBuf>,
        clock: &Arc<dyn Clock>,
    ) {
        let landed = Arc::new(Notify::new());
        {
            let mut reserved = self.reserved.lock();
            if reserved.len() >= RESERVATIONS_MAX || reserved.contains_key(&key) {
                return;
            }
            reserved.insert(key.clone(), Arc::clone(&landed));
        }
        let longest = self.note_refusal(&key, clock.monotonic());
        let turn = self.take_one(&key, file, clock).await;
        tokio::select! {
            () = landed.notified() => {}
            () = clock.sleep(longest) => {}
        }
        drop(turn);
        let mut reserved = self.reserved.lock();
        reserved.remove(&key);
    }

    /// How long the table is kept this time.
    fn note_refusal(&self, key: &TableKey, now: Duration) -> Duration {
        let mut refused = self.refused.lock();
        refused.retain(|_, past| now.saturating_sub(past.at) < REFUSALS_FORGOTTEN_AFTER);
        let count = refused.get(key).map_or(0, |past| past.count + 1);
        let refusals = Refusals { count, at: now };
        if refused.len() < RESERVATIONS_MAX || refused.contains_key(key) {
            refused.insert(key.clone(), refusals);
        }
        refusals.reserved_for()
    }

    /// A change of another engine has landed: nothing is kept for it any more.
    pub(crate) fn release(&self, key: &TableKey) {
        self.refused.lock().remove(key);
        let reserved = self.reserved.lock();
        if let Some(landed) = reserved.get(key) {
            landed.notify_one();
        }
    }

    fn queue(&self, key: &TableKey) -> Arc<Queue> {
        let mut queues = self.queues.lock();
        if queues.len() >= SWEEP_AT {
            queues.retain(|_, queue| queue.strong_count() > 0);
        }
        let slot = queues.entry(key.clone()).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let queue = Arc::new(Queue::default());
            *slot = Arc::downgrade(&queue);
            queue
        })
    }
}

/// The file with its lock, which the system gives back also when the process dies.
async fn locked(path: &Path, clock: &Arc<dyn Clock>) -> Option<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .ok()?;
    if file.try_lock().is_ok() {
        return Some(file);
    }
    let (given, taken) = oneshot::channel();
    // A thread of its own: one that waits for a stopped process must not hold up the end of this one.
    let wait = move || {
        if file.lock().is_ok() {
            // Nobody waits any more: the lock goes with the file.
            drop(given.send(file));
        }
    };
    std::thread::Builder::new()
        .name("table-turn".to_owned())
        .spawn(wait)
        .ok()?;
    tokio::select! {
        file = taken => file.ok(),
        () = clock.sleep(OTHERS_WAIT_MAX) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use forebay_core::SystemClock;

    #[tokio::test]
    async fn a_table_is_kept_for_another_engine_until_it_has_landed() {
        let turns = Arc::new(Turns::default());
        let clock = SystemClock::shared();
        let key = (RefName::main(), "a.t".parse().unwrap());
        for lands in [true, false] {
            let reserved = tokio::spawn({
                let (turns, key, clock) = (turns.clone(), key.clone(), clock.clone());
                async move { turns.reserve(key, None, &clock).await }
            });
            while turns.reserved.lock().is_empty() || turns.queue(&key).try_lock().is_ok() {
                tokio::task::yield_now().await;
            }
            // One at a time.
            turns.reserve(key.clone(), None, &clock).await;
            assert!(turns.queue(&key).try_lock().is_err());
            if lands {
                turns.release(&key);
            }
            reserved.await.unwrap();
            assert!(turns.reserved.lock().is_empty());
            let _ours = turns.take_one(&key, None, &clock).await;
        }
    }

    #[test]
    fn a_table_is_kept_longer_each_time_up_to_a_limit() {
        let turns = Turns::default();
        let key: TableKey = (RefName::main(), "a.t".parse().unwrap());
        let kept = |at: u64| turns.note_refusal(&key, Duration::from_secs(at)).as_secs();
        let first: Vec<u64> = (0..7).map(kept).collect();
        assert_eq!(first, [1, 2, 4, 8, 16, 16, 16]);
        turns.release(&key);
        assert_eq!([kept(8), kept(9), kept(200)], [1, 2, 1]);
    }

    #[tokio::test]
    async fn a_lock_is_waited_for_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".turn");
        let clock = SystemClock::shared();
        let first = locked(&path, &clock).await;
        assert!(first.is_some());
        let second = tokio::spawn({
            let path = path.clone();
            let clock = clock.clone();
            async move { locked(&path, &clock).await.is_some() }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!second.is_finished(), "the second waits");
        drop(first);
        assert!(second.await.unwrap(), "and gets its turn");
        assert!(
            locked(&folder.path().join("none/.turn"), &clock)
                .await
                .is_none()
        );
    }
}
