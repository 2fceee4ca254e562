//! The sink of one split: its connection, its open transaction, and the group of rows that goes next.
//!
//! The transaction starts with the first rows after a commit and ends with the next commit. After an error other than a
//! rejected row nothing is sent on this connection any more; the run opens the sink again and resumes from the last commit,
//! where `forebay_positions` shows whether a commit with a lost answer was made.

mod part;
mod screen;
mod send;
mod tables;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bytes::BytesMut;
use forebay_core::{Batch, Error, Rejected, Result};
use tokio_postgres::Statement;

use super::fit::{NameRules, Wish};
use super::group::{Group, Why};
use super::modes::Stage;
use super::positions::Positions;
use super::replace::Shadow;
use super::table::{Table, quoted};
use super::{Mode, Postgres};
use crate::postgres::client::{Connection, StopWatch};
use crate::postgres::error::failed;
use crate::sink::{Delivered, Sink, SinkContext, Standing};

pub(super) struct Session {
    target: Postgres,
    mode: Mode,
    context: SinkContext,
    connection: Connection,
    positions: Positions,
    standing: Option<Standing>,
    /// The target's tables, by child.
    tables: HashMap<String, Table>,
    /// Children that cannot have a table, with the reason.
    refused: HashMap<String, Why>,
    /// Names of columns that the server rejects.
    names: NameRules,
    /// Whether earlier commits of this pipeline have fit its tables.
    settled: bool,
    /// Children whose tables nobody can change before the transaction ends.
    held: HashSet<String>,
    /// Prepared statements by text.
    statements: HashMap<String, Statement>,
    /// Stages by COPY target.
    stages: HashMap<String, Stage>,
    stages_made: usize,
    /// Where the rows of this run are collected for `mode: replace`.
    shadow: Option<Shadow>,
    /// The current shadow table on the server.
    shadow_table: Option<Table>,
    group: Group,
    buffer: BytesMut,
    begun: bool,
    marked: bool,
    /// The server has found duplicate keys that the sink had not: from now on it selects the last row of each.
    distinct: bool,
    /// An error has left the transaction in a state that must not be committed.
    broken: bool,
}

impl Session {
    pub(super) async fn open(target: &Postgres, context: SinkContext) -> Result<Self> {
        // A replay appends to the rows of the last run.
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
            unlimited: false,
        }
    }

    fn stop_watch(&self) -> StopWatch {
        let cancel = self.context.cancel.clone();
        let clock = self.context.clock.clone();
        self.connection.stop_watch(cancel, clock)
    }

    /// Begins the transaction, unless it has begun.
    async fn begin(&mut self) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        // Deferred constraints are checked with each statement: only then can the violating row be identified.
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

    /// Runs work after whose failure the session must not be used.
    fn guard<T>(&mut self, done: Result<T>) -> Result<T> {
        self.broken |= done.is_err();
        done
    }

    fn check_whole(&self) -> Result<()> {
        if self.broken {
            return Err(crate::postgres::error::gone("continue after an error"));
        }
        Ok(())
    }

    async fn send_screened(&mut self, group: Group) -> Result<Vec<Rejected>> {
        let (group, mut rejected) = self.screen(group).await?;
        if !group.is_empty() {
            rejected.extend(self.send(&group).await?);
        }
        Ok(rejected)
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
        let what = format!("replace the rows of {schema}.{name} by those of this run");
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

/// Creates the schema if it is missing, and returns the server's rules for names.
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
    // Of two concurrent creations one would fail.
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
                "rows of the child table `{}` can only be appended: this mode would leave rows of an earlier state behind",
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
        let sent = stop.watch(self.send_screened(group)).await;
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
        self.connection.batch("set a savepoint", &text).await?;
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
