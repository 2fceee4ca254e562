//! The tables of one namespace, and the namespaces that have tables: what they cost depends on what they give, not on the number of
//! all tables.

use std::collections::BTreeMap;

use forebay_core::{Ident, Result};

use super::error::{Stop, parse};
use super::log::{Level, ListedHead, ListedHeadRow, level_heads_where};
use crate::Head;
use crate::database::{Sql, query};

/// Names that are read at once.
const PAGE_NAMES: i64 = 256;

/// A part of one namespace.
pub(crate) const NAMESPACE_PAGE: &str =
    level_heads_where!(" AND h.namespace = $3 AND h.name > $4 ORDER BY h.name LIMIT $5");

/// The tables of a namespace whose names are after `after`, by name, `limit` at most.
pub(crate) async fn tables_in(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    namespace: &Ident,
    after: &str,
    limit: usize,
) -> Result<Vec<Head>, Stop> {
    let mut found = Vec::new();
    let mut after = after.to_owned();
    loop {
        let page = page(sql, lineage, namespace, &after).await?;
        let heads = page.names.into_iter();
        let heads = heads.take_while(|(name, _)| page.end.as_ref().is_none_or(|end| name <= end));
        found.extend(heads.filter_map(|(_, head)| head));
        match page.end {
            Some(end) if found.len() < limit => after = end,
            _ => break,
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Names with their tables; `None` for one that was dropped.
struct NamePage {
    names: BTreeMap<String, Option<Head>>,
    /// The last name up to which every level was read; `None`: all were.
    end: Option<String>,
}

async fn page(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    namespace: &Ident,
    after: &str,
) -> Result<NamePage, Stop> {
    let mut names = BTreeMap::new();
    let mut end: Option<String> = None;
    for level in lineage {
        let rows: Vec<ListedHeadRow> = query(NAMESPACE_PAGE)
            .bind(level.branch)
            .bind(level.upto)
            .bind(namespace.as_str())
            .bind(after)
            .bind(PAGE_NAMES)
            .fetch_all(sql)
            .await?;
        let is_full = i64::try_from(rows.len()) == Ok(PAGE_NAMES);
        let last = rows.last().map(|row| row.name().to_owned());
        if let Some(last) = last.filter(|_| is_full) {
            end = Some(end.map_or(last.clone(), |end| end.min(last)));
        }
        for row in rows {
            if let Some((table, head)) = ListedHead::from(row).read(*level)? {
                names.entry(table.name.to_string()).or_insert(head);
            }
        }
    }
    Ok(NamePage { names, end })
}

/// The namespaces that have tables, by name.
pub(crate) async fn namespaces(sql: &mut Sql<'_>, lineage: &[Level]) -> Result<Vec<Ident>, Stop> {
    let mut found = Vec::new();
    let mut after = String::new();
    while let Some(next) = next_namespace(sql, lineage, &after).await? {
        let namespace: Ident = parse("a namespace", &next)?;
        if !tables_in(sql, lineage, &namespace, "", 1).await?.is_empty() {
            found.push(namespace);
        }
        after = next;
    }
    Ok(found)
}

async fn next_namespace(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    after: &str,
) -> Result<Option<String>, Stop> {
    let mut next: Option<String> = None;
    for level in lineage {
        let least: Option<(Option<String>,)> =
            query("SELECT min(namespace) FROM heads WHERE branch = $1 AND namespace > $2")
                .bind(level.branch)
                .bind(after)
                .fetch_optional(sql)
                .await?;
        let least = least.and_then(|(least,)| least);
        next = [next, least].into_iter().flatten().min();
    }
    Ok(next)
}
