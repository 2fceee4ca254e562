//! Upsert and delete: rows are staged in a temporary table, then one statement merges them into the target.

use forebay_core::{Error, Result};

use super::table::{Place, Table, list, quoted};
use crate::postgres::client::Connection;
use crate::postgres::error::failed;

/// The row number column of a stage.
pub(super) const NUMBER: &str = "_fb_row_number";

/// A temporary table and the statements for its rows.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) name: String,
    /// COPY into it.
    pub(super) copy: String,
    /// Merges the rows into the target when keys are unique, and when they may not be.
    pub(super) merge: String,
    pub(super) merge_last: String,
}

impl Stage {
    /// Creates the table, outside of any savepoint. `n` makes the names of a connection's stages unique.
    pub(super) async fn make(
        connection: &Connection,
        table: &Table,
        places: &[Place],
        delete: bool,
        n: usize,
    ) -> Result<Self> {
        let name = format!("pg_temp.forebay_stage_{n}");
        let columns = names(places);
        let text = format!(
            "CREATE TEMP TABLE {} ON COMMIT DELETE ROWS AS SELECT {}, 0::bigint AS {NUMBER} FROM {} WITH NO DATA",
            name.trim_start_matches("pg_temp."),
            list(&columns),
            table.full()
        );
        connection
            .batch("make a table to stage rows in", &text)
            .await?;
        let mut staged = columns.clone();
        staged.push(NUMBER);
        Ok(Self {
            copy: format!("COPY {name} ({}) FROM STDIN (FORMAT binary)", list(&staged)),
            merge: merge(table, places, delete, &name),
            merge_last: merge(table, places, delete, &last(&name, places)),
            name,
        })
    }
}

fn names(places: &[Place]) -> Vec<&str> {
    places.iter().map(|place| place.name.as_str()).collect()
}

fn keys(places: &[Place]) -> Vec<&str> {
    let keys = places.iter().filter(|place| place.key);
    keys.map(|place| place.name.as_str()).collect()
}

/// The last row of each key.
fn last(stage: &str, places: &[Place]) -> String {
    let key = list(&keys(places));
    format!("(SELECT DISTINCT ON ({key}) * FROM {stage} ORDER BY {key}, {NUMBER} DESC)")
}

fn merge(table: &Table, places: &[Place], delete: bool, rows: &str) -> String {
    let full = table.full();
    if delete {
        let same = keys(places)
            .iter()
            .map(|key| format!("t.{0} = s.{0}", quoted(key)))
            .collect::<Vec<_>>();
        return format!(
            "DELETE FROM {full} t USING {rows} s WHERE {}",
            same.join(" AND ")
        );
    }
    let columns = list(&names(places));
    let key = list(&keys(places));
    let others: Vec<&Place> = places.iter().filter(|place| !place.key).collect();
    let action = if others.is_empty() {
        "DO NOTHING".to_owned()
    } else {
        let set: Vec<String> = others
            .iter()
            .map(|place| format!("{0} = excluded.{0}", quoted(&place.name)))
            .collect();
        let side = |of: &str| {
            let one = |place: &&Place| compared(of, place);
            others.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        // An unchanged row is not written again.
        format!(
            "DO UPDATE SET {} WHERE ROW({}) IS DISTINCT FROM ROW({})",
            set.join(", "),
            side("t"),
            side("excluded")
        )
    };
    format!(
        "INSERT INTO {full} AS t ({columns}) SELECT {columns} FROM {rows} s ON CONFLICT ({key}) {action}"
    )
}

/// A comparable form of a value: some types of Postgres have no equality.
fn compared(of: &str, place: &Place) -> String {
    let name = quoted(&place.name);
    if place.kind.has_equality() {
        format!("{of}.{name}")
    } else {
        format!("{of}.{name}::text")
    }
}

/// Makes sure that the server has a unique index on `key`.
///
/// Errors: `Config` `key_not_unique` when existing rows have duplicate keys.
pub(super) async fn ensure_unique(
    connection: &Connection,
    table: &Table,
    key: &[String],
) -> Result<()> {
    let found = connection
        .client
        .query_one(UNIQUE, &[&table.full(), &key])
        .await
        .map_err(|error| failed("look for an index of the key", error))?;
    if found.get(0) {
        return Ok(());
    }
    let text = format!("ALTER TABLE {} ADD UNIQUE ({})", table.full(), list(key));
    let made = connection.client.batch_execute(&text).await;
    made.map_err(|error| {
        let state = crate::postgres::error::state(&error);
        if state.as_deref() == Some("23505") {
            return Error::config(
                "key_not_unique",
                format!(
                    "{}.{} has rows with duplicate keys",
                    table.schema, table.name
                ),
            )
            .with_hint("delete the duplicate rows, or choose another key");
        }
        failed("make an index of the key", error)
    })
}

const UNIQUE: &str = "\
SELECT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid \
AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND \
(SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, o) \
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE k.o <= i.indnkeyatts) \
= (SELECT array_agg(x ORDER BY x) FROM unnest($2::text[]) x))";
