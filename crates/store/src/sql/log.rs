//! Reading the catalog. A state is first pinned as a lineage; the log below it never changes, so several queries
//! about one lineage agree with each other.

use std::collections::BTreeMap;

use forebay_core::{CommitId, Error, RefName, Result, TableName, Timestamp};
use uuid::Uuid;

use super::checksum::HeadRow;
use super::error::{Stop, corrupt, parse};
use super::refs::no_such_branch;
use crate::database::{Sql, query};
use crate::{AsOf, Change, CommitRecord, Head};

/// The part of a state that one branch adds: its commits up to and with `upto`.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(crate) struct Level {
    pub(crate) branch: i64,
    pub(crate) upto: i64,
}

/// A branch and its bases, nearest first; the nearest entry of a table counts.
pub(crate) async fn lineage(
    sql: &mut Sql<'_>,
    branch: i64,
    upto: i64,
) -> Result<Vec<Level>, sqlx::Error> {
    query(
        "WITH RECURSIVE lineage (depth, branch, upto) AS (
             SELECT 0, $1, $2
             UNION ALL
             SELECT depth + 1, branches.base, CASE WHEN coalesce(branches.base_seq, 0) < upto THEN coalesce(branches.base_seq, 0) ELSE upto END
             FROM lineage JOIN branches ON branches.id = lineage.branch
             WHERE branches.base IS NOT NULL)
         SELECT branch, upto FROM lineage ORDER BY depth",
    )
    .bind(branch)
    .bind(upto)
    .fetch_all(sql)
    .await
}

/// Pins a state.
pub(crate) async fn resolve(sql: &mut Sql<'_>, as_of: &AsOf) -> Result<Vec<Level>, Stop> {
    let (branch, upto) = match as_of {
        AsOf::Head(name) => live_branch(sql, name).await?,
        AsOf::Time(name, instant) => {
            let (branch, head) = live_branch(sql, name).await?;
            let upto: Option<(i64,)> =
                query("SELECT seq FROM commits WHERE at <= $1 ORDER BY at DESC LIMIT 1")
                    .bind(instant.micros())
                    .fetch_optional(sql)
                    .await?;
            (branch, upto.map_or(0, |(seq,)| seq).min(head))
        }
        AsOf::Commit(id) => query("SELECT branch, seq FROM commits WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(sql)
            .await?
            .ok_or_else(|| no_such_commit(*id))?,
    };
    Ok(lineage(sql, branch, upto).await?)
}

/// Its id and the sequence number of its newest commit, 0 when there is none.
pub(crate) async fn live_branch(sql: &mut Sql<'_>, name: &RefName) -> Result<(i64, i64), Stop> {
    let found: Option<(i64, i64, i64)> = query(
        "SELECT id, coalesce(head_seq, 0),
             coalesce((SELECT max(c.seq) FROM commits c WHERE c.branch = branches.id), base_seq, 0)
         FROM branches WHERE name = $1 AND dropped_at IS NULL",
    )
    .bind(name.as_str())
    .fetch_optional(sql)
    .await?;
    let (id, head, newest) = found.ok_or_else(|| no_such_branch(name))?;
    if head != newest {
        let what = format!("the newest commit of branch {name} ({newest} in the log)");
        return Err(corrupt(&what, &head.to_string()).into());
    }
    Ok((id, head))
}

fn no_such_commit(id: CommitId) -> Error {
    Error::not_found("no_such_commit", format!("commit {id} not found"))
        .with_hint("run `forebay sql 'SELECT * FROM lake.commits'` to list the commits")
}

/// The newest change of a table in a state. A tombstone is one: the base may still have the table.
async fn newest_change(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    table: &TableName,
) -> Result<Option<TableChange>, Stop> {
    for level in lineage {
        let found: Option<(String, Option<String>, i64, Option<i64>)> = query(
            "SELECT table_uuid, metadata_location, seq, checksum FROM changes
             WHERE branch = $1 AND namespace = $2 AND name = $3 AND seq <= $4
             ORDER BY seq DESC LIMIT 1",
        )
        .bind(level.branch)
        .bind(table.namespace.as_str())
        .bind(table.name.as_str())
        .bind(level.upto)
        .fetch_optional(sql)
        .await?;
        if let Some((uuid, location, seq, checksum)) = found {
            let row = HeadRow {
                branch: level.branch,
                namespace: table.namespace.as_str(),
                name: table.name.as_str(),
                uuid: &uuid,
                location: location.as_deref(),
                seq,
            };
            row.check(checksum)?;
            return Ok(Some(TableChange {
                uuid,
                location,
                seq,
            }));
        }
    }
    Ok(None)
}

struct TableChange {
    uuid: String,
    /// `None`: the table was dropped.
    location: Option<String>,
    seq: i64,
}

/// UUID and metadata location of one table.
pub(crate) async fn place(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    table: &TableName,
) -> Result<Option<(Uuid, String)>, Stop> {
    let change = newest_change(sql, lineage, table).await?;
    let place = change.and_then(|change| Some((change.uuid, change.location?)));
    Ok(place
        .map(|(uuid, location)| Ok::<_, Error>((parse("a table UUID", &uuid)?, location)))
        .transpose()?)
}

/// Whether the newest change of a table has dropped it, after a commit.
pub(crate) async fn is_dropped_since(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    table: &TableName,
    since: CommitId,
) -> Result<bool, Stop> {
    let since: Option<(i64,)> = query("SELECT seq FROM commits WHERE id = $1")
        .bind(since.to_string())
        .fetch_optional(sql)
        .await?;
    // A commit that is not kept is older than any change that is.
    let since = since.map_or(0, |(seq,)| seq);
    let change = newest_change(sql, lineage, table).await?;
    Ok(change.is_some_and(|change| change.location.is_none() && change.seq > since))
}

pub(crate) async fn heads(sql: &mut Sql<'_>, lineage: &[Level]) -> Result<Vec<Head>, Stop> {
    let mut tables: BTreeMap<TableName, Option<Head>> = BTreeMap::new();
    for level in lineage {
        for listed in level_heads(sql, *level).await? {
            if let Some((table, head)) = listed.read(*level)? {
                tables.entry(table).or_insert(head);
            }
        }
    }
    Ok(tables.into_values().flatten().collect())
}

/// The state of a table on one branch.
#[derive(sqlx::FromRow)]
struct LevelHead {
    namespace: String,
    name: String,
    table_uuid: String,
    metadata_location: Option<String>,
    seq: i64,
    checksum: Option<i64>,
}

/// Rows of `heads`, with their rows in the log.
pub(crate) struct ListedHead {
    head_seq: i64,
    /// `None`: the log has no entry up to the state that is read.
    seq: Option<i64>,
    head: LevelHead,
}

#[derive(sqlx::FromRow)]
pub(crate) struct ListedHeadRow {
    namespace: String,
    name: String,
    head_seq: i64,
    table_uuid: String,
    metadata_location: Option<String>,
    seq: Option<i64>,
    checksum: Option<i64>,
}

impl ListedHeadRow {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl ListedHead {
    /// The table, and its state unless it was dropped; `None` when it was created later.
    pub(crate) fn read(self, level: Level) -> Result<Option<(TableName, Option<Head>)>, Stop> {
        let Self {
            head_seq,
            seq,
            head,
        } = self;
        if seq.is_none() {
            // It was created later, or the log has lost it.
            if head_seq <= level.upto {
                let table = format!("{}.{}", head.namespace, head.name);
                return Err(corrupt("the log of a table", &table).into());
            }
            return Ok(None);
        }
        head.row(level.branch).check(head.checksum)?;
        let table = TableName::new(
            parse("a namespace", &head.namespace)?,
            parse("a table name", &head.name)?,
        );
        let uuid = parse("a table UUID", &head.table_uuid)?;
        let head = head.metadata_location.map(|metadata_location| Head {
            table: table.clone(),
            uuid,
            metadata_location,
        });
        Ok(Some((table, head)))
    }
}

impl From<ListedHeadRow> for ListedHead {
    fn from(row: ListedHeadRow) -> Self {
        Self {
            head_seq: row.head_seq,
            seq: row.seq,
            head: LevelHead {
                namespace: row.namespace,
                name: row.name,
                table_uuid: row.table_uuid,
                metadata_location: row.metadata_location,
                seq: row.seq.unwrap_or_default(),
                checksum: row.checksum,
            },
        }
    }
}

impl LevelHead {
    fn row(&self, branch: i64) -> HeadRow<'_> {
        HeadRow {
            branch,
            namespace: &self.namespace,
            name: &self.name,
            uuid: &self.table_uuid,
            location: self.metadata_location.as_deref(),
            seq: self.seq,
        }
    }
}

/// Every table with an entry on one branch. `heads` lists the names
/// and knows the newest change of each; only for older states is the log searched.
async fn level_heads(sql: &mut Sql<'_>, level: Level) -> Result<Vec<ListedHead>, sqlx::Error> {
    let rows: Vec<ListedHeadRow> = query(LEVEL_HEADS)
        .bind(level.branch)
        .bind(level.upto)
        .fetch_all(sql)
        .await?;
    Ok(rows.into_iter().map(ListedHead::from).collect())
}

/// LEFT JOIN: SQLite must go from the few heads to the many changes, not the other way, and a head without a change is damage.
macro_rules! level_heads_where {
    ($condition:literal) => {
        concat!(
            "SELECT h.namespace, h.name, h.seq AS head_seq, coalesce(c.table_uuid, '') AS table_uuid,
         c.metadata_location, c.seq, c.checksum
     FROM heads h LEFT JOIN changes c
     ON c.branch = h.branch AND c.namespace = h.namespace AND c.name = h.name
         AND c.seq = CASE WHEN h.seq <= $2 THEN h.seq ELSE (
             SELECT max(o.seq) FROM changes o
             WHERE o.branch = h.branch AND o.namespace = h.namespace AND o.name = h.name AND o.seq <= $2) END
     WHERE h.branch = $1",
            $condition
        )
    };
}
pub(super) use level_heads_where;

pub(crate) const LEVEL_HEADS: &str = level_heads_where!("");

#[derive(sqlx::FromRow)]
struct CommitRow {
    seq: i64,
    id: String,
    parent: Option<String>,
    branch_id: i64,
    branch: String,
    at: i64,
    author: String,
    message: String,
    run: Option<String>,
}

impl CommitRow {
    fn record(self, changes: Vec<(TableName, Uuid, Change)>) -> Result<CommitRecord> {
        Ok(CommitRecord {
            id: parse("a commit id", &self.id)?,
            parent: self
                .parent
                .map(|id| parse("a commit id", &id))
                .transpose()?,
            branch: parse("a branch name", &self.branch)?,
            at: Timestamp(self.at),
            author: self.author,
            message: self.message,
            run: self.run.map(|id| parse("a run id", &id)).transpose()?,
            changes,
        })
    }
}

/// The columns of a [`CommitRow`]; a condition follows.
macro_rules! commits {
    ($condition:literal) => {
        concat!(
            "SELECT c.seq, c.id, p.id AS parent, c.branch AS branch_id, b.name AS branch, c.at, c.author, c.message, c.run
             FROM commits c JOIN branches b ON b.id = c.branch LEFT JOIN commits p ON p.seq = c.parent ",
            $condition
        )
    };
}

pub(crate) async fn find(sql: &mut Sql<'_>, id: CommitId) -> Result<Option<CommitRecord>, Stop> {
    let row: Option<CommitRow> = query(commits!("WHERE c.id = $1"))
        .bind(id.to_string())
        .fetch_optional(sql)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(with_changes(sql, vec![row]).await?.pop())
}

pub(crate) async fn log(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    limit: u32,
) -> Result<Vec<CommitRecord>, Stop> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut records = Vec::new();
    for level in lineage {
        let rows: Vec<CommitRow> = query(commits!(
            "WHERE c.branch = $1 AND c.seq <= $2 ORDER BY c.seq DESC LIMIT $3"
        ))
        .bind(level.branch)
        .bind(level.upto)
        .bind(i64::try_from(limit - records.len()).unwrap_or(i64::MAX))
        .fetch_all(sql)
        .await?;
        records.extend(with_changes(sql, rows).await?);
    }
    Ok(records)
}

/// Adds the changes of each commit, in the order of table names; the rows are of one branch, newest first.
async fn with_changes(sql: &mut Sql<'_>, rows: Vec<CommitRow>) -> Result<Vec<CommitRecord>, Stop> {
    let (Some(newest), Some(oldest)) = (rows.first(), rows.last()) else {
        return Ok(Vec::new());
    };
    let changes: Vec<LevelHead> = query(
        "SELECT seq, namespace, name, table_uuid, metadata_location, checksum FROM changes
         WHERE branch = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq, namespace, name",
    )
    .bind(newest.branch_id)
    .bind(oldest.seq)
    .bind(newest.seq)
    .fetch_all(sql)
    .await?;
    let mut by_commit: BTreeMap<i64, Vec<(TableName, Uuid, Change)>> = BTreeMap::new();
    let branch = newest.branch_id;
    for change in changes {
        change.row(branch).check(change.checksum)?;
        let LevelHead {
            namespace,
            name,
            table_uuid: uuid,
            metadata_location: location,
            seq,
            ..
        } = change;
        let table = TableName::new(
            parse("a namespace", &namespace)?,
            parse("a table name", &name)?,
        );
        let change = location.map_or(Change::Drop, Change::Set);
        by_commit
            .entry(seq)
            .or_default()
            .push((table, parse("a table UUID", &uuid)?, change));
    }
    let records = rows.into_iter().map(|row| {
        let changes = by_commit.remove(&row.seq).unwrap_or_default();
        row.record(changes)
    });
    Ok(records.collect::<Result<_>>()?)
}

/// The time of the newest commit of all branches.
pub(crate) async fn newest_time(sql: &mut Sql<'_>) -> Result<Option<Timestamp>, Stop> {
    let newest: Option<(Option<i64>,)> = query("SELECT max(at) FROM commits")
        .fetch_optional(sql)
        .await?;
    Ok(newest.and_then(|(at,)| at).map(Timestamp))
}
