//! Verifies the catalog: its pages, its log, the state that the log adds up to, and the checksum of each row.

use crate::database::{Sql, query};

use super::checksum::{HeadRow, PositionRow};

/// Findings of one kind that are listed.
const FINDINGS_MAX: i64 = 20;
/// Rows read at once.
const PAGE_ROWS: i64 = 2_000;

/// Checks that must find nothing: the meaning of a finding, and the statement, which returns one text per row.
const RULES: [(&str, &str); 8] = [
    (
        "a commit does not follow its parent",
        "SELECT c.id FROM commits c WHERE c.parent >= c.seq LIMIT $1",
    ),
    (
        "a commit is not later than the one before",
        "SELECT c.id FROM commits c WHERE c.at <= (SELECT p.at FROM commits p WHERE p.seq = c.parent) LIMIT $1",
    ),
    (
        "the head of a branch is not its newest commit",
        "SELECT b.name FROM branches b WHERE b.dropped_at IS NULL AND coalesce(b.head_seq, 0) <>
             coalesce((SELECT max(c.seq) FROM commits c WHERE c.branch = b.id), b.base_seq, 0) LIMIT $1",
    ),
    (
        "a table's head differs from the log",
        "SELECT h.namespace || '.' || h.name FROM heads h LEFT JOIN changes c
             ON c.branch = h.branch AND c.namespace = h.namespace AND c.name = h.name AND c.seq = h.seq
         WHERE c.seq IS NULL OR c.table_uuid <> h.table_uuid
             OR coalesce(c.metadata_location, '') <> coalesce(h.metadata_location, '')
             OR EXISTS (SELECT 1 FROM changes n WHERE n.branch = h.branch AND n.namespace = h.namespace
                 AND n.name = h.name AND n.seq > h.seq) LIMIT $1",
    ),
    // Once rows of the log have been deleted, the one before may be another.
    (
        "a table's head does not name the previous location in the log",
        "SELECT h.namespace || '.' || h.name FROM heads h JOIN changes c
             ON c.branch = h.branch AND c.namespace = h.namespace AND c.name = h.name AND c.seq = (
                 SELECT max(o.seq) FROM changes o WHERE o.branch = h.branch AND o.namespace = h.namespace
                     AND o.name = h.name AND o.seq < h.seq)
         WHERE NOT EXISTS (SELECT 1 FROM horizon)
             AND coalesce(c.metadata_location, '') <> coalesce(h.previous_metadata_location, '') LIMIT $1",
    ),
    (
        "a table of the log has no head",
        "SELECT DISTINCT c.namespace || '.' || c.name FROM changes c JOIN branches b ON b.id = c.branch
         WHERE b.dropped_at IS NULL AND NOT EXISTS (SELECT 1 FROM heads h
             WHERE h.branch = c.branch AND h.namespace = c.namespace AND h.name = c.name) LIMIT $1",
    ),
    (
        "a position differs from the log",
        "SELECT p.pipeline || '/' || p.split FROM positions p LEFT JOIN moves m
             ON m.branch = p.branch AND m.pipeline = p.pipeline AND m.split = p.split AND m.seq = p.seq
         WHERE p.seq IS NOT NULL AND (m.seq IS NULL OR m.sequence <> p.sequence
             OR coalesce(m.position, '') <> coalesce(p.position, ''))
             OR EXISTS (SELECT 1 FROM moves n WHERE n.branch = p.branch AND n.pipeline = p.pipeline
                 AND n.split = p.split AND n.seq > coalesce(p.seq, 0)) LIMIT $1",
    ),
    (
        "a split of the log has no position (the next run takes it from the log)",
        "SELECT DISTINCT m.pipeline || '/' || m.split FROM moves m JOIN branches b ON b.id = m.branch
         WHERE b.dropped_at IS NULL AND NOT EXISTS (SELECT 1 FROM positions p
             WHERE p.branch = m.branch AND p.pipeline = m.pipeline AND p.split = m.split) LIMIT $1",
    ),
];

/// Everything that is wrong, in words; nothing is changed.
pub(crate) async fn findings(sql: &mut Sql<'_>) -> Result<Vec<String>, sqlx::Error> {
    let mut found = Vec::new();
    if matches!(sql, Sql::Sqlite(_)) {
        let checked: Vec<(String,)> = query("PRAGMA integrity_check(20)").fetch_all(sql).await?;
        let wrong = checked.into_iter().filter(|(line,)| line != "ok");
        found.extend(wrong.map(|(line,)| format!("a page of the file is damaged: {line}")));
    }
    for (meaning, statement) in RULES {
        let rows: Vec<(String,)> = query(statement).bind(FINDINGS_MAX).fetch_all(sql).await?;
        found.extend(rows.into_iter().map(|(what,)| format!("{meaning}: {what}")));
    }
    check_heads(sql, &mut found).await?;
    check_positions(sql, &mut found).await?;
    Ok(found)
}

#[derive(sqlx::FromRow)]
struct StoredHead {
    branch: i64,
    namespace: String,
    name: String,
    seq: i64,
    table_uuid: String,
    metadata_location: Option<String>,
    checksum: Option<i64>,
}

async fn check_heads(sql: &mut Sql<'_>, found: &mut Vec<String>) -> Result<(), sqlx::Error> {
    for statement in [
        "SELECT branch, namespace, name, seq, table_uuid, metadata_location, checksum FROM heads
         WHERE (branch, namespace, name, seq) > ($1, $2, $3, $4) ORDER BY branch, namespace, name, seq LIMIT $5",
        "SELECT branch, namespace, name, seq, table_uuid, metadata_location, checksum FROM changes
         WHERE (branch, namespace, name, seq) > ($1, $2, $3, $4) ORDER BY branch, namespace, name, seq LIMIT $5",
    ] {
        let mut after = (0, String::new(), String::new(), 0);
        loop {
            let rows: Vec<StoredHead> = query(statement)
                .bind(after.0)
                .bind(after.1.as_str())
                .bind(after.2.as_str())
                .bind(after.3)
                .bind(PAGE_ROWS)
                .fetch_all(sql)
                .await?;
            for row in &rows {
                let head = HeadRow {
                    branch: row.branch,
                    namespace: &row.namespace,
                    name: &row.name,
                    uuid: &row.table_uuid,
                    location: row.metadata_location.as_deref(),
                    seq: row.seq,
                };
                found.extend(head.check(row.checksum).err().map(|error| error.to_string()));
            }
            match rows.into_iter().last() {
                Some(last) => after = (last.branch, last.namespace, last.name, last.seq),
                None => break,
            }
        }
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct StoredMove {
    branch: i64,
    pipeline: String,
    split: String,
    epoch: i64,
    sequence: i64,
    position: Option<String>,
    seq: Option<i64>,
    checksum: Option<i64>,
}

async fn check_positions(sql: &mut Sql<'_>, found: &mut Vec<String>) -> Result<(), sqlx::Error> {
    for statement in [
        "SELECT branch, pipeline, split, epoch, sequence, position, seq, checksum FROM positions
         WHERE (branch, pipeline, split, coalesce(seq, 0)) > ($1, $2, $3, $4)
         ORDER BY branch, pipeline, split, coalesce(seq, 0) LIMIT $5",
        "SELECT branch, pipeline, split, epoch, sequence, position, seq, checksum FROM moves
         WHERE (branch, pipeline, split, seq) > ($1, $2, $3, $4) ORDER BY branch, pipeline, split, seq LIMIT $5",
    ] {
        let mut after = (0, String::new(), String::new(), 0);
        loop {
            let rows: Vec<StoredMove> = query(statement)
                .bind(after.0)
                .bind(after.1.as_str())
                .bind(after.2.as_str())
                .bind(after.3)
                .bind(PAGE_ROWS)
                .fetch_all(sql)
                .await?;
            for row in &rows {
                let position = PositionRow {
                    branch: row.branch,
                    pipeline: &row.pipeline,
                    split: &row.split,
                    epoch: row.epoch,
                    sequence: row.sequence,
                    position: row.position.as_deref(),
                    seq: row.seq,
                };
                found.extend(position.check(row.checksum).err().map(|error| error.to_string()));
            }
            match rows.into_iter().last() {
                Some(last) => {
                    after = (last.branch, last.pipeline, last.split, last.seq.unwrap_or(0));
                }
                None => break,
            }
        }
    }
    Ok(())
}
