//! Writers of one process take turns at a table, so that they do not rebase on each other without end.
//!
//! Only speed depends on it: what keeps a commit right is the compare-and-set in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use forebay_core::{RefName, TableName};
use tokio::sync::OwnedMutexGuard;

type Turn = tokio::sync::Mutex<()>;

/// Forgotten turns are swept out when this many are remembered.
const SWEEP_AT: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<(RefName, TableName), Weak<Turn>>>);

impl Turns {
    /// Waits until no other commit of this process holds any of the tables. Held until the answer is dropped.
    pub(crate) async fn take(
        &self,
        branch: &RefName,
        mut tables: Vec<TableName>,
    ) -> Vec<OwnedMutexGuard<()>> {
        // One order for all, so that two commits over the same tables cannot wait for each other.
        tables.sort();
        tables.dedup();
        let mut held = Vec::with_capacity(tables.len());
        for table in tables {
            held.push(self.turn(branch, table).lock_owned().await);
        }
        held
    }

    fn turn(&self, branch: &RefName, table: TableName) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= SWEEP_AT {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let slot = turns.entry((branch.clone(), table)).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let turn = Arc::new(Turn::default());
            *slot = Arc::downgrade(&turn);
            turn
        })
    }
}
