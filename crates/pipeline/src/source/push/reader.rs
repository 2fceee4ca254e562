//! Reading the journal: each push a payload, or a message of one, with a position after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Chunk, Error, PayloadHead, Position, RefName, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::pack;
use crate::journal::{Journal, Pushed, Tail};
use crate::source::{SourceContext, SplitReader};

/// The journal is read no more often than this once the last push has been taken, so that pushes gather: reading after every
/// flush would cost more than the pushes do. One that comes alone does not wait.
const GATHER: Duration = Duration::from_millis(10);

/// Everything before `offset` of the journal has been taken.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Place {
    offset: u64,
}

impl Place {
    fn read(position: &Position) -> Result<Self> {
        serde_json::from_value(position.0.clone()).map_err(|error| {
            Error::data(
                "bad_position",
                "the position of a push source is not an offset",
            )
            .with_source(error)
        })
    }
}

pub(super) struct Reader {
    journal: Journal,
    tail: Tail,
    context: Arc<SourceContext>,
    committed: watch::Receiver<Option<Position>>,
    /// Read and not handed on.
    waiting: VecDeque<Pushed>,
    ordinal: u64,
    /// When the journal was last read after a wait.
    read_at: Duration,
    /// Where to end, when the run is to end.
    until: Option<u64>,
}

impl Reader {
    pub(super) async fn open(
        journal: Journal,
        position: Option<&Position>,
        context: Arc<SourceContext>,
    ) -> Result<Self> {
        let offset = match position {
            Some(position) if !context.full => Place::read(position)?.offset,
            _ => journal.first()?,
        };
        let tail = journal.tail(offset)?;
        if context.branch == RefName::main() && !context.full {
            journal.resume(offset).await?;
        }
        Ok(Self {
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

    /// The next payload of what has been read; `None` when that is none.
    fn chunk(&mut self) -> Result<Option<Chunk>> {
        let mut pushes = pack::take(&mut self.waiting, self.context.packs);
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
                // They are with each message.
                Some(_) => BTreeMap::new(),
            },
            messages,
        };
        self.ordinal += 1;
        let position = serde_json::to_value(Place { offset: end }).map_err(|error| {
            Error::bug("position", "failed to write a position").with_source(error)
        })?;
        Ok(Some(Chunk::whole(head, bytes, Some(Position(position)))))
    }

    async fn gather(&mut self) {
        let clock = self.context.clock.clone();
        let since = clock.monotonic().saturating_sub(self.read_at);
        if self.context.packs && since < GATHER {
            clock.sleep(GATHER.saturating_sub(since)).await;
        }
        self.read_at = clock.monotonic();
    }

    /// Waits for a push. What is committed meanwhile is let go of.
    async fn wait(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                grown = self.tail.grown() => return grown,
                changed = self.committed.changed() => match changed {
                    Ok(()) => self.release().await?,
                    // The run is ending; who reads is about to be dropped.
                    Err(_) => return self.tail.grown().await,
                },
            }
        }
    }

    /// Lets go of what commits of `main` have made safe. What another branch has taken is still to come for `main`.
    async fn release(&mut self) -> Result<()> {
        let position = self.committed.borrow_and_update().clone();
        match position {
            Some(position) if self.context.branch == RefName::main() => {
                self.journal.release(Place::read(&position)?.offset).await
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.chunk()? {
                return Ok(Some(chunk));
            }
            if self.until.is_some_and(|until| self.tail.offset() >= until) {
                return Ok(None);
            }
            if self.committed.has_changed().unwrap_or(false) {
                self.release().await?;
            }
            self.waiting = self.tail.next().await?.into();
            match (self.waiting.is_empty(), self.context.follow) {
                (true, true) => {
                    self.wait().await?;
                    self.gather().await;
                }
                (true, false) => return Ok(None),
                (false, _) => {}
            }
        }
    }

    /// What was acknowledged before the end is read before it.
    fn drain(&mut self) -> bool {
        self.until = Some(self.journal.durable());
        true
    }
}
