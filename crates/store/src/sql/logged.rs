//! Positions that name objects of the storage: those of the log, and the current ones of splits.

use forebay_core::Position;

use super::error::{Stop, corrupt};
use super::horizon::Kept;
use crate::database::{Sql, query};
use crate::horizon::{LoggedPosition, LoggedPositions, PlaceCursor};

/// Rows of the log that are checked together. A position may have [`Position::BYTES_MAX`].
const PAGE_ROWS: usize = 200;

#[derive(sqlx::FromRow)]
struct MoveRow {
    branch: i64,
    pipeline: String,
    split: String,
    seq: i64,
    position: Option<String>,
}

/// Positions of the log, from a row on.
pub(crate) async fn moves(
    sql: &mut Sql<'_>,
    kept: &Kept,
    from: &PlaceCursor,
) -> Result<LoggedPositions, Stop> {
    let rows: Vec<MoveRow> = query(
        "SELECT branch, pipeline, split, seq, CASE WHEN position LIKE '%\"objects\":%' THEN position END AS position
         FROM moves WHERE (branch, pipeline, split, seq) >= ($1, $2, $3, $4)
         ORDER BY branch, pipeline, split, seq LIMIT $5",
    )
    .bind(from.branch)
    .bind(from.names.0.as_str())
    .bind(from.names.1.as_str())
    .bind(from.seq)
    .bind(PAGE_ROWS as i64 + 1)
    .fetch_all(sql)
    .await?;
    let mut found = LoggedPositions::default();
    for (at, row) in rows.iter().enumerate().take(PAGE_ROWS) {
        let next = rows.get(at + 1).filter(|next| is_same_split(row, next));
        let Some(text) = &row.position else { continue };
        found.positions.push(LoggedPosition {
            position: read(text)?,
            is_needed: kept.needs(row.branch, row.seq, next.map(|next| next.seq)),
        });
    }
    found.next = rows.get(PAGE_ROWS).map(|row| PlaceCursor {
        branch: row.branch,
        names: (row.pipeline.clone(), row.split.clone()),
        seq: row.seq,
    });
    Ok(found)
}

/// Current positions of splits. A branch on which a split was only taken has the position of its base here.
pub(crate) async fn current(sql: &mut Sql<'_>, kept: &Kept) -> Result<Vec<LoggedPosition>, Stop> {
    let rows: Vec<(i64, String)> = query(
        "SELECT branch, position FROM positions WHERE position LIKE '%\"objects\":%' ORDER BY branch, pipeline, split",
    )
    .fetch_all(sql)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for (branch, text) in rows {
        found.push(LoggedPosition {
            position: read(&text)?,
            is_needed: kept.has_branch(branch),
        });
    }
    Ok(found)
}

fn is_same_split(a: &MoveRow, b: &MoveRow) -> bool {
    (a.branch, &a.pipeline, &a.split) == (b.branch, &b.pipeline, &b.split)
}

fn read(text: &str) -> Result<Position, Stop> {
    let value = serde_json::from_str(text);
    Ok(value
        .map(Position)
        .map_err(|_| corrupt("a position", text))?)
}
