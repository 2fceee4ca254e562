//! Which rows of the log the kept states need.
//!
//! A row is the location of a table (or the position of a writer) from its commit to the next row of the same table
//! (or writer). It is needed while a state that it is part of is kept: one from the horizon on, or the base of a branch.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use forebay_core::{Error, Result, TableName, Timestamp};
use uuid::Uuid;

use super::checksum::HeadRow;
use super::error::{Stop, parse};
use super::log::Level;
use super::operation::Operation;
use crate::AsOf;
use crate::database::{Sql, query};
use crate::horizon::{Horizon, Place, PlaceCursor, Places};

/// Rows of the log that are checked together.
pub(crate) const PAGE_ROWS: usize = 2_000;

/// The horizon, when there is one.
pub(crate) async fn current(sql: &mut Sql<'_>) -> Result<Option<Horizon>, sqlx::Error> {
    let row: Option<(i64, i64)> = query("SELECT at, seq FROM horizon WHERE id = 1")
        .fetch_optional(sql)
        .await?;
    Ok(row.map(|(at, seq)| Horizon {
        at: Timestamp(at),
        seq,
    }))
}

/// The horizon as it would be were nothing kept from before an instant; it never goes back.
pub(crate) async fn at(sql: &mut Sql<'_>, before: Timestamp) -> Result<Horizon, sqlx::Error> {
    if let Some(current) = current(sql).await?
        && current.at >= before
    {
        return Ok(current);
    }
    let newest: Option<(i64,)> =
        query("SELECT seq FROM commits WHERE at <= $1 ORDER BY at DESC LIMIT 1")
            .bind(before.micros())
            .fetch_optional(sql)
            .await?;
    Ok(Horizon {
        at: before,
        seq: newest.map_or(0, |(seq,)| seq),
    })
}

/// Moves the horizon.
pub(crate) struct Expire(pub(crate) Timestamp);

#[async_trait]
impl Operation for Expire {
    type Answer = Horizon;

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<Horizon, Stop> {
        let horizon = at(sql, self.0).await?;
        query(
            "INSERT INTO horizon (id, at, seq) VALUES (1, $1, $2)
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, seq = excluded.seq",
        )
        .bind(horizon.at.micros())
        .bind(horizon.seq)
        .execute(sql)
        .await?;
        Ok(horizon)
    }
}

/// Whether a state is still promised. Asked *after* the state was read: rows go only once the horizon has passed them,
/// so a state that is kept now was whole all the while.
///
/// Errors: `NotFound` `expired`.
pub(crate) async fn check(sql: &mut Sql<'_>, as_of: &AsOf) -> Result<(), Stop> {
    if matches!(as_of, AsOf::Head(_)) {
        return Ok(());
    }
    let Some(horizon) = current(sql).await? else {
        return Ok(());
    };
    match as_of {
        AsOf::Time(_, instant) if *instant < horizon.at => Err(expired(instant, horizon)),
        AsOf::Commit(id) if !commit_is_kept(sql, &id.to_string(), horizon).await? => {
            Err(expired(id, horizon))
        }
        _ => Ok(()),
    }
}

fn expired(what: impl std::fmt::Display, horizon: Horizon) -> Stop {
    let message = format!(
        "the lake as of {what} has expired: states are kept from {} on",
        horizon.at
    );
    Error::not_found("expired", message)
        .with_hint(
            "set `keep` of `[lake]` in forebay.toml to keep states longer; a branch keeps its base",
        )
        .into()
}

/// It is younger, or the newest of its branch at the horizon, or a branch is based on it.
async fn commit_is_kept(
    sql: &mut Sql<'_>,
    id: &str,
    horizon: Horizon,
) -> Result<bool, sqlx::Error> {
    let row: Option<(i64, i64, Option<i64>, Option<i64>)> = query(
        "SELECT c.seq, (SELECT count(*) FROM branches x WHERE x.base = c.branch AND x.base_seq = c.seq AND x.dropped_at IS NULL),
             (SELECT b.dropped_at FROM branches b WHERE b.id = c.branch AND b.dropped_at < $2),
             (SELECT min(n.seq) FROM commits n WHERE n.branch = c.branch AND n.seq > c.seq AND n.seq <= $3)
         FROM commits c WHERE c.id = $1",
    )
    .bind(id)
    .bind(horizon.at.micros())
    .bind(horizon.seq)
    .fetch_optional(sql)
    .await?;
    Ok(row.is_some_and(|(seq, based, dropped, later)| {
        based > 0 || dropped.is_none() && (seq > horizon.seq || later.is_none())
    }))
}

/// A branch, its base, and when it was dropped.
type Present = (i64, Option<i64>, Option<i64>, Option<i64>);

/// The states that are kept.
#[derive(Debug)]
pub(crate) struct Kept {
    horizon: i64,
    /// Branches whose states are kept, and the bases of other kept branches.
    pins: BTreeMap<i64, Vec<i64>>,
    /// Branches that are there.
    live: HashSet<i64>,
}

impl Kept {
    pub(crate) async fn read(sql: &mut Sql<'_>, horizon: Horizon) -> Result<Self, sqlx::Error> {
        // A branch that was dropped since, or that one of the others is based on, is still read.
        let rows: Vec<Present> = query(
            "WITH RECURSIVE present (id) AS (
                 SELECT id FROM branches WHERE dropped_at IS NULL OR dropped_at >= $1
                 UNION
                 SELECT b.base FROM present p JOIN branches b ON b.id = p.id WHERE b.base IS NOT NULL)
             SELECT b.id, b.base, b.base_seq, b.dropped_at FROM present p JOIN branches b ON b.id = p.id",
        )
        .bind(horizon.at.micros())
        .fetch_all(sql)
        .await?;
        let mut kept = Self {
            horizon: horizon.seq,
            pins: rows.iter().map(|(id, ..)| (*id, Vec::new())).collect(),
            live: HashSet::new(),
        };
        for (id, base, base_seq, dropped_at) in rows {
            if let (Some(pins), Some(seq)) = (base.and_then(|id| kept.pins.get_mut(&id)), base_seq)
            {
                pins.push(seq);
            }
            if dropped_at.is_none() {
                kept.live.insert(id);
            }
        }
        kept.pin_merged(sql).await?;
        Ok(kept)
    }

    /// The states that a branch which is there took over last: the next merge starts from them.
    async fn pin_merged(&mut self, sql: &mut Sql<'_>) -> Result<(), sqlx::Error> {
        let merged: Vec<(i64, i64)> = query(
            "SELECT m.source, max(m.upto) FROM merges m JOIN branches b ON b.id = m.branch
             WHERE b.dropped_at IS NULL GROUP BY m.branch, m.source",
        )
        .fetch_all(sql)
        .await?;
        for (source, upto) in merged {
            if let Some(pins) = self.pins.get_mut(&source) {
                pins.push(upto);
            }
        }
        Ok(())
    }

    /// Whether every row of a state is kept; some are of which this is not said.
    pub(crate) fn has_state(&self, state: Level) -> bool {
        let pins = self.pins.get(&state.branch);
        pins.is_some_and(|pins| state.upto >= self.horizon || pins.contains(&state.upto))
    }

    pub(crate) fn has_branch(&self, branch: i64) -> bool {
        self.pins.contains_key(&branch)
    }

    /// Whether the row of commit `seq` is needed, after which the next about the same is of commit `next`.
    pub(crate) fn needs(&self, branch: i64, seq: i64, next: Option<i64>) -> bool {
        let Some(pins) = self.pins.get(&branch) else {
            return false;
        };
        let Some(next) = next else { return true };
        next > self.horizon || pins.iter().any(|pin| (seq..next).contains(pin))
    }
}

#[derive(Debug, sqlx::FromRow)]
struct PlaceRow {
    branch: i64,
    namespace: String,
    name: String,
    seq: i64,
    table_uuid: String,
    metadata_location: Option<String>,
    checksum: Option<i64>,
    commit_id: Option<String>,
}

/// Where tables were in kept states, from a row on.
pub(crate) async fn places(
    sql: &mut Sql<'_>,
    kept: &Kept,
    from: &PlaceCursor,
) -> Result<Places, Stop> {
    let rows: Vec<PlaceRow> = query(
        "SELECT c.branch, c.namespace, c.name, c.seq, c.table_uuid, c.metadata_location, c.checksum, m.id AS commit_id
         FROM changes c LEFT JOIN commits m ON m.seq = c.seq
         WHERE (c.branch, c.namespace, c.name, c.seq) >= ($1, $2, $3, $4)
         ORDER BY c.branch, c.namespace, c.name, c.seq LIMIT $5",
    )
    .bind(from.branch)
    .bind(from.names.0.as_str())
    .bind(from.names.1.as_str())
    .bind(from.seq)
    .bind(PAGE_ROWS as i64 + 1)
    .fetch_all(sql)
    .await?;
    let mut found = Places::default();
    for (at, row) in rows.iter().enumerate().take(PAGE_ROWS) {
        let next = rows.get(at + 1).filter(|next| same(row, next));
        let next = next.map(|next| next.seq);
        if let Some(place) = place(row, next, kept)? {
            found.places.push(place);
        }
    }
    found.next = rows.get(PAGE_ROWS).map(|row| PlaceCursor {
        branch: row.branch,
        names: (row.namespace.clone(), row.name.clone()),
        seq: row.seq,
    });
    Ok(found)
}

fn same(a: &PlaceRow, b: &PlaceRow) -> bool {
    (a.branch, &a.namespace, &a.name) == (b.branch, &b.namespace, &b.name)
}

fn place(row: &PlaceRow, next: Option<i64>, kept: &Kept) -> Result<Option<Place>> {
    let head = HeadRow {
        branch: row.branch,
        namespace: &row.namespace,
        name: &row.name,
        uuid: &row.table_uuid,
        location: row.metadata_location.as_deref(),
        seq: row.seq,
    };
    head.check(row.checksum)?;
    let Some(location) = &row.metadata_location else {
        return Ok(None);
    };
    if !kept.needs(row.branch, row.seq, next) {
        return Ok(None);
    }
    let id = row.commit_id.as_deref();
    Ok(Some(Place {
        table: TableName::new(
            parse("a namespace", &row.namespace)?,
            parse("a table name", &row.name)?,
        ),
        uuid: parse("a table UUID", &row.table_uuid)?,
        metadata_location: location.clone(),
        commit: id.map(|id| parse("a commit id", id)).transpose()?,
        is_head: next.is_none() && kept.live.contains(&row.branch),
    }))
}

pub(crate) async fn tables_ever(sql: &mut Sql<'_>) -> Result<Vec<(Uuid, TableName)>, Stop> {
    let rows: Vec<(String, String, String)> = query(
        "SELECT table_uuid, namespace, name FROM changes UNION SELECT table_uuid, namespace, name FROM heads",
    )
    .fetch_all(sql)
    .await?;
    let table = |(uuid, namespace, name): (String, String, String)| {
        let name = TableName::new(
            parse("a namespace", &namespace)?,
            parse("a table name", &name)?,
        );
        Ok((parse("a table UUID", &uuid)?, name))
    };
    Ok(rows.into_iter().map(table).collect::<Result<_>>()?)
}
