//! Replace: a run's rows are collected in a table of their own; at its end they replace the existing ones.
//!
//! The replacement is DELETE and INSERT in one transaction, because that is the only way in which no reader ever sees less:
//! a table that is truncated or renamed looks empty to a transaction that started before.

use std::collections::BTreeSet;

use forebay_core::{Error, Result};

use super::check_name;
use super::table::{Table, list, quoted};
use crate::postgres::client::Connection;
use crate::postgres::error::failed;

/// Suffix of the name of the collecting table.
const SUFFIX: &str = "__forebay_new";

/// The table that collects rows.
#[derive(Debug, Clone)]
pub(super) struct Shadow {
    pub(super) schema: String,
    pub(super) name: String,
    /// Columns of the rows.
    pub(super) columns: BTreeSet<String>,
}

impl Shadow {
    /// Drops the leftovers of an interrupted run.
    ///
    /// Errors: `Config` when a table of this name was not made by a pipeline.
    pub(super) async fn start(connection: &Connection, schema: &str, table: &str) -> Result<Self> {
        let name = format!("{table}{SUFFIX}");
        check_name(&name)?;
        let shadow = Self {
            schema: schema.to_owned(),
            name,
            columns: BTreeSet::new(),
        };
        if let Some(left) = Table::read(connection, schema, &shadow.name).await? {
            if !left.is_ours() && !is_unmarked_rest(connection, &left).await? {
                let message = format!(
                    "{schema}.{} exists, but was not made by a pipeline",
                    shadow.name
                );
                return Err(Error::config("name_taken", message).with_hint(
                    "rename or drop that table: `mode: replace` collects its rows under this name",
                ));
            }
            let drop = format!("DROP TABLE {}", left.full());
            connection
                .batch("drop the rows of an unfinished run", &drop)
                .await?;
        }
        Ok(shadow)
    }

    /// Copies the target's definition, with its checks and unique indexes: statements that are one transaction, so that a
    /// table without the mark is never left behind.
    pub(super) fn create(&self, target: &Table) -> String {
        let full = self.full();
        let mark = Table::comment(&full, "to take the place of the table without the suffix");
        let target = target.full();
        format!("CREATE TABLE {full} (LIKE {target} INCLUDING ALL); {mark}")
    }

    pub(super) fn full(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The statements that replace the target's rows by its rows, if there are any.
    pub(super) fn switch(&self, target: &Table, is_there: bool) -> Vec<String> {
        let target = target.full();
        let mut statements = vec![
            // Readers continue; writers wait.
            format!("LOCK TABLE {target} IN SHARE ROW EXCLUSIVE MODE"),
            format!("DELETE FROM {target}"),
        ];
        if is_there {
            let columns: Vec<&String> = self.columns.iter().collect();
            let columns = list(&columns);
            statements.push(format!(
                "INSERT INTO {target} ({columns}) SELECT {columns} FROM {}",
                self.full()
            ));
            statements.push(format!("DROP TABLE {}", self.full()));
        }
        statements
    }
}

/// Whether a table without a mark is a leftover of version 0.1.0, killed before it could set the mark: then it has no rows
/// yet.
async fn is_unmarked_rest(connection: &Connection, left: &Table) -> Result<bool> {
    if left.has_comment() {
        return Ok(false);
    }
    let text = format!("SELECT NOT EXISTS (SELECT 1 FROM {})", left.full());
    let found = connection.client.query_one(&text, &[]).await;
    let found = found.map_err(|error| failed("look for rows of an unfinished run", error))?;
    Ok(found.get(0))
}
