//! The current writer of a journal, as a lease in the store.
//!
//! A claim is a hint, like every lease: it keeps servers from opening journals that others write. The objects themselves
//! fence an old writer from acknowledging more.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Error, ErrorKind, Ident, RefName, Result};
use forebay_store::{LeaseRequest, Store};
use tokio_util::sync::CancellationToken;

/// How long a claim lasts without renewal; the journal of a dead server is adopted after this long.
pub(in super::super) const CLAIM: Duration = Duration::from_secs(15);

/// The lease namespace of journal writers; those of the pipelines are for readers.
pub const WRITERS: &str = "journal_writers";

/// The right to write a journal. Dropped, it is no longer renewed.
#[derive(Debug)]
pub(in super::super) struct Claim {
    store: Store,
    request: LeaseRequest,
    epoch: i64,
    /// Cancelled when another process has it.
    lost: CancellationToken,
    ended: CancellationToken,
}

impl Claim {
    /// Errors: `Conflict` `leased` when another process has it.
    pub(in super::super) async fn take(
        store: &Store,
        journal: &Ident,
        owner: &str,
        steal: bool,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let request = LeaseRequest {
            branch: RefName::main(),
            pipeline: WRITERS.parse()?,
            split: journal.clone(),
            owner: owner.to_owned(),
            duration: CLAIM,
        };
        let lease = store.take_lease(&request, steal).await?;
        let claim = Self {
            store: store.clone(),
            request,
            epoch: lease.epoch,
            lost: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        tokio::spawn(claim.renewal(clock.clone()));
        Ok(claim)
    }

    fn renewal(&self, clock: Arc<dyn Clock>) -> impl Future<Output = ()> + Send + 'static {
        let store = self.store.clone();
        let request = self.request.clone();
        let epoch = self.epoch;
        let lost = self.lost.clone();
        let ended = self.ended.clone();
        async move {
            loop {
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = clock.sleep(CLAIM / 3) => {}
                }
                match store.renew_lease(&request, epoch).await {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::Conflict => return lost.cancel(),
                    Err(error) => {
                        tracing::warn!(journal = %request.split, %error, "failed to renew the claim on a journal");
                    }
                }
            }
        }
    }

    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Releases the claim for the next writer at once.
    pub(super) async fn release(&self) {
        self.ended.cancel();
        let released = self.store.release_lease(&self.request, self.epoch).await;
        if let Err(error) = released {
            tracing::debug!(journal = %self.request.split, %error, "failed to release the claim on a journal");
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

pub(in super::super) fn is_held(error: &Error) -> bool {
    error.code() == "leased"
}
