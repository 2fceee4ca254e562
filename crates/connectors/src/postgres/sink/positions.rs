//! `forebay_positions`: the position of each split, its owner's epoch, and the lake's part of the last commit.
//!
//! It is stored in the schema of the target, so that its rows move in the transaction of the data. A writer first *takes*
//! its split: the epoch of the lease goes into the row, and remaining connections of an earlier owner are terminated, with
//! their open transactions. A commit moves the row on condition of epoch and sequence; a writer that lost the lease matches
//! no row.

use forebay_core::{Error, Position, Result};

use super::table::quoted;
use crate::postgres::client::Connection;
use crate::postgres::error::failed;
use crate::sink::{Delivered, SinkContext, Standing};

/// The table's name, in the schema of the target.
pub(super) const NAME: &str = "forebay_positions";

/// How long a process may stall between the move of its position and COMMIT before the server ends its transaction: others
/// wait for that row.
const COMMIT_WAIT: &str = "30s";

/// The rows of one split of one pipeline on one branch.
pub(super) struct Positions {
    /// `"schema".forebay_positions`
    table: String,
    pipeline: String,
    branch: String,
    split: String,
    epoch: i64,
}

const KEY: &str = "pipeline = $1 AND branch = $2 AND split = $3";

impl Positions {
    pub(super) fn new(schema: &str, context: &SinkContext) -> Self {
        Self {
            table: format!("{}.{NAME}", quoted(schema)),
            pipeline: context.pipeline.to_string(),
            branch: context.branch.to_string(),
            split: context.split.to_string(),
            epoch: context.epoch,
        }
    }

    /// Takes the split and returns its position. With `force` whatever the epoch in the row.
    ///
    /// Errors: `Conflict` `stale_epoch` when a later owner exists.
    pub(super) async fn take(&self, connection: &Connection, force: bool) -> Result<Standing> {
        self.make(connection).await?;
        self.end_others(connection).await?;
        let text = format!(
            "UPDATE {} SET epoch = $4, backend = pg_backend_pid(), backend_since = ({MINE}) WHERE {KEY} AND ($5 OR epoch <= $4) \
             RETURNING sequence, position, outbox",
            self.table
        );
        let pipeline = &self.pipeline;
        let branch = &self.branch;
        let split = &self.split;
        let taken = connection
            .client
            .query_opt(&text, &[pipeline, branch, split, &self.epoch, &force])
            .await
            .map_err(|error| failed("take the split in forebay_positions", error))?;
        match taken {
            Some(row) => standing(&row),
            None if self.is_there(connection).await? => Err(self.stale()),
            None => Ok(Standing {
                sequence: None,
                last: None,
            }),
        }
    }

    /// Sets the target's position to `sequence`. The statement may reach the server late, or be carried out after its
    /// process died, so it is fenced like every other: it never touches the row of a later owner.
    ///
    /// Errors: `Conflict` `stale_epoch` when a later owner exists.
    pub(super) async fn adopt(&self, connection: &Connection, sequence: i64) -> Result<()> {
        let text = format!(
            "INSERT INTO {} AS mine (pipeline, branch, split, epoch, sequence, at, backend, backend_since) \
             VALUES ($1, $2, $3, $4, $5, now(), pg_backend_pid(), ({MINE})) \
             ON CONFLICT (pipeline, branch, split) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence, \
             position = NULL, outbox = NULL, at = now(), backend = excluded.backend, backend_since = excluded.backend_since \
             WHERE mine.epoch <= excluded.epoch",
            self.table
        );
        let pipeline = &self.pipeline;
        let branch = &self.branch;
        let split = &self.split;
        let written = connection
            .client
            .execute(&text, &[pipeline, branch, split, &self.epoch, &sequence])
            .await
            .map_err(|error| failed("write to forebay_positions", error))?;
        if written == 1 {
            Ok(())
        } else {
            Err(self.stale())
        }
    }

    /// Moves the position, inside the open transaction.
    ///
    /// Errors: `Conflict` `stale_epoch` when epoch or sequence have changed.
    pub(super) async fn advance(
        &self,
        connection: &Connection,
        sequence: i64,
        delivered: &Delivered,
    ) -> Result<()> {
        let wait = format!("SET LOCAL idle_in_transaction_session_timeout = '{COMMIT_WAIT}'");
        connection.batch("begin the commit", &wait).await?;
        let text = format!(
            "UPDATE {} SET sequence = $5 + 1, position = $6, outbox = $7, at = now() \
             WHERE {KEY} AND epoch = $4 AND sequence = $5",
            self.table
        );
        let position = delivered.position.to_string();
        let pipeline = &self.pipeline;
        let branch = &self.branch;
        let split = &self.split;
        let moved = connection
            .client
            .execute(
                &text,
                &[
                    pipeline,
                    branch,
                    split,
                    &self.epoch,
                    &sequence,
                    &position,
                    &delivered.outbox,
                ],
            )
            .await
            .map_err(|error| failed("move the position in forebay_positions", error))?;
        if moved == 1 {
            Ok(())
        } else {
            Err(self.stale())
        }
    }

    /// Locks the row inside the open transaction, while this writer is the owner.
    pub(super) async fn hold(&self, connection: &Connection) -> Result<()> {
        let text = format!(
            "SELECT 1 FROM {} WHERE {KEY} AND epoch = $4 FOR UPDATE",
            self.table
        );
        let pipeline = &self.pipeline;
        let branch = &self.branch;
        let split = &self.split;
        let held = connection
            .client
            .query_opt(&text, &[pipeline, branch, split, &self.epoch])
            .await
            .map_err(|error| failed("lock the split in forebay_positions", error))?;
        held.map(|_| ()).ok_or_else(|| self.stale())
    }

    async fn make(&self, connection: &Connection) -> Result<()> {
        let there = connection
            .client
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&self.table])
            .await
            .map_err(|error| failed("look for forebay_positions", error))?;
        if there.get(0) {
            return Ok(());
        }
        // Of two concurrent creations one would fail.
        let text = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtext('forebay_positions')); \
             CREATE TABLE IF NOT EXISTS {} (pipeline text NOT NULL, branch text NOT NULL, split text NOT NULL, \
             epoch bigint NOT NULL, sequence bigint NOT NULL, position text, outbox bytea, at timestamptz NOT NULL, \
             backend integer, backend_since timestamptz, PRIMARY KEY (pipeline, branch, split)); COMMIT",
            self.table
        );
        connection.batch("create forebay_positions", &text).await
    }

    /// Terminates the connection of an earlier owner, which may be stopped inside a transaction. Without the privilege for
    /// it, it is waited for.
    async fn end_others(&self, connection: &Connection) -> Result<()> {
        let text = format!(
            "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN {} p ON a.pid = p.backend \
             AND a.backend_start = p.backend_since WHERE {KEY} AND p.epoch <= $4 AND a.pid <> pg_backend_pid() \
             AND a.usename = current_user",
            self.table
        );
        let pipeline = &self.pipeline;
        let branch = &self.branch;
        let split = &self.split;
        let ended = connection
            .client
            .query(&text, &[pipeline, branch, split, &self.epoch])
            .await;
        match ended {
            Err(error) if error.is_closed() => Err(failed("take the split", error)),
            Err(error) => {
                tracing::debug!(%error, "an earlier connection cannot be ended");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    async fn is_there(&self, connection: &Connection) -> Result<bool> {
        let text = format!("SELECT 1 FROM {} WHERE {KEY}", self.table);
        let pipeline = &self.pipeline;
        let branch = &self.branch;
        let split = &self.split;
        let found = connection
            .client
            .query_opt(&text, &[pipeline, branch, split])
            .await
            .map_err(|error| failed("read forebay_positions", error))?;
        Ok(found.is_some())
    }

    fn stale(&self) -> Error {
        Error::conflict(
            "stale_epoch",
            format!(
                "another process has taken the split `{}` of {} in {}",
                self.split, self.pipeline, self.table
            ),
        )
        .with_hint("if no other process runs this pipeline, its workspace was recreated: start again with `forebay run --full`")
    }
}

/// When this connection began; with its process id that names it for ever.
const MINE: &str = "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";

fn standing(row: &tokio_postgres::Row) -> Result<Standing> {
    let (sequence, position, outbox): (i64, Option<String>, Option<Vec<u8>>) =
        (row.get(0), row.get(1), row.get(2));
    let last = position.zip(outbox).map(|(position, outbox)| {
        let position = serde_json::from_str(&position).map(Position);
        position
            .map(|position| Delivered { position, outbox })
            .map_err(|error| {
                Error::data(
                    "bad_position",
                    "a position in forebay_positions is not valid JSON",
                )
                .with_source(error)
            })
    });
    Ok(Standing {
        sequence: Some(sequence),
        last: last.transpose()?,
    })
}
