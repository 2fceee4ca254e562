//! The sink of one split: its connection, its open transaction, and the group of rows that goes next.
//!
//! The transaction begins with the first rows after a commit and ends with the next commit. After an error that is not a
//! refused row nothing is sent on this connection any more; the run opens the sink again and goes on from the last commit,
//! where `forebay_positions` tells whether a commit whose answer was lost was made.

mod part;
mod send;
mod tables;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bytes::BytesMut;
use forebay_core::{Batch, Error, Rejected, Result};
use tokio_postgres::Statement;

use super::client::{Connection, StopWatch};
use super::error::failed;
use super::fit::{NameRules, Wish};
use super::group::{Group, Why};
use super::modes::Stage;
use super::positions::Positions;
use super::replace::Shadow;
use super::table::{Table, quoted};
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
    /// Children that cannot have a table, with the reason.
    refused: HashMap<String, Why>,
    /// Names of columns that the server does not take.
    names: NameRules,
    /// Whether a commit of this pipeline has found its tables fit.
    settled: bool,
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
        let positions = Positions::new(schema, &context);
        let stop = connection.stop_watch(context.cancel.clone(), context.clock.clone());
        let full = context.full;
        let take = async {
            let names = ensure_schema(&connection, schema).await?;
            let standing = positions.take(&connection, full).await?;
            let shadow = match mode {
                Mode::Replace => {
                    let name = target.table.name.as_str();
                    Some(Shadow::start(&connection, schema, name).await?)
                }
                _ => None,
            };
            Ok((names, standing, shadow))
        };
        let (names, standing, shadow) = stop.watch(take).await?;
        Ok(Self {
            target: target.clone(),
            mode,
            context,
            connection,
            positions,
            settled: standing.sequence.is_some_and(|sequence| sequence > 0),
            standing: Some(standing),
            tables: HashMap::new(),
            refused: HashMap::new(),
            names,
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
            staged: matches!(self.mode, Mode::Upsert | Mode::Delete),
            settled: self.settled,
            names: self.names,
        }
    }

    fn stop_watch(&self) -> StopWatch {
        let (cancel, clock) = (self.context.cancel.clone(), self.context.clock.clone());
        self.connection.stop_watch(cancel, clock)
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
        let (schema, name) = self.name("");
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

/// The first version of Postgres that has no system column `oid`.
const VERSION_WITHOUT_OID: i32 = 120_000;

/// Makes the schema if it is missing, and tells what names the server takes.
async fn ensure_schema(connection: &Connection, schema: &str) -> Result<NameRules> {
    let name = quoted(schema);
    let there = connection
        .client
        .query_one(
            "SELECT to_regnamespace($1) IS NOT NULL, current_setting('server_version_num')::int, \
             current_setting('server_encoding')",
            &[&name],
        )
        .await
        .map_err(|error| failed("look for the schema", error))?;
    let encoding: String = there.get(2);
    let names = NameRules {
        oid_is_reserved: there.get::<_, i32>(1) < VERSION_WITHOUT_OID,
        ascii_only: !["UTF8", "SQL_ASCII"].contains(&encoding.as_str()),
    };
    if there.get(0) {
        return Ok(names);
    }
    // Of two that make it at once one would fail.
    let text = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('forebay schema')); CREATE SCHEMA IF NOT EXISTS {name}; COMMIT"
    );
    connection.batch("create the schema", &text).await?;
    Ok(names)
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
        let stop = self.stop_watch();
        let sent = stop.watch(self.send(&group)).await;
        self.guard(sent)
    }

    async fn commit(&mut self, sequence: i64, delivered: Delivered) -> Result<()> {
        self.check_whole()?;
        let stop = self.stop_watch();
        let done = stop.watch(self.try_commit(sequence, &delivered)).await;
        self.settled |= done.is_ok();
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
        let stop = self.stop_watch();
        let done = stop.watch(self.switch()).await;
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
