//! The rows that some commits add, written together.

use std::collections::HashMap;
use std::sync::LazyLock;

use forebay_core::{Error, Result, Timestamp};
use serde_json::{Value, json};

use super::state::End;
use crate::database::{Sql, Together, rows_of};
use crate::sql::checksum::{HeadRow, PositionRow};
use crate::{Change, Commit, Committed, TIME_PASSED};

pub(super) struct Rows {
    /// Of the next commit.
    seq: i64,
    /// Of the newest commit.
    last_at: Option<i64>,
    now: i64,
    /// The newest commit of each branch that one of these is on.
    parents: HashMap<i64, i64>,
    commits: Vec<Value>,
    heads: Vec<Value>,
    moves: Vec<Value>,
}

impl Rows {
    pub(super) fn after(end: End, now: Timestamp) -> Self {
        Self {
            seq: end.seq.map_or(1, |seq| seq + 1),
            last_at: end.at,
            now: now.micros(),
            parents: HashMap::new(),
            commits: Vec::new(),
            heads: Vec::new(),
            moves: Vec::new(),
        }
    }

    /// `head` is the newest commit of the branch in the database.
    ///
    /// Errors: `Conflict` [`TIME_PASSED`].
    pub(super) fn add(
        &mut self,
        commit: &Commit,
        branch: i64,
        head: Option<i64>,
    ) -> Result<Committed> {
        let seq = self.seq;
        let at = self.time(commit.at)?;
        let parent = self.parents.insert(branch, seq).or(head);
        self.commits.push(json!({
            "seq": seq, "id": commit.id.to_string(), "parent": parent, "branch": branch, "at": at,
            "author": commit.author, "message": commit.message, "run": commit.run.map(|run| run.to_string()),
        }));
        self.heads.extend(commit.heads.iter().map(|head| {
            let row = HeadRow {
                branch,
                namespace: head.table.namespace.as_str(),
                name: head.table.name.as_str(),
                uuid: &head.uuid.to_string(),
                location: location(&head.change),
                seq,
            };
            json!({
                "checksum": row.checksum(),
                "branch": branch, "namespace": head.table.namespace.as_str(), "name": head.table.name.as_str(),
                "uuid": head.uuid.to_string(), "location": location(&head.change), "expected": head.expected, "seq": seq,
            })
        }));
        self.moves.extend(commit.positions.iter().map(|moved| {
            let row = PositionRow {
                branch,
                pipeline: moved.pipeline.as_str(),
                split: moved.split.as_str(),
                epoch: moved.epoch,
                sequence: moved.sequence_after,
                position: Some(&moved.position.to_string()),
                seq: Some(seq),
            };
            json!({
                "checksum": row.checksum(),
                "branch": branch, "pipeline": moved.pipeline.as_str(), "split": moved.split.as_str(),
                "epoch": moved.epoch, "sequence": moved.sequence, "next": moved.sequence_after, "position": moved.position.to_string(), "seq": seq,
            })
        }));
        self.seq += 1;
        self.last_at = Some(at);
        let id = commit.id;
        let at = Timestamp(at);
        Ok(Committed { id, at })
    }

    /// The time of the next commit: strictly after the newest one.
    fn time(&self, wanted: Option<Timestamp>) -> Result<i64> {
        let first = self.last_at.map_or(i64::MIN, |at| at + 1);
        match wanted.map(Timestamp::micros) {
            None => Ok(self.now.max(first)),
            Some(at) if at >= first => Ok(at),
            Some(_) => {
                let what = "another commit was made at this time or after it";
                Err(Error::conflict(TIME_PASSED, what).with_hint("commit again, at a later time"))
            }
        }
    }

    pub(super) async fn write(self, sql: &mut Sql<'_>) -> Result<(), sqlx::Error> {
        let tables = [self.commits, self.heads, self.moves];
        let wanted: usize = tables.iter().map(Vec::len).sum();
        if wanted == 0 {
            return Ok(());
        }
        let written = WRITE.execute(tables.map(rows_of), sql).await?;
        if usize::try_from(written) == Ok(wanted) {
            return Ok(());
        }
        // Every row must find its place.
        let why = format!("{written} rows written of {wanted}: somebody writes without the lock");
        Err(sqlx::Error::Protocol(why))
    }
}

fn location(change: &Change) -> Option<&str> {
    match change {
        Change::Set(location) => Some(location),
        Change::Drop => None,
    }
}

/// The commits first: the others refer to them.
static WRITE: LazyLock<Together> = LazyLock::new(|| Together::of(&[COMMITS, HEADS, MOVES]));

const COMMITS: &str = "
    INSERT INTO commits (seq, id, parent, branch, at, author, message, run)
    SELECT CAST(value->>'seq' AS BIGINT), value->>'id', CAST(value->>'parent' AS BIGINT),
        CAST(value->>'branch' AS BIGINT), CAST(value->>'at' AS BIGINT),
        value->>'author', value->>'message', value->>'run'
    FROM json_each($1)";

/// `WHERE true`: without it SQLite takes `ON` for that of a join.
pub(crate) const HEADS: &str = "
    INSERT INTO heads (branch, namespace, name, table_uuid, metadata_location, previous_metadata_location, seq, checksum)
    SELECT CAST(value->>'branch' AS BIGINT), value->>'namespace', value->>'name', value->>'uuid',
        value->>'location', value->>'expected', CAST(value->>'seq' AS BIGINT), CAST(value->>'checksum' AS BIGINT)
    FROM json_each($2) WHERE true
    ON CONFLICT (branch, namespace, name) DO UPDATE SET
        table_uuid = excluded.table_uuid,
        metadata_location = excluded.metadata_location,
        previous_metadata_location = excluded.previous_metadata_location,
        seq = excluded.seq,
        checksum = excluded.checksum
    WHERE heads.metadata_location IS NOT DISTINCT FROM excluded.previous_metadata_location";

pub(crate) const MOVES: &str = "
    UPDATE positions SET sequence = moved.next_sequence, position = moved.position, seq = moved.seq,
        checksum = moved.checksum
    FROM (SELECT CAST(value->>'branch' AS BIGINT) AS branch, value->>'pipeline' AS pipeline, value->>'split' AS split,
            CAST(value->>'epoch' AS BIGINT) AS epoch, CAST(value->>'sequence' AS BIGINT) AS sequence,
            CAST(value->>'next' AS BIGINT) AS next_sequence,
            value->>'position' AS position, CAST(value->>'seq' AS BIGINT) AS seq,
            CAST(value->>'checksum' AS BIGINT) AS checksum
        FROM json_each($3)) AS moved
    WHERE positions.branch = moved.branch AND positions.pipeline = moved.pipeline AND positions.split = moved.split
        AND positions.epoch = moved.epoch AND positions.sequence = moved.sequence";
