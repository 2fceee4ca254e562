//! Sends a group, and finds the records that the server rejects.
//!
//! A group goes inside a savepoint. When the server rejects it, it names the row of a COPY it stopped at; the records
//! before that row, that record and those after it are then sent on their own. Where it names none the rest is halved. So a
//! reject costs about one more sending of its group, not of the others.

use std::time::Duration;

use forebay_core::{Error, Rejected, Result};
use tokio_postgres::Statement;

use super::Session;
use super::part::Part;
use crate::postgres::error::{
    code, failed, is_double, is_locked, is_outdated, is_refusal, line, reason,
};
use crate::postgres::sink::copy::{Copied, Copy};
use crate::postgres::sink::encode::Unfit;
use crate::postgres::sink::group::{Group, Pick, Records, Why};
use crate::postgres::sink::modes::Stage;
use crate::postgres::sink::{Mode, table};
use crate::sink::TARGET_GONE;

/// How often a group is sent while another transaction holds a lock that it needs; each waits for the lock 30 s.
const LOCK_TRIES_MAX: u32 = 4;

/// How often tables are read again while somebody changes them.
const SETTLE_TRIES_MAX: u32 = 3;

/// The pause before the group is sent again.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// The result of sending without a failure.
enum Sent {
    /// The rows are in the transaction; those that could not be written are named, and each is all of its record.
    Done(Vec<(usize, Unfit)>),
    /// Nothing is in the transaction: these rows cannot be written, and other rows of their records must stay out too.
    Unfit(Vec<(usize, Unfit)>),
    /// Nothing is in the transaction: the server rejected a row, maybe this one.
    Refused(Why, Option<(usize, usize)>),
}

/// Why a step inside the savepoint stopped.
enum Stop {
    Server(tokio_postgres::Error, Option<(usize, usize)>),
    Ours(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl Session {
    pub(super) async fn send(&mut self, group: &Group) -> Result<Vec<Rejected>> {
        let parts = self.settled(group).await?;
        match self.attempt(group, &parts, None).await? {
            Sent::Done(unfit) => {
                let rejected = unfit
                    .iter()
                    .map(|(at, unfit)| group.rejected((*at, unfit.row), &unfit.into()));
                rejected.collect()
            }
            refused => self.divide(group, &parts, refused).await,
        }
    }

    /// Starts the transaction with tables that fit and that nobody changes before its end: a row must never be blamed for a
    /// change of its table. The driver, too, loses the connection when a COPY cannot even start.
    async fn settled(&mut self, group: &Group) -> Result<Vec<Part>> {
        for _ in 0..SETTLE_TRIES_MAX {
            let parts = self.prepare(group).await?;
            self.begin().await?;
            if self.hold(&parts).await? {
                return Ok(parts);
            }
            tracing::warn!("target schema changed, reading it again");
            self.tables.clear();
            self.statements.clear();
            self.stages.clear();
            self.held.clear();
        }
        let message = "target schema changed repeatedly while preparing the load";
        Err(Error::unavailable(TARGET_GONE, message))
    }

    /// Locks the tables against changes until the end of the transaction; `false` when one has changed.
    async fn hold(&mut self, parts: &[Part]) -> Result<bool> {
        for part in parts {
            if part.refusal.is_some() || self.held.contains(&part.child) {
                continue;
            }
            let known = self.table(&part.child)?.clone();
            if !self.lock(&known).await? {
                return Ok(false);
            }
            let now = table::Table::read(&self.connection, &known.schema, &known.name).await?;
            if !now.is_some_and(|now| now.has_same_columns(&known)) {
                return Ok(false);
            }
            self.held.insert(part.child.clone());
        }
        Ok(true)
    }

    /// Waits for the lock that rows need anyway; `false` when the table is gone.
    async fn lock(&self, table: &table::Table) -> Result<bool> {
        let text = format!(
            "SAVEPOINT forebay; LOCK TABLE {} IN ROW EXCLUSIVE MODE; RELEASE SAVEPOINT forebay",
            table.full()
        );
        for tries in 1.. {
            let error = match self.connection.client.batch_execute(&text).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if is_locked(&error) && tries < LOCK_TRIES_MAX {
                tracing::warn!(%error, tries, "target is locked, retrying");
                self.take_back().await?;
                self.context.clock.sleep(LOCK_PAUSE * tries).await;
            } else if is_outdated(&error) {
                self.take_back().await?;
                return Ok(false);
            } else {
                return Err(failed("lock the target", error));
            }
        }
        Ok(true)
    }

    /// Tables and stages that the group needs.
    async fn prepare(&mut self, group: &Group) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        for (at, batch) in group.batches.iter().enumerate() {
            let schema = batch.records.schema();
            let part = self.part(&batch.child, &schema, at).await?;
            match parts.last_mut() {
                Some(last) if last.is_one_with(&part) => last.batches.end = at + 1,
                _ => parts.push(part),
            }
        }
        if matches!(self.mode, Mode::Upsert | Mode::Delete) {
            for part in parts.iter().filter(|part| part.refusal.is_none()) {
                self.stage(part).await?;
            }
        }
        Ok(parts)
    }

    /// The target of a batch's rows, once their table fits.
    async fn part(
        &mut self,
        child: &str,
        schema: &arrow::datatypes::SchemaRef,
        at: usize,
    ) -> Result<Part> {
        let mut part = Part {
            child: child.to_owned(),
            places: Vec::new(),
            barred: Vec::new(),
            batches: at..at + 1,
            refusal: self.ensure(child, schema).await?,
        };
        if part.refusal.is_some() {
            return Ok(part);
        }
        let fitted = self.tables.get(child).map(table::Table::barred);
        part.barred = fitted.unwrap_or_default().to_vec();
        let table = self.table(child)?;
        part.places = table.places(schema, &self.wish(child), &part.barred)?;
        if part.places.is_empty() {
            part.refusal = Some(Part::no_columns(&part.barred));
        }
        Ok(part)
    }

    /// The table that rows of a child are copied to.
    fn table(&self, child: &str) -> Result<&table::Table> {
        let table = match (&self.shadow_table, &self.shadow) {
            (Some(table), Some(_)) => Some(table),
            _ => self.tables.get(child),
        };
        table.ok_or_else(|| Error::bug("no_table", "a table was not made fit"))
    }

    async fn stage(&mut self, part: &Part) -> Result<Stage> {
        let table = self.table(&part.child)?.clone();
        let key = format!("{} {:?}", table.full(), part.places);
        if let Some(stage) = self.stages.get(&key) {
            return Ok(stage.clone());
        }
        self.stages_made += 1;
        let delete = self.mode == Mode::Delete;
        let places = &part.places;
        let n = self.stages_made;
        let stage = Stage::make(&self.connection, &table, places, delete, n).await?;
        self.stages.insert(key, stage.clone());
        Ok(stage)
    }

    /// Finds the rejected records; the others are in the transaction afterwards. `whole` is the result for all.
    async fn divide(
        &mut self,
        group: &Group,
        parts: &[Part],
        whole: Sent,
    ) -> Result<Vec<Rejected>> {
        let mut known = Some(whole);
        let mut records = Records::new(group);
        let mut rejected = Vec::new();
        let mut waiting = vec![records.all()];
        let mut trust = true;
        let mut suspect = None;
        while let Some(range) = waiting.pop() {
            let left = records.left(&range);
            let (Some(first), Some(last)) = (left.first().copied(), left.last().copied()) else {
                continue;
            };
            let pick = Pick {
                records: &records,
                from: range.start,
                to: range.end,
            };
            let sent = match known.take() {
                Some(whole) => whole,
                None => self.attempt(group, parts, Some(pick)).await?,
            };
            match sent {
                Sent::Done(unfit) => {
                    // The server had named a record that it accepts after all.
                    trust &= suspect != Some(range);
                    refuse_unfit(group, &mut records, &mut rejected, &unfit)?;
                }
                Sent::Unfit(unfit) => {
                    refuse_unfit(group, &mut records, &mut rejected, &unfit)?;
                    waiting.push(range);
                }
                Sent::Refused(why, place) if first == last => {
                    let place = place.unwrap_or_else(|| records.first(first));
                    refuse(group, &mut records, &mut rejected, place, &why)?;
                }
                Sent::Refused(_, place) => {
                    let named = place.filter(|_| trust).map(|(at, row)| records.of(at, row));
                    match named.filter(|named| left.contains(named)) {
                        Some(named) => {
                            suspect = Some(named..named + 1);
                            waiting.push(named + 1..range.end);
                            waiting.push(named..named + 1);
                            waiting.push(range.start..named);
                        }
                        None => {
                            let middle = left[left.len() / 2];
                            waiting.push(middle..range.end);
                            waiting.push(range.start..middle);
                        }
                    }
                }
            }
        }
        Ok(rejected)
    }

    /// Sends the picked records inside a savepoint; retries while somebody holds a lock.
    async fn attempt(
        &mut self,
        group: &Group,
        parts: &[Part],
        pick: Option<Pick<'_>>,
    ) -> Result<Sent> {
        let mut tries = 1;
        loop {
            self.connection
                .batch("begin to send rows", "SAVEPOINT forebay")
                .await?;
            let stop = match self.parts(group, parts, pick).await {
                Ok(unfit) => {
                    let alone = |(at, unfit): &(usize, Unfit)| group.is_alone(*at, unfit.row);
                    if unfit.iter().all(alone) {
                        self.connection
                            .batch("end sending rows", "RELEASE SAVEPOINT forebay")
                            .await?;
                        return Ok(Sent::Done(unfit));
                    }
                    self.take_back().await?;
                    return Ok(Sent::Unfit(unfit));
                }
                Err(stop) => stop,
            };
            let (error, place) = match stop {
                Stop::Ours(error) => return Err(error),
                Stop::Server(error, place) => (error, place),
            };
            match error.as_db_error() {
                // Keys with different texts that are equal to the server.
                Some(_) if is_double(&error) && !self.distinct => {
                    self.take_back().await?;
                    self.distinct = true;
                    continue;
                }
                Some(answer) if is_refusal(&error) => {
                    let code = code(answer);
                    let reason = reason(answer);
                    self.take_back().await?;
                    return Ok(Sent::Refused(Why { code, reason }, place));
                }
                Some(_) if is_locked(&error) && tries < LOCK_TRIES_MAX => {
                    tracing::warn!(%error, tries, "target is locked, sending the rows again");
                    self.take_back().await?;
                    self.context.clock.sleep(LOCK_PAUSE * tries).await;
                }
                _ => return Err(failed("load rows", error)),
            }
            tries += 1;
        }
    }

    async fn take_back(&self) -> Result<()> {
        let text = "ROLLBACK TO SAVEPOINT forebay; RELEASE SAVEPOINT forebay";
        self.connection.batch("take rows back", text).await
    }

    async fn parts(
        &mut self,
        group: &Group,
        parts: &[Part],
        pick: Option<Pick<'_>>,
    ) -> Result<Vec<(usize, Unfit)>, Stop> {
        let mut unfit = Vec::new();
        for part in parts {
            if let Some(why) = &part.refusal {
                unfit.extend(part.refused(group, pick, why));
                continue;
            }
            let copied = match self.mode {
                Mode::Upsert | Mode::Delete => self.staged(group, part, pick).await?,
                Mode::Append | Mode::Replace => self.direct(group, part, pick).await?,
            };
            unfit.extend(copied.unfit);
        }
        Ok(unfit)
    }

    async fn direct(
        &mut self,
        group: &Group,
        part: &Part,
        pick: Option<Pick<'_>>,
    ) -> Result<Copied, Stop> {
        let names: Vec<&str> = part
            .places
            .iter()
            .map(|place| place.name.as_str())
            .collect();
        let text = format!(
            "COPY {} ({}) FROM STDIN (FORMAT binary)",
            self.table(&part.child)?.full(),
            table::list(&names)
        );
        let copied = self.copy(&text, false, group, part, pick).await?;
        if copied.taken != copied.sent {
            return Err(Stop::Ours(left_out(&part.child, &copied)));
        }
        Ok(copied)
    }

    async fn staged(
        &mut self,
        group: &Group,
        part: &Part,
        pick: Option<Pick<'_>>,
    ) -> Result<Copied, Stop> {
        let stage = self.stage(part).await?;
        let copied = self.copy(&stage.copy, true, group, part, pick).await?;
        let server = |error| Stop::Server(error, None);
        let text = if copied.doubles || self.distinct {
            &stage.merge_last
        } else {
            &stage.merge
        };
        let merge = self.statement(text).await.map_err(server)?;
        let client = &self.connection.client;
        client.execute(&merge, &[]).await.map_err(server)?;
        let text = format!("TRUNCATE {}", stage.name);
        self.connection.batch("empty a stage", &text).await?;
        Ok(copied)
    }

    async fn copy(
        &mut self,
        text: &str,
        staged: bool,
        group: &Group,
        part: &Part,
        pick: Option<Pick<'_>>,
    ) -> Result<Copied, Stop> {
        let prepared = self.statement(text).await;
        let statement: Statement = prepared.map_err(|error| Stop::Server(error, None))?;
        let copy = Copy {
            statement: &statement,
            places: &part.places,
            barred: &part.barred,
            batches: part.batches.clone(),
            staged,
        };
        let client = &self.connection.client;
        match copy.run(client, group, pick, &mut self.buffer).await? {
            Ok(copied) => Ok(copied),
            Err((error, None)) => Err(Stop::Ours(failed("begin to copy rows", error))),
            Err((error, Some(copied))) => {
                let n = error.as_db_error().and_then(line);
                let place = n.and_then(|n| copy.place(n, group, pick, &copied.unfit));
                Err(Stop::Server(error, place))
            }
        }
    }
}

/// Rejects the record of a row, once.
fn refuse(
    group: &Group,
    records: &mut Records,
    rejected: &mut Vec<Rejected>,
    place: (usize, usize),
    why: &Why,
) -> Result<()> {
    let record = records.of(place.0, place.1);
    if std::mem::replace(&mut records.refused[record], true) {
        return Ok(());
    }
    let first = records.first(record);
    let mut why = why.clone();
    let child = &group.batches[place.0].child;
    if !child.is_empty() {
        why.reason = format!("in {child}: {}", why.reason);
    }
    // The record is identified by its main row; a replay lands all of it.
    rejected.push(group.rejected(first, &why)?);
    Ok(())
}

/// Rejects the records of rows that cannot be converted to the target's types.
pub(super) fn refuse_unfit(
    group: &Group,
    records: &mut Records,
    rejected: &mut Vec<Rejected>,
    unfit: &[(usize, Unfit)],
) -> Result<()> {
    for (at, unfit) in unfit {
        let place = (*at, unfit.row);
        refuse(group, records, rejected, place, &unfit.into())?;
    }
    Ok(())
}

fn left_out(child: &str, copied: &Copied) -> Error {
    let table = if child.is_empty() { "the table" } else { child };
    let message = format!(
        "{} rows were sent to {table} and {} accepted: a trigger that returns NULL, or a rule, drops some silently",
        copied.sent, copied.taken
    );
    Error::config("rows_left_out", message).with_hint(
        "use RAISE EXCEPTION in the trigger in place of RETURN NULL: the row is then quarantined; or leave such rows out with `transform: [sql: …]`",
    )
}
