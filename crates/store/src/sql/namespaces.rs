//! Namespaces in SQL: a row each.

use std::collections::BTreeMap;

use async_trait::async_trait;
use forebay_core::{Error, Ident, Result, Timestamp};

use super::error::{Stop, parse};
use super::operation::Operation;
use crate::database::{Sql, query};
use crate::{NamespaceRecord, PropertyChange};

/// Errors: `Conflict` `namespace_exists`, `Data` `too_many_namespaces`, `properties_too_long`.
pub(crate) struct CreateNamespace(pub(crate) NamespaceRecord);

#[async_trait]
impl Operation for CreateNamespace {
    type Answer = ();

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<(), Stop> {
        check_count(sql).await?;
        let NamespaceRecord { name, properties } = &self.0;
        let inserted = query(
            "INSERT INTO namespaces (name, properties) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name.as_str())
        .bind(text(properties)?)
        .execute(sql)
        .await?;
        match inserted {
            1 => Ok(()),
            _ => Err(Error::conflict(
                "namespace_exists",
                format!("Namespace already exists: {name}"),
            )
            .into()),
        }
    }
}

/// Its row goes; `false` without one.
pub(crate) struct DropNamespace(pub(crate) Ident);

#[async_trait]
impl Operation for DropNamespace {
    type Answer = bool;

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<bool, Stop> {
        let dropped = query("DELETE FROM namespaces WHERE name = $1")
            .bind(self.0.as_str())
            .execute(sql)
            .await?;
        Ok(dropped == 1)
    }
}

/// Gives the properties from before.
pub(crate) struct ChangeNamespace {
    pub(crate) name: Ident,
    pub(crate) change: PropertyChange,
}

#[async_trait]
impl Operation for ChangeNamespace {
    type Answer = BTreeMap<String, String>;

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<Self::Answer, Stop> {
        let record = find(sql, &self.name).await?;
        if record.is_none() {
            check_count(sql).await?;
        }
        let before = record.map(|record| record.properties).unwrap_or_default();
        let mut after = before.clone();
        for key in &self.change.removals {
            after.remove(key);
        }
        after.extend(self.change.updates.clone());
        query(
            "INSERT INTO namespaces (name, properties) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET properties = excluded.properties",
        )
        .bind(self.name.as_str())
        .bind(text(&after)?)
        .execute(sql)
        .await?;
        Ok(before)
    }
}

async fn check_count(sql: &mut Sql<'_>) -> Result<(), Stop> {
    let count: Option<(i64,)> = query("SELECT count(*) FROM namespaces")
        .fetch_optional(sql)
        .await?;
    let count = count.map_or(0, |(count,)| usize::try_from(count).unwrap_or(usize::MAX));
    if count < NamespaceRecord::COUNT_MAX {
        return Ok(());
    }
    let what = format!("there are {count} namespaces already");
    Err(Error::data("too_many_namespaces", what).into())
}

fn text(properties: &BTreeMap<String, String>) -> Result<String> {
    let text = serde_json::Value::from_iter(properties.clone()).to_string();
    if text.len() <= NamespaceRecord::PROPERTIES_BYTES_MAX {
        return Ok(text);
    }
    let what = format!(
        "the properties of a namespace have more than {} bytes",
        NamespaceRecord::PROPERTIES_BYTES_MAX
    );
    Err(Error::data("properties_too_long", what))
}

fn record((name, properties): (String, String)) -> Result<NamespaceRecord> {
    let read = serde_json::from_str(&properties);
    Ok(NamespaceRecord {
        name: parse("a namespace", &name)?,
        properties: read.map_err(|error| {
            Error::bug(
                "store_corrupt",
                "the properties of a namespace cannot be read",
            )
            .with_source(error)
        })?,
    })
}

pub(crate) async fn find(sql: &mut Sql<'_>, name: &Ident) -> Result<Option<NamespaceRecord>, Stop> {
    let row: Option<(String, String)> =
        query("SELECT name, properties FROM namespaces WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(sql)
            .await?;
    Ok(row.map(record).transpose()?)
}

pub(crate) async fn list(sql: &mut Sql<'_>) -> Result<Vec<NamespaceRecord>, Stop> {
    let rows: Vec<(String, String)> =
        query("SELECT name, properties FROM namespaces ORDER BY name")
            .fetch_all(sql)
            .await?;
    Ok(rows.into_iter().map(record).collect::<Result<_>>()?)
}
