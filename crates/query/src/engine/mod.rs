//! SQL as a transform: one batch in, batches out, the same answer for the same rows every time.
//!
//! A statement is planned once per input schema and kept; each batch then runs the ready plan on one thread, so that
//! row order is the input's unless the statement itself asks for another. A row-wise statement gives with each row the
//! row of the input that it came from. Functions whose answer depends on the moment
//! (`now()`, `random()`, `uuid()`) are refused: a replay must give the same rows.

mod batch_rows;
pub(crate) mod canonical;
pub(crate) mod deadline;
mod input;
mod inspect;
mod mentions;
mod outputs;
mod plan;
mod pure;
mod row_wise;
mod trial;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::execution::session_state::SessionState;
use forebay_core::{
    Clock, Error, InspectedStatement, NamedTables, Result, Selected, SqlEngine, SystemClock,
};
use futures::FutureExt;

use crate::engine::deadline::Deadline;
use crate::engine::plan::{Filter, Select};
use crate::error::{Phase, explain};
use crate::named_tables;

/// Plans kept ready; the one used longest ago goes first.
const PLANS_MAX: usize = 256;

/// Time limit of one batch; see [`deadline`] for when it is checked.
const SELECT_TIME_MAX: Duration = Duration::from_secs(60);

/// The SQL engine of pipelines. Cheap to make: it sets itself up when first used.
#[derive(Debug)]
pub struct Engine {
    clock: Arc<dyn Clock>,
    select_time_max: Duration,
    state: OnceLock<SessionState>,
    selects: Cache<Select>,
    filters: Cache<Filter>,
}

impl Engine {
    pub fn new() -> Self {
        Self::with_clock(SystemClock::shared())
    }

    /// An engine that measures its time limit with this clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            select_time_max: SELECT_TIME_MAX,
            state: OnceLock::new(),
            selects: Cache::default(),
            filters: Cache::default(),
        }
    }

    fn state(&self) -> Result<&SessionState> {
        if let Some(state) = self.state.get() {
            return Ok(state);
        }
        let state = crate::state::for_transforms()
            .map_err(|error| explain(&error, Phase::Plan, "", &[]))?;
        Ok(self.state.get_or_init(|| state))
    }

    async fn prepare(
        &self,
        input: &str,
        schema: &SchemaRef,
        statement: &str,
    ) -> Result<Arc<Select>> {
        if let Some(ready) = self.selects.get(input, schema, statement) {
            return Ok(ready);
        }
        let ready = Arc::new(Select::plan(self.state()?, input, schema.clone(), statement).await?);
        self.selects
            .put(input, schema.clone(), statement, ready.clone());
        Ok(ready)
    }

    fn prepare_filter(&self, schema: &SchemaRef, expression: &str) -> Result<Arc<Filter>> {
        if let Some(ready) = self.filters.get("", schema, expression) {
            return Ok(ready);
        }
        let ready = Arc::new(Filter::plan(self.state()?, schema, expression)?);
        self.filters
            .put("", schema.clone(), expression, ready.clone());
        Ok(ready)
    }
}

#[async_trait]
impl SqlEngine for Engine {
    fn inspect(&self, input: &str, statement: &str) -> Result<InspectedStatement> {
        let state = self.state()?;
        let inspected = inspect::inspect(state, input, statement)?;
        let none = Arc::new(Schema::empty());
        trial::check(state, input, statement, &inspected.names, &none)?;
        Ok(inspected)
    }

    fn named_tables(&self, statement: &str) -> Result<NamedTables> {
        named_tables::named_tables(statement)
    }

    fn check_types(&self, input: &str, known: &SchemaRef, statement: &str) -> Result<()> {
        let state = self.state()?;
        let names = inspect::inspect(state, input, statement)?.names;
        trial::check(state, input, statement, &names, known)
    }

    async fn schema(&self, input: &str, schema: SchemaRef, statement: &str) -> Result<SchemaRef> {
        Ok(self
            .prepare(input, &schema, statement)
            .await?
            .schema()
            .clone())
    }

    async fn select(&self, input: &str, records: RecordBatch, statement: &str) -> Result<Selected> {
        let ready = self.prepare(input, &records.schema(), statement).await?;
        let deadline = Deadline::after(&self.clock, self.select_time_max);
        let running = ready.run(self.state()?, records, &deadline);
        match AssertUnwindSafe(running).catch_unwind().await {
            Ok(done) => done,
            Err(_) => Err(value_panic()),
        }
    }

    async fn evaluate(&self, records: &RecordBatch, expression: &str) -> Result<BooleanArray> {
        let ready = self.prepare_filter(&records.schema(), expression)?;
        let evaluated = catch_unwind(AssertUnwindSafe(|| ready.evaluate(records)));
        let answer = evaluated.unwrap_or_else(|_| Err(value_panic()))?;
        Ok(if answer.null_count() > 0 {
            prep_null_mask_filter(&answer)
        } else {
            answer
        })
    }
}

/// The engine panics on some values: the value is at fault, and the rows can be divided to find it.
fn value_panic() -> Error {
    let message = "the SQL engine failed on a value of the record";
    Error::data("sql_value", message).with_hint(
        "this is a bug: write the expression in another form, and report it with the record",
    )
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the rows for which the answer of [`SqlEngine::evaluate`] is true.
pub fn keep(records: &RecordBatch, answer: &BooleanArray) -> Result<RecordBatch> {
    filter_record_batch(records, answer)
        .map_err(|error| Error::bug("filter", "failed to filter a batch").with_source(error))
}

/// Ready plans by input name, schema and text; small, so a scan from the newest end is the whole index.
#[derive(Debug)]
struct Cache<T>(Mutex<VecDeque<Entry<T>>>);

#[derive(Debug)]
struct Entry<T> {
    input: String,
    text: String,
    schema: SchemaRef,
    plan: Arc<T>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<T> Cache<T> {
    fn get(&self, input: &str, schema: &SchemaRef, text: &str) -> Option<Arc<T>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |entry: &Entry<T>| {
            entry.text == text
                && entry.input == input
                && (Arc::ptr_eq(&entry.schema, schema) || entry.schema == *schema)
        };
        let at = entries.iter().rposition(fits)?;
        let entry = entries.remove(at)?;
        let plan = entry.plan.clone();
        entries.push_back(entry);
        Some(plan)
    }

    fn put(&self, input: &str, schema: SchemaRef, text: &str, plan: Arc<T>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= PLANS_MAX {
            entries.pop_front();
        }
        entries.push_back(Entry {
            input: input.to_owned(),
            text: text.to_owned(),
            schema,
            plan,
        });
    }
}

#[cfg(test)]
mod tests;
