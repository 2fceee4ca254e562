//! Ready plans: planned once for a statement and a schema, run for every batch.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList, SchemaProvider};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{ExprSchemable, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use forebay_core::{Error, Result};
use futures::StreamExt;

use super::input::{Input, Rows};
use super::{OUTPUT_BYTES_MAX, canonical, pure};
use crate::error::{Phase, explain};
use crate::state::{CATALOG, NO_NAMESPACE};
use crate::statement;

/// A `SELECT` over one input, ready to run.
pub(super) struct Select {
    sql: String,
    plan: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
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
        let state = with_input(state, input, schema).map_err(explain)?;
        let logical = state.statement_to_plan(parsed).await.map_err(explain)?;
        pure::check_plan(&logical, sql).map_err(explain)?;
        let output = canonical::schema(output(&logical))?;
        let plan = state
            .create_physical_plan(&logical)
            .await
            .map_err(explain)?;
        Ok(Self {
            sql: sql.to_owned(),
            plan,
            schema: output,
        })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) async fn run(
        &self,
        state: &SessionState,
        records: RecordBatch,
    ) -> Result<Vec<RecordBatch>> {
        let explain = |error: DataFusionError| explain(&error, Phase::Run, &self.sql, &[]);
        let config = state
            .config()
            .clone()
            .with_extension(Arc::new(Rows(records)));
        // The functions are in the plan already.
        let context = TaskContext::new(
            None,
            state.session_id().to_owned(),
            config,
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            state.runtime_env().clone(),
        );
        // A plan that has run remembers it (a join its built side): each run gets a fresh copy.
        let plan = reset_plan_states(self.plan.clone()).map_err(explain)?;
        let mut stream = execute_stream(plan, Arc::new(context)).map_err(explain)?;
        let mut batches = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = stream.next().await {
            let batch = canonical::cast(&batch.map_err(explain)?, &self.schema)?;
            bytes += batch.get_array_memory_size();
            if bytes > OUTPUT_BYTES_MAX {
                return Err(too_large());
            }
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
        }
        Ok(batches)
    }
}

fn too_large() -> Error {
    Error::data("sql_output_too_large", format!("the statement made more than {OUTPUT_BYTES_MAX} bytes from one batch"))
        .with_hint("a join without a condition or a generated series multiplies rows: filter before, or use a smaller buffer")
}

fn output(plan: &LogicalPlan) -> &Schema {
    plan.schema().as_arrow()
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
        let parsed = statement::parser(tokens, sql)?
            .parse_into_expr()
            .map_err(explain)?;
        let columns = DFSchema::try_from(schema.as_ref().clone()).map_err(explain)?;
        let expr = state
            .create_logical_expr_from_sql_expr(parsed, &columns)
            .map_err(explain)?;
        pure::check(&expr, sql).map_err(explain)?;
        let expr = crate::checked::over(expr, &columns).map_err(explain)?;
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
