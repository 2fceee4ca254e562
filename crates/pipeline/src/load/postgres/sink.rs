//! The sink of one split: its connection, its open transaction, and the group of rows that goes next.
//!
//! The transaction begins with the first rows after a commit and ends with the next commit. After an error that is not a
//! refused row nothing is sent on this connection any more; the run opens the sink again and goes on from the last commit,
//! where `forebay_positions` tells whether a commit whose answer was lost was made.

mod send;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bytes::BytesMut;
use forebay_core::{Batch, Error, Rejected, Result};
use tokio_postgres::Statement;

use super::client::Connection;
use super::error::failed;
use super::group::Group;
use super::modes::{Stage, ensure_unique};
use super::positions::Positions;
use super::replace::Shadow;
use super::table::{Table, Wish, quoted};
use super::{Mode, Postgres};
use crate::load::{Delivered, Sink, SinkContext, Standing};

pub(super) struct Session {
    target: Postgres,
    mode: Mode,
    context: SinkContext,
    connection: Connection,
    positions: Positions,
    standing: Option<Standing>,
    /// What is known of the target's tables, by child.
    tables: HashMap<String, Table>,
    /// Children whose tables nobody can change before the transaction ends.
    held: HashSet<String>,
    /// Prepared statements by text.
    statements: HashMap<String, Statement>,
    /// Stages by what is copied into them.
    stages: HashMap<String, Stage>,
    stages_made: usize,
    /// Where the rows of this run gather when they are to take the place of all.
    shadow: Option<Shadow>,
    /// The shadow as the server has it.
    shadow_table: Option<Table>,
    group: Group,
    buffer: BytesMut,
    begun: bool,
    marked: bool,
    /// The server has seen rows of one key that we had not: it is asked for the last of each from now on.
    distinct: bool,
    /// An error has left the transaction in a state that must not be committed.
    broken: bool,
}

impl Session {
    pub(super) async fn open(target: &Postgres, context: SinkContext) -> Result<Self> {
        // A replay adds to what the last run has put there.
        let mode = match target.mode {
            Mode::Replace if context.replay => Mode::Append,
            mode => mode,
        };
        let connection = Connection::open(&target.server).await?;
        let schema = target.table.namespace.as_str();
        ensure_schema(&connection, schema).await?;
        let positions = Positions::new(schema, &context);
        let standing = positions.take(&connection, context.full).await?;
        let shadow = match mode {
            Mode::Replace => {
                Some(Shadow::start(&connection, schema, target.table.name.as_str()).await?)
            }
            _ => None,
        };
        Ok(Self {
            target: target.clone(),
            mode,
            context,
            connection,
            positions,
            standing: Some(standing),
            tables: HashMap::new(),
            held: HashSet::new(),
            statements: HashMap::new(),
            stages: HashMap::new(),
            stages_made: 0,
            shadow,
            shadow_table: None,
            group: Group::default(),
            buffer: BytesMut::new(),
            begun: false,
            marked: false,
            distinct: false,
            broken: false,
        })
    }

    fn wish(&self, child: &str) -> Wish {
        Wish {
            key: if child.is_empty() {
                self.target.key.clone()
            } else {
                Vec::new()
            },
            delete: self.mode == Mode::Delete,
        }
    }

    /// Begins the transaction, if it has not begun.
    async fn begin(&mut self) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        // Deferred rules are looked at with each statement: only then can the row be told that breaks one.
        let text = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET CONSTRAINTS ALL IMMEDIATE";
        self.connection.batch("begin a transaction", text).await?;
        self.begun = true;
        self.held.clear();
        Ok(())
    }

    /// Makes the table of `child` fit for rows of a schema. Outside of a transaction this is one of its own, so that its
    /// locks are held for a moment only.
    async fn ensure(&mut self, child: &str, records: &arrow::datatypes::SchemaRef) -> Result<()> {
        if self.fits(child, records) {
            return Ok(());
        }
        let table = self.changed(child, records).await?;
        if child.is_empty() && self.mode == Mode::Upsert {
            ensure_unique(&self.connection, &table, &self.target.key).await?;
        }
        self.gather(&table, records).await?;
        self.tables.insert(child.to_owned(), table);
        Ok(())
    }

    fn fits(&self, child: &str, records: &arrow::datatypes::SchemaRef) -> bool {
        self.tables
            .get(child)
            .is_some_and(|table| table.fits(records))
    }

    /// The table as it is once rows of the schema fit.
    async fn changed(
        &mut self,
        child: &str,
        records: &arrow::datatypes::SchemaRef,
    ) -> Result<Table> {
        let (schema, name) = self.name(child)?;
        let wish = self.wish(child);
        let known = Table::read(&self.connection, &schema, &name).await?;
        let needs = match &known {
            Some(table) => table.changes(records, &wish)?,
            None => vec![String::new()],
        };
        let mut table = match known {
            Some(table) if needs.is_empty() => table,
            _ => self.change(&schema, &name, records, &wish).await?,
        };
        table.note_fit(records);
        Ok(table)
    }

    /// Creates or alters, alone among all pipelines of this database.
    async fn change(
        &mut self,
        schema: &str,
        name: &str,
        records: &arrow::datatypes::SchemaRef,
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
        records: &arrow::datatypes::SchemaRef,
        wish: &Wish,
    ) -> Result<Table> {
        let what = format!("change {schema}.{name}");
        let lock = format!("SELECT pg_advisory_xact_lock(hashtext('forebay {schema}.{name}'))");
        self.connection.batch(&what, &lock).await?;
        let statements = match Table::read(&self.connection, schema, name).await? {
            Some(table) => table.changes(records, wish)?,
            None if wish.delete => {
                let message = format!("there is no table {schema}.{name} to delete from");
                return Err(Error::not_found("no_such_table", message));
            }
            None => Table::create(schema, name, records, wish, self.context.pipeline.as_str())?,
        };
        for statement in &statements {
            self.connection.batch(&what, statement).await?;
            tracing::info!(%statement, "the target was changed");
        }
        let table = Table::read(&self.connection, schema, name).await?;
        table.ok_or_else(|| Error::bug("no_table", "a table that was just made is not there"))
    }

    /// Makes the shadow, or gives it what the target has got.
    async fn gather(
        &mut self,
        target: &Table,
        records: &arrow::datatypes::SchemaRef,
    ) -> Result<()> {
        let Some(shadow) = &mut self.shadow else {
            return Ok(());
        };
        let names = records.fields().iter().map(|field| field.name().clone());
        shadow.columns.extend(names);
        let shadow = shadow.clone();
        let wish = Wish::default();
        let statements = match Table::read(&self.connection, &shadow.schema, &shadow.name).await? {
            None => shadow.create(target),
            Some(table) => table.changes(records, &wish)?,
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
    fn name(&self, child: &str) -> Result<(String, String)> {
        let main = &self.target.table;
        let name = if child.is_empty() {
            main.name.to_string()
        } else {
            let name = format!("{}__{child}", main.name);
            super::check_name(&name)?;
            name
        };
        Ok((main.namespace.to_string(), name))
    }

    async fn statement(&mut self, text: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.get(text) {
            return Ok(statement.clone());
        }
        let statement = self.connection.client.prepare(text).await?;
        self.statements.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs what must leave the session unusable when it fails.
    fn guard<T>(&mut self, done: Result<T>) -> Result<T> {
        self.broken |= done.is_err();
        done
    }

    fn check_whole(&self) -> Result<()> {
        if self.broken {
            return Err(super::error::gone("go on after an error"));
        }
        Ok(())
    }

    async fn try_commit(&mut self, sequence: i64, delivered: &Delivered) -> Result<()> {
        if !self.group.is_empty() {
            return Err(Error::bug(
                "not_flushed",
                "rows wait while a commit is made",
            ));
        }
        self.begin().await?;
        self.positions
            .advance(&self.connection, sequence, delivered)
            .await?;
        self.connection
            .client
            .batch_execute("COMMIT")
            .await
            .map_err(|error| failed("commit", error))?;
        (self.begun, self.marked) = (false, false);
        Ok(())
    }

    async fn switch(&mut self) -> Result<()> {
        let Some(shadow) = self.shadow.take() else {
            return Ok(());
        };
        let (schema, name) = self.name("")?;
        let Some(target) = Table::read(&self.connection, &schema, &name).await? else {
            return Ok(());
        };
        let what = format!("put the rows of this run in the place of those of {schema}.{name}");
        self.begin().await?;
        self.positions.hold(&self.connection).await?;
        for statement in shadow.switch(&target, self.shadow_table.is_some()) {
            self.connection.batch(&what, &statement).await?;
        }
        self.connection.batch(&what, "COMMIT").await?;
        self.begun = false;
        Ok(())
    }
}

async fn ensure_schema(connection: &Connection, schema: &str) -> Result<()> {
    let name = quoted(schema);
    let there = connection
        .client
        .query_one("SELECT to_regnamespace($1) IS NOT NULL", &[&name])
        .await
        .map_err(|error| failed("look for the schema", error))?;
    if there.get(0) {
        return Ok(());
    }
    // Of two that make it at once one would fail.
    let text = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('forebay schema')); CREATE SCHEMA IF NOT EXISTS {name}; COMMIT"
    );
    connection.batch("create the schema", &text).await
}

#[async_trait]
impl Sink for Session {
    async fn write(&mut self, batch: Batch) -> Result<Vec<Rejected>> {
        self.check_whole()?;
        if batch.records.num_rows() == 0 {
            return Ok(Vec::new());
        }
        if !batch.child.is_empty() && self.mode != Mode::Append {
            let message = format!(
                "rows of the child table `{}` can only be appended: this mode would leave those of an earlier state behind",
                batch.child
            );
            return Err(
                Error::unsupported("children_need_append", message).with_hint(
                    "set `extract.json.nested: keep` (a column of JSON), or `mode: append`",
                ),
            );
        }
        let rejected = if batch.child.is_empty() && self.group.is_full() {
            self.flush().await?
        } else {
            Vec::new()
        };
        self.group.push(batch);
        Ok(rejected)
    }

    async fn flush(&mut self) -> Result<Vec<Rejected>> {
        self.check_whole()?;
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let sent = self.send(&group).await;
        self.guard(sent)
    }

    async fn commit(&mut self, sequence: i64, delivered: Delivered) -> Result<()> {
        self.check_whole()?;
        let done = self.try_commit(sequence, &delivered).await;
        self.guard(done)
    }

    fn standing(&mut self) -> Option<Standing> {
        self.standing.take()
    }

    async fn adopt(&mut self, sequence: i64) -> Result<()> {
        self.positions.adopt(&self.connection, sequence).await
    }

    async fn end(&mut self) -> Result<()> {
        self.check_whole()?;
        let done = self.switch().await;
        self.guard(done)
    }

    async fn mark(&mut self) -> Result<()> {
        self.check_whole()?;
        self.begin().await?;
        let release = if self.marked {
            "RELEASE SAVEPOINT forebay_mark; "
        } else {
            ""
        };
        let text = format!("{release}SAVEPOINT forebay_mark");
        self.connection.batch("mark a place", &text).await?;
        self.marked = true;
        Ok(())
    }

    async fn undo(&mut self) -> Result<()> {
        self.check_whole()?;
        // Tables that were made since the mark are gone too.
        self.tables.clear();
        self.stages.clear();
        self.held.clear();
        self.group = Group::default();
        let text = "ROLLBACK TO SAVEPOINT forebay_mark";
        self.connection.batch("take rows back", text).await
    }
}
