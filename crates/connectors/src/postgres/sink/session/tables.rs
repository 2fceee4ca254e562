//! Makes the target's tables fit, before rows are sent. A change outside of the transaction of rows is a short one of its
//! own.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use forebay_core::{Error, Result};

use super::Session;
use crate::postgres::sink::fit::{BarredColumn, Fitting, Wish};
use crate::postgres::sink::group::Why;
use crate::postgres::sink::modes::ensure_unique;
use crate::postgres::sink::table::Table;
use crate::postgres::sink::{Mode, check_name};

impl Session {
    /// Makes the table of `child` fit for rows of a schema. Outside of a transaction this is one of its own, so that its
    /// locks are held for a moment only. Returns why there can be no such table.
    pub(super) async fn ensure(&mut self, child: &str, records: &SchemaRef) -> Result<Option<Why>> {
        if self.fits(child, records) {
            return Ok(None);
        }
        if !child.is_empty() && !self.refused.contains_key(child) {
            self.check_child(child).await?;
        }
        if let Some(why) = self.refused.get(child) {
            return Ok(Some(why.clone()));
        }
        let table = self.changed(child, records).await?;
        if child.is_empty() && self.mode == Mode::Upsert {
            ensure_unique(&self.connection, &table, &self.target.key).await?;
        }
        self.gather(&table, records).await?;
        self.tables.insert(child.to_owned(), table);
        Ok(None)
    }

    pub(super) fn fits(&self, child: &str, records: &SchemaRef) -> bool {
        self.tables
            .get(child)
            .is_some_and(|table| table.fits(records))
    }

    /// Names of child tables come from data: an invalid one, or one of another pipeline, rejects the records that bring it.
    async fn check_child(&mut self, child: &str) -> Result<()> {
        let (schema, name) = self.name(child);
        if let Err(error) = check_name(&name) {
            let why = Why {
                code: "bad_table_name",
                reason: error.message().to_owned(),
            };
            self.refused.insert(child.to_owned(), why);
            return Ok(());
        }
        let main_name = self.target.table.name.as_str();
        let main = Table::read(&self.connection, &schema, main_name).await?;
        let there = Table::read(&self.connection, &schema, &name).await?;
        let (Some(main), Some(there)) = (main, there) else {
            return Ok(());
        };
        let is_anothers = match (main.maker(), there.maker()) {
            (Some(main), Some(maker)) => maker != main && maker != self.context.pipeline.as_str(),
            _ => false,
        };
        if is_anothers {
            let why = Why {
                code: "table_of_another",
                reason: format!("{schema}.{name} belongs to another pipeline"),
            };
            self.refused.insert(child.to_owned(), why);
        }
        Ok(())
    }

    /// The table after fitting it to rows of the schema.
    async fn changed(&mut self, child: &str, records: &SchemaRef) -> Result<Table> {
        let (schema, name) = self.name(child);
        let wish = self.wish(child);
        if let Some(mut table) = Table::read(&self.connection, &schema, &name).await? {
            let fitting = table.fit(records, &wish)?;
            if fitting.statements.is_empty() {
                table.note_fit(records, fitting.barred);
                return Ok(table);
            }
        }
        self.change(&schema, &name, records, &wish).await
    }

    /// Creates or alters, alone among all pipelines of this database.
    async fn change(
        &mut self,
        schema: &str,
        name: &str,
        records: &SchemaRef,
        wish: &Wish,
    ) -> Result<Table> {
        let inside = self.begun;
        if !inside {
            self.connection
                .batch("begin a transaction", "BEGIN")
                .await?;
        }
        let done = self.change_inside(schema, name, records, wish).await;
        if !inside {
            let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
            self.connection.batch("change the table", end).await?;
        }
        done
    }

    async fn change_inside(
        &self,
        schema: &str,
        name: &str,
        records: &SchemaRef,
        wish: &Wish,
    ) -> Result<Table> {
        let what = format!("change {schema}.{name}");
        let lock = format!("SELECT pg_advisory_xact_lock(hashtext('forebay {schema}.{name}'))");
        self.connection.batch(&what, &lock).await?;
        let fitting = match Table::read(&self.connection, schema, name).await? {
            Some(table) => table.fit(records, wish)?,
            None if wish.delete => {
                let message = format!("table {schema}.{name} not found, nothing to delete from");
                return Err(Error::not_found("no_such_table", message));
            }
            None => {
                self.warn_of_lost_table(schema, name);
                Table::create(schema, name, records, wish, self.context.pipeline.as_str())?
            }
        };
        let Fitting {
            statements, barred, ..
        } = fitting;
        for statement in &statements {
            self.connection.batch(&what, statement).await?;
            tracing::info!(%statement, "changed the target");
        }
        let table = Table::read(&self.connection, schema, name).await?;
        let table = table.ok_or_else(|| Error::bug("no_table", "a new table is missing"));
        table.map(|mut table| {
            table.note_fit(records, barred);
            table
        })
    }

    /// Rows of earlier commits may have gone with a table that somebody has dropped or renamed.
    fn warn_of_lost_table(&self, schema: &str, name: &str) {
        let commits = self.context.sequence;
        if commits > 0 && !self.context.full && name == self.target.table.name.as_str() {
            tracing::warn!(
                commits,
                "{schema}.{name} does not exist and is created: if it was dropped or renamed, the rows of earlier commits are missing in it; \
                 `forebay run {} --full` loads everything again",
                self.context.pipeline
            );
        }
    }

    /// Creates the shadow, or adds the target's new columns to it.
    async fn gather(&mut self, target: &Table, records: &SchemaRef) -> Result<()> {
        let Some(shadow) = &mut self.shadow else {
            return Ok(());
        };
        let records = without(records, target.barred());
        let names = records.fields().iter().map(|field| field.name().clone());
        shadow.columns.extend(names);
        let shadow = shadow.clone();
        let statements = match Table::read(&self.connection, &shadow.schema, &shadow.name).await? {
            None => vec![shadow.create(target)],
            Some(table) => table.fit(&records, &Wish::default())?.statements,
        };
        for statement in &statements {
            self.connection
                .batch("make a table for the rows of this run", statement)
                .await?;
        }
        self.shadow_table = Table::read(&self.connection, &shadow.schema, &shadow.name).await?;
        Ok(())
    }

    /// Schema and name of the table of a child.
    pub(super) fn name(&self, child: &str) -> (String, String) {
        let main = &self.target.table;
        let name = if child.is_empty() {
            main.name.to_string()
        } else {
            format!("{}__{child}", main.name)
        };
        (main.namespace.to_string(), name)
    }
}

/// The schema without the columns that the table cannot have.
fn without(records: &SchemaRef, barred: &[BarredColumn]) -> SchemaRef {
    let fields = records.fields().iter();
    let kept = fields.filter(|field| !barred.iter().any(|column| column.name == *field.name()));
    let kept: Vec<_> = kept.cloned().collect();
    Arc::new(Schema::new(kept))
}
