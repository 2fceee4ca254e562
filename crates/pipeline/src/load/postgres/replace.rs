//! Replace: a run's rows gather in a table of their own; at its end they take the place of what is there.
//!
//! The change is DELETE and INSERT in one transaction, because that is the one way in which no reader ever sees less: a
//! table that is truncated or renamed looks empty to a transaction that began before.

use std::collections::BTreeSet;

use forebay_core::{Error, Result};

use super::check_name;
use super::client::Connection;
use super::error::failed;
use super::table::{Table, list, quoted};

/// What the name of a table ends with that gathers rows.
const SUFFIX: &str = "__forebay_new";

/// The table that gathers rows.
#[derive(Debug, Clone)]
pub(super) struct Shadow {
    pub(super) schema: String,
    pub(super) name: String,
    /// Columns that the rows have brought.
    pub(super) columns: BTreeSet<String>,
}

impl Shadow {
    /// Takes away what a run that was cut off has left.
    ///
    /// Errors: `Config` when somebody else has a table of this name.
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
                let message = format!("{schema}.{} exists, and no pipeline made it", shadow.name);
                return Err(Error::config("name_taken", message).with_hint(
                    "rename or drop that table: `mode: replace` gathers its rows under this name",
                ));
            }
            let drop = format!("DROP TABLE {}", left.full());
            connection
                .batch("drop the rows of an unfinished run", &drop)
                .await?;
        }
        Ok(shadow)
    }

    /// What makes it like the target, with its checks and unique indexes: statements that are one transaction, so that a
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

    /// The statements that put its rows, if there are any, in the place of those of the target.
    pub(super) fn switch(&self, target: &Table, is_there: bool) -> Vec<String> {
        let target = target.full();
        let mut statements = vec![
            // Readers go on; whoever writes waits.
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

/// Whether a table without a mark is what version 0.1.0 left when it was killed before it could set the mark: then no row
/// has come yet.
async fn is_unmarked_rest(connection: &Connection, left: &Table) -> Result<bool> {
    if left.has_comment() {
        return Ok(false);
    }
    let text = format!("SELECT NOT EXISTS (SELECT 1 FROM {})", left.full());
    let found = connection.client.query_one(&text, &[]).await;
    let found = found.map_err(|error| failed("look for rows of an unfinished run", error))?;
    Ok(found.get(0))
}
