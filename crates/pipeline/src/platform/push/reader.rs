//! Reads the journal: each push is a payload, or a message of one, with a position after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Chunk, PayloadHead, Position, RefName, Result};
use tokio::sync::watch;

use super::pack;
use crate::platform::PlatformContext;
use forebay_connectors::source::SplitReader;
use forebay_journal::{Journal, Limits, Pushed, Tail, Taken};

/// The journal is read no more often than this once the last push has been taken, so that pushes gather: reading after
/// every flush would cost more than the pushes do. A single push does not wait.
const GATHER: Duration = Duration::from_millis(10);

/// How often a server checks for orphaned journals of other servers.
const LOOK_EVERY: Duration = Duration::from_secs(15);

pub(super) struct Reader {
    journal: Journal,
    tail: Tail,
    context: Arc<PlatformContext>,
    committed: watch::Receiver<Option<Position>>,
    /// Read but not passed on.
    waiting: VecDeque<Pushed>,
    ordinal: u64,
    /// When the journal was last read after a wait.
    read_at: Duration,
    /// The end offset, once the run has to end.
    until: Option<u64>,
    /// When to check for orphaned journals; `None` for never.
    look: Option<Look>,
}

struct Look {
    limits: Limits,
    next_at: Duration,
}

impl Reader {
    pub(super) async fn open(
        journal: Journal,
        position: Option<&Position>,
        context: Arc<PlatformContext>,
        look: Option<Limits>,
    ) -> Result<Self> {
        let offset = match position {
            Some(position) if !context.full => Taken::read(position)?.offset,
            _ => journal.first()?,
        };
        let tail = journal.tail(offset)?;
        if context.branch == RefName::main() && !context.full {
            journal.resume(offset).await?;
        }
        let look = look.filter(|_| context.follow && context.branch == RefName::main());
        Ok(Self {
            look: look.map(|limits| Look {
                limits,
                next_at: context.clock.monotonic() + LOOK_EVERY,
            }),
            committed: context.committed.clone(),
            journal,
            tail,
            context,
            waiting: VecDeque::new(),
            ordinal: 0,
            read_at: Duration::ZERO,
            until: None,
        })
    }

    /// The next payload of the pushes read; `None` when there are none.
    fn chunk(&mut self) -> Result<Option<Chunk>> {
        let mut pushes = pack::take(
            &mut self.waiting,
            self.context.packs,
            self.context.chunk_records,
        );
        let Some(end) = pushes.last().map(|push| push.end) else {
            return Ok(None);
        };
        let (bytes, messages) = match &pushes[..] {
            [alone] => (alone.body.clone(), None),
            several => {
                let (bytes, messages) = pack::pack(several)?;
                (bytes, Some(Arc::new(messages)))
            }
        };
        let Pushed { offset, head, .. } = pushes.swap_remove(0);
        let head = PayloadHead {
            ordinal: self.ordinal,
            name: format!("push/{}/{offset}", self.journal.id()),
            received_at: head.at,
            content_type: head.content_type,
            compression: head.compression,
            attributes: match messages {
                None => head.attributes,
                // Each message has its own.
                Some(_) => BTreeMap::new(),
            },
            messages,
        };
        self.ordinal += 1;
        let position = Taken { offset: end }.position()?;
        Ok(Some(Chunk::whole(head, bytes, Some(position))))
    }

    async fn gather(&mut self) {
        let clock = self.context.clock.clone();
        let since = clock.monotonic().saturating_sub(self.read_at);
        if self.context.packs && since < GATHER {
            clock.sleep(GATHER.saturating_sub(since)).await;
        }
        self.read_at = clock.monotonic();
    }

    /// Whether there is an orphaned journal of another server: the run ends, and the next one begins with that journal.
    async fn others_wait(&mut self) -> bool {
        let now = self.context.clock.monotonic();
        let Some(look) = self.look.as_mut().filter(|look| look.next_at <= now) else {
            return false;
        };
        look.next_at = now + LOOK_EVERY;
        let pipeline = &self.context.pipeline;
        let limits = look.limits;
        let found = self
            .context
            .journals
            .has_left_behind(pipeline, limits)
            .await;
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to check for orphaned journals of other servers");
            false
        })
    }

    /// Waits for a push, or until the next check for orphaned journals. Releases records as they are committed.
    async fn wait(&mut self) -> Result<()> {
        let clock = self.context.clock.clone();
        let look = self.look.as_ref().map(|look| look.next_at);
        let due = async {
            match look {
                Some(at) => clock.sleep(at.saturating_sub(clock.monotonic())).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => return Ok(()),
                grown = self.tail.grown() => return grown,
                changed = self.committed.changed() => match changed {
                    Ok(()) => self.release().await?,
                    // The run is ending, and this reader is about to be dropped.
                    Err(_) => return self.tail.grown().await,
                },
            }
        }
    }

    /// Releases records committed on `main`. Records committed on another branch are still needed by `main`.
    async fn release(&mut self) -> Result<()> {
        let position = self.committed.borrow_and_update().clone();
        match position {
            Some(position) if self.context.branch == RefName::main() => {
                self.journal.release(Taken::read(&position)?.offset).await
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            // Also while what has been read is handed on: payload by payload that takes many commits.
            if self.committed.has_changed().unwrap_or(false) {
                self.release().await?;
            }
            if let Some(chunk) = self.chunk()? {
                return Ok(Some(chunk));
            }
            if self.until.is_some_and(|until| self.tail.offset() >= until) {
                return Ok(None);
            }
            if self.others_wait().await {
                return Ok(None);
            }
            let before = self.tail.offset();
            self.waiting = self.tail.next().await?.into();
            // Records read so far are committed first; the next run reports the gap.
            if self.tail.is_at_gap() {
                return Ok(None);
            }
            match (self.waiting.is_empty(), self.context.follow) {
                // The run is ending: no more pushes arrive, so there is nothing to wait for.
                (true, _) if self.until.is_some() => {
                    if self.tail.offset() == before {
                        return Ok(None);
                    }
                }
                (true, true) => {
                    self.wait().await?;
                    self.gather().await;
                }
                (true, false) => return Ok(None),
                (false, _) => {}
            }
        }
    }

    /// Pushes acknowledged before the end are still read.
    fn drain(&mut self) -> bool {
        self.until = Some(self.journal.durable());
        true
    }
}
