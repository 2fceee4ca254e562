//! One request to the writer, and how its answer gets back to the caller.

use async_trait::async_trait;
use forebay_core::{Error, Result, Timestamp};
use tokio::sync::oneshot;

use super::error::Stop;
use crate::database::Sql;
use crate::{Commit, Committed};

/// A change of the store other than a commit. It may be applied more than once before it is answered, each time to a
/// state without traces of the earlier attempts.
#[async_trait]
pub(crate) trait Operation: Send + Sync + 'static {
    type Answer: Send + 'static;

    async fn apply(&self, sql: &mut Sql<'_>, now: Timestamp) -> Result<Self::Answer, Stop>;
}

/// A request, its result, and the waiting caller.
pub(crate) struct Pending<O, A> {
    pub(super) asked: O,
    pub(super) result: Option<Result<A>>,
    reply: oneshot::Sender<Result<A>>,
}

impl<O, A> Pending<O, A> {
    pub(crate) fn with_reply(asked: O) -> (Self, oneshot::Receiver<Result<A>>) {
        let (reply, answer) = oneshot::channel();
        let result = None;
        (
            Self {
                asked,
                result,
                reply,
            },
            answer,
        )
    }

    fn send(self, result: Result<A>) {
        // Nobody listens when the caller was cancelled; its request is carried out all the same.
        self.reply.send(result).ok();
    }

    fn send_result(mut self) {
        let result = self.result.take();
        self.send(result.expect("a request is applied before it is answered"));
    }
}

/// A queued request: commits, which are grouped, and all others, one by one.
pub(crate) enum Job {
    Commit(Box<Pending<Commit, Committed>>),
    Other(Box<dyn Other>),
}

impl Job {
    /// Sends the kept result: its SQL transaction is committed.
    pub(super) fn answer(self) {
        match self {
            Self::Commit(pending) => pending.send_result(),
            Self::Other(other) => other.answer(),
        }
    }

    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Commit(pending) => pending.send(Err(error)),
            Self::Other(other) => other.fail(error),
        }
    }
}

/// An operation in the queue, whatever it answers.
#[async_trait]
pub(crate) trait Other: Send {
    /// Applies it and keeps the result; `false` when it was refused and must be undone.
    async fn apply(&mut self, sql: &mut Sql<'_>, now: Timestamp) -> Result<bool, sqlx::Error>;
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: Error);
}

#[async_trait]
impl<O: Operation> Other for Pending<O, O::Answer> {
    async fn apply(&mut self, sql: &mut Sql<'_>, now: Timestamp) -> Result<bool, sqlx::Error> {
        let result = match self.asked.apply(sql, now).await {
            Ok(answer) => Ok(answer),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Broken(error)) => return Err(error),
        };
        let accepted = result.is_ok();
        self.result = Some(result);
        Ok(accepted)
    }

    fn answer(self: Box<Self>) {
        self.send_result();
    }

    fn fail(self: Box<Self>, error: Error) {
        self.send(Err(error));
    }
}
