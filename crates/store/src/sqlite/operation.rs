//! One thing that the writer does, and how its answer goes back to who asked.

use async_trait::async_trait;
use forebay_core::{Error, Result, Timestamp};
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::error::Stop;

/// A change of the store. It may be applied more than once before it is answered, each time to a state in which
/// the earlier tries have left nothing.
#[async_trait]
pub(super) trait Operation: Send + Sync + 'static {
    type Answer: Send + 'static;

    async fn apply(&self, sql: &mut SqliteConnection, now: Timestamp)
    -> Result<Self::Answer, Stop>;
}

/// An operation in the queue.
#[async_trait]
pub(super) trait Job: Send {
    /// Applies it and keeps the result; `false` when it was refused and must be undone.
    async fn apply(
        &mut self,
        sql: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<bool, sqlx::Error>;
    /// Sends the kept result: its SQL transaction is committed.
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: Error);
}

pub(super) struct Pending<O: Operation> {
    operation: O,
    result: Option<Result<O::Answer>>,
    reply: oneshot::Sender<Result<O::Answer>>,
}

impl<O: Operation> Pending<O> {
    pub(super) fn with_reply(operation: O) -> (Box<dyn Job>, oneshot::Receiver<Result<O::Answer>>) {
        let (reply, answer) = oneshot::channel();
        (
            Box::new(Self {
                operation,
                result: None,
                reply,
            }),
            answer,
        )
    }
}

#[async_trait]
impl<O: Operation> Job for Pending<O> {
    async fn apply(
        &mut self,
        sql: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        let result = match self.operation.apply(sql, now).await {
            Ok(answer) => Ok(answer),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Broken(error)) => return Err(error),
        };
        let accepted = result.is_ok();
        self.result = Some(result);
        Ok(accepted)
    }

    fn answer(self: Box<Self>) {
        let result = self
            .result
            .expect("an operation is applied before it is answered");
        // Nobody listens when the caller was cancelled; what it asked for is done all the same.
        self.reply.send(result).ok();
    }

    fn fail(self: Box<Self>, error: Error) {
        self.reply.send(Err(error)).ok();
    }
}
