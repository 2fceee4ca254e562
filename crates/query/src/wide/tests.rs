//! Every aggregate over batches without rows, in each of the ways in which the engine calls it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_empty_array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{AggregateUDF, EmitTo};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, col, lit};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

/// An argument of each kind that accumulators differ by.
fn kinds() -> Vec<DataType> {
    vec![
        DataType::Int64,
        DataType::Float64,
        DataType::Decimal128(10, 2),
        DataType::Utf8,
        DataType::Utf8View,
        DataType::Boolean,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::List(Arc::new(Field::new("item", DataType::Int64, true))),
    ]
}

fn schema(kind: &DataType) -> SchemaRef {
    let fields = ["x", "y"].map(|name| Field::new(name, kind.clone(), true));
    Arc::new(Schema::new(fields.to_vec()))
}

/// Calls of the function over `x`, `x` and `y`, or `x` and a literal, as far as it takes their types; also over rows that are sorted.
fn calls(function: &Arc<AggregateUDF>, kind: &DataType) -> Vec<AggregateFunctionExpr> {
    let schema = schema(kind);
    let column = |name: &str| col(name, &schema).unwrap();
    let arguments: [Vec<Arc<dyn PhysicalExpr>>; 4] = [
        vec![column("x")],
        vec![column("x"), column("y")],
        vec![column("x"), lit(0.5)],
        vec![column("x"), lit(",")],
    ];
    let taken = arguments
        .into_iter()
        .filter(|arguments| takes(function, arguments, &schema));
    let order = PhysicalSortExpr::new(Arc::new(Column::new("y", 1)), SortOptions::default());
    let orders = match ORDERED.contains(&function.name()) {
        true => vec![Vec::new(), vec![order]],
        false => vec![Vec::new()],
    };
    let mut calls = Vec::new();
    for arguments in taken {
        for order in &orders {
            let call = AggregateExprBuilder::new(Arc::clone(function), arguments.clone())
                .schema(Arc::clone(&schema))
                .alias("a")
                .order_by(order.clone());
            let Ok(call) = call.build() else { continue };
            let sorted = Arc::new(call.clone()).with_beneficial_ordering(true);
            calls.extend(sorted.unwrap_or(None));
            calls.push(call);
        }
    }
    calls
}

/// Aggregates that take an order of their values.
const ORDERED: [&str; 5] = [
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "nth_value",
];

/// Whether the function has such arguments without a cast. The planner refuses one that has no share.
fn takes(function: &AggregateUDF, arguments: &[Arc<dyn PhysicalExpr>], schema: &Schema) -> bool {
    let fields: Vec<FieldRef> = arguments
        .iter()
        .map(|argument| argument.return_field(schema).unwrap())
        .collect();
    let kinds = |fields: &[FieldRef]| -> Vec<DataType> {
        fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect()
    };
    let lacks_share = function.name() == "percentile_cont" && fields.len() == 1;
    !lacks_share
        && fields_with_udf(&fields, function).is_ok_and(|taken| kinds(&taken) == kinds(&fields))
}

fn empty(fields: &[FieldRef]) -> Vec<ArrayRef> {
    let columns = fields.iter().map(|field| field.data_type());
    columns.map(new_empty_array).collect()
}

fn inputs(call: &AggregateFunctionExpr, kind: &DataType) -> Vec<ArrayRef> {
    let arguments = call.expressions().into_iter();
    let schema = schema(kind);
    let mut kinds: Vec<DataType> = arguments
        .map(|argument| argument.data_type(&schema).unwrap())
        .collect();
    let orders = call.order_bys().iter();
    kinds.extend(orders.map(|order| order.expr.data_type(&schema).unwrap()));
    kinds.iter().map(new_empty_array).collect()
}

fn one_group(call: &AggregateFunctionExpr, kind: &DataType) -> Result<()> {
    let mut accumulator = call.create_accumulator()?;
    accumulator.update_batch(&inputs(call, kind))?;
    accumulator.merge_batch(&empty(&call.state_fields()?))?;
    accumulator.state()?;
    let mut accumulator = call.create_accumulator()?;
    accumulator.update_batch(&inputs(call, kind))?;
    accumulator.evaluate()?;
    let mut frame = call.create_sliding_accumulator()?;
    frame.update_batch(&inputs(call, kind))?;
    if frame.supports_retract_batch() {
        frame.retract_batch(&inputs(call, kind))?;
    }
    frame.evaluate()?;
    Ok(())
}

fn many_groups(call: &AggregateFunctionExpr, kind: &DataType) -> Result<()> {
    if !call.groups_accumulator_supported() {
        return Ok(());
    }
    let none = BooleanArray::from(Vec::<bool>::new());
    let mut accumulator = call.create_groups_accumulator()?;
    accumulator.update_batch(&inputs(call, kind), &[], Some(&none), 0)?;
    accumulator.merge_batch(&empty(&call.state_fields()?), &[], None, 0)?;
    accumulator.evaluate(EmitTo::All)?;
    let accumulator = call.create_groups_accumulator()?;
    if accumulator.supports_convert_to_state() {
        accumulator.convert_to_state(&inputs(call, kind), Some(&none))?;
    }
    Ok(())
}

fn panics(run: impl FnOnce() -> Result<()>) -> bool {
    catch_unwind(AssertUnwindSafe(|| run().is_ok())).is_err()
}

fn state() -> SessionState {
    crate::state::for_transforms().unwrap()
}

#[test]
fn no_aggregate_panics_over_batches_without_rows() {
    let mut wrong = Vec::new();
    let state = state();
    for (name, function) in state.aggregate_functions() {
        for kind in kinds() {
            for call in calls(function, &kind) {
                if panics(|| one_group(&call, &kind)) || panics(|| many_groups(&call, &kind)) {
                    wrong.push(format!("{name}({kind}) {:?}", call.order_bys()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
