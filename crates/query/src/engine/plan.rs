//! Ready plans: planned once for a statement and a schema, run for every batch.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef, UInt32Type};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList, SchemaProvider};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::ExprSchemable;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement;
use forebay_core::sql::{OUTPUT_BYTES_MAX, OUTPUT_TOO_LARGE, ROWS_BYTES_MAX};
use forebay_core::{Error, Result, Selected};
use futures::StreamExt;

use super::batch_rows::rows_within_bytes;
use super::deadline::{Deadline, bounded};
use super::input::{Input, Rows};
use super::{canonical, pure, row_wise};
use crate::address::{CATALOG, NO_NAMESPACE};
use crate::error::{Phase, explain};
use crate::natural_join::AskedJoins;
use crate::statement;

/// A `SELECT` over one input, ready to run.
pub(super) struct Select {
    sql: String,
    plan: Arc<dyn ExecutionPlan>,
    /// The plan of the statement; that of a row-wise one adds the row number as its last column.
    schema: SchemaRef,
    is_row_wise: bool,
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Select({:?})", self.sql)
    }
}

impl Select {
    pub(super) async fn plan(
        state: &SessionState,
        input: &str,
        schema: SchemaRef,
        sql: &str,
    ) -> Result<Self> {
        let tables = [input.to_owned()];
        let explain = |error: DataFusionError| explain(&error, Phase::Plan, sql, &tables);
        let parsed = statement::select(sql)?;
        let planned = Planned::new(state, input, schema, parsed, sql).await;
        let planned = planned.map_err(explain)?;
        let schema = with_types_of(&planned.named, &planned.plan.schema());
        Ok(Self {
            sql: sql.to_owned(),
            plan: planned.plan,
            schema: canonical::schema(&schema)?,
            is_row_wise: planned.is_row_wise,
        })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) async fn run(
        &self,
        state: &SessionState,
        records: RecordBatch,
        deadline: &Arc<Deadline>,
    ) -> Result<Selected> {
        let explain = |error: DataFusionError| explain(&error, Phase::Run, &self.sql, &[]);
        let rows = records.num_rows();
        let mut batch_rows = state.config().batch_size();
        let records = match self.is_row_wise {
            true => row_wise::number(&records).map_err(|error| explain(error.into()))?,
            false => {
                batch_rows = rows_within_bytes(&records, batch_rows);
                records
            }
        };
        // A plan that has run remembers it (a join its built side): each run gets a fresh copy.
        let plan = reset_plan_states(self.plan.clone()).map_err(explain)?;
        let plan = bounded(plan, deadline).map_err(explain)?;
        let mut stream =
            execute_stream(plan, context(state, records, batch_rows)).map_err(explain)?;
        let mut made = Made::new(self, rows);
        while let Some(batch) = stream.next().await {
            made.take(batch.map_err(explain)?)?;
        }
        Ok(made.selected)
    }
}

/// What the engine plans for a statement.
pub(super) struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    /// The columns of the statement, as it names them.
    named: Schema,
    is_row_wise: bool,
}

impl Planned {
    pub(super) async fn new(
        state: &SessionState,
        input: &str,
        schema: SchemaRef,
        statement: Statement,
        sql: &str,
    ) -> Result<Self, DataFusionError> {
        let state = with_input(state, input, schema)?;
        let asked = AskedJoins::of(&statement, sql);
        let logical = state.statement_to_plan(statement).await?;
        asked.check(&logical)?;
        pure::check_plan(&logical, sql)?;
        let named = logical.schema().as_arrow().clone();
        let is_row_wise = row_wise::is_row_wise(&logical)?;
        let logical = match is_row_wise {
            true => row_wise::numbered(&logical)?,
            false => logical,
        };
        Ok(Self {
            plan: state.create_physical_plan(&logical).await?,
            named,
            is_row_wise,
        })
    }
}

/// The output of a run so far.
struct Made<'a> {
    schema: &'a SchemaRef,
    selected: Selected,
    bytes_max: usize,
}

impl<'a> Made<'a> {
    /// Of several rows the caller can take fewer.
    fn new(select: &'a Select, rows: usize) -> Self {
        Self {
            schema: &select.schema,
            selected: Selected {
                rows: select.is_row_wise.then(Vec::new),
                ..Selected::default()
            },
            bytes_max: match rows > 1 {
                true => ROWS_BYTES_MAX,
                false => OUTPUT_BYTES_MAX,
            },
        }
    }

    fn take(&mut self, mut batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if let Some(rows) = &mut self.selected.rows {
            let numbers = batch.remove_column(batch.num_columns() - 1);
            let numbers = numbers.as_primitive_opt::<UInt32Type>().ok_or_else(|| {
                Error::bug("sql_output", "the SQL engine lost the numbers of the rows")
            })?;
            rows.extend_from_slice(numbers.values());
        }
        let batch = canonical::cast(&batch, self.schema)?;
        self.selected.bytes += bytes(&batch);
        if self.selected.bytes > self.bytes_max {
            return Err(self.too_large());
        }
        self.selected.records.push(batch);
        Ok(())
    }

    fn too_large(&self) -> Error {
        let made = format!(
            "the statement made more than {} bytes from one record",
            self.bytes_max
        );
        Error::data(OUTPUT_TOO_LARGE, made)
            .with_hint("a join or `unnest` multiplies rows: filter before")
    }
}

/// Bytes of the batch's own rows; buffers shared with batches that it is a slice of count once.
fn bytes(batch: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| {
        let data = column.to_data();
        data.get_slice_memory_size()
            .unwrap_or_else(|_| data.get_array_memory_size())
    };
    batch.columns().iter().map(column).sum()
}

/// The batch of a run travels in its context; the functions are in the plan already.
fn context(state: &SessionState, records: RecordBatch, batch_rows: usize) -> Arc<TaskContext> {
    let config = state.config().clone().with_batch_size(batch_rows);
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_owned(),
        config.with_extension(Arc::new(Rows(records))),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        state.runtime_env().clone(),
    ))
}

/// The columns of the statement with the types that the plan gives them: those are settled when the plan is made. The plan may
/// have a hidden column more.
fn with_types_of(named: &Schema, planned: &Schema) -> Schema {
    let fields = named.fields().iter().zip(planned.fields());
    let fields = fields.map(|(field, planned)| {
        let kind = planned.data_type().clone();
        field.as_ref().clone().with_data_type(kind)
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), named.metadata().clone())
}

/// The state with a catalog that holds the input and nothing else.
fn with_input(
    state: &SessionState,
    input: &str,
    schema: SchemaRef,
) -> Result<SessionState, DataFusionError> {
    let tables = MemorySchemaProvider::new();
    tables.register_table(input.to_owned(), Arc::new(Input(schema)))?;
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(NO_NAMESPACE, Arc::new(tables))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(SessionStateBuilder::new_from_existing(state.clone())
        .with_catalog_list(Arc::new(catalogs))
        .build())
}

/// A boolean expression over one schema, ready to run.
#[derive(Debug)]
pub(super) struct Filter {
    sql: String,
    expr: Arc<dyn PhysicalExpr>,
}

impl Filter {
    pub(super) fn plan(state: &SessionState, schema: &SchemaRef, sql: &str) -> Result<Self> {
        let explain = |error: DataFusionError| explain(&error, Phase::Plan, sql, &[]);
        let tokens = statement::tokens(sql)?;
        let mut parsed = statement::parser(tokens, sql)?
            .parse_into_expr()
            .map_err(explain)?;
        crate::rewrite::rewrite_expression(&mut parsed.expr)?;
        let columns = DFSchema::try_from(schema.as_ref().clone()).map_err(explain)?;
        let expr = state
            .create_logical_expr_from_sql_expr(parsed, &columns)
            .map_err(explain)?;
        pure::check(&expr, sql).map_err(explain)?;
        let expr = crate::semantics::over(expr, &columns).map_err(explain)?;
        let kind = expr.get_type(&columns).map_err(explain)?;
        if !matches!(kind, DataType::Boolean | DataType::Null) {
            return Err(Error::config(
                "not_boolean",
                format!("1:1: the expression gives {kind}, but true or false is needed"),
            )
            .with_hint("compare it with something: `… > 0`"));
        }
        let expr = state
            .create_physical_expr(expr, &columns)
            .map_err(explain)?;
        Ok(Self {
            sql: sql.to_owned(),
            expr,
        })
    }

    pub(super) fn evaluate(&self, records: &RecordBatch) -> Result<BooleanArray> {
        let explain = |error: DataFusionError| explain(&error, Phase::Run, &self.sql, &[]);
        let value = self.expr.evaluate(records).map_err(explain)?;
        let array = value.into_array(records.num_rows()).map_err(explain)?;
        Ok(match array.as_boolean_opt() {
            Some(answer) => answer.clone(),
            // The expression is NULL for every row.
            None => BooleanArray::new_null(records.num_rows()),
        })
    }
}
