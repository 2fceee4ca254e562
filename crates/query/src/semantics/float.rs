//! Floats compare as in Postgres: -0.0 equals 0.0, every NaN equals every NaN and is greater than all numbers. Intervals compare by
//! their length.
//!
//! Arrow orders floats by their bits. Where a float is compared, grouped, sorted or made distinct, its operand goes through
//! [`comparable`], which gives equal values equal bits. A pruning rule cannot look through that function: bounds of files leave
//! out NaN, so only the scan of a table prunes by floats, where that is right.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, GenericListArray,
    OffsetSizeTrait, PrimitiveArray, StructArray,
};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, IntervalUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, JoinConstraint, Result, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, Alias, InSubquery, Sort, WindowFunctionDefinition,
};
use datafusion::logical_expr::{
    AggregateUDF, Distinct, DistinctOn, Expr, ExprSchemable, LogicalPlan, Operator, Projection,
    ScalarUDF,
};

use crate::function::nested::is_quantified;
use crate::function::{ScalarDefinition, interval};
use crate::types::has_many_forms;

/// The name of the function, which `EXPLAIN` shows.
pub(crate) const COMPARABLE: &str = "comparable";

/// Functions that compare their arguments, or the items of their arguments.
const COMPARING_FUNCTIONS: [&str; 21] = [
    "nullif",
    "greatest",
    "least",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_distinct",
    "array_union",
    "array_intersect",
    "array_except",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_n",
    "array_remove_all",
    "array_replace",
    "array_replace_n",
    "array_replace_all",
    "array_sort",
    "array_max",
    "array_min",
];

/// Aggregates that compare values; any aggregate does when it is `DISTINCT`.
const COMPARING_AGGREGATES: [&str; 7] = [
    "min",
    "max",
    "median",
    "approx_distinct",
    "approx_median",
    "percentile_cont",
    "mode",
];

/// `min` and `max` that know infinities, NaN, frames without a value and the order of nested values, in place of the engine's.
#[derive(Debug)]
pub(super) struct Extremes {
    extremes: [Arc<AggregateUDF>; 2],
    /// Those of lists and structs.
    nested: [Arc<AggregateUDF>; 2],
    /// `count` of rows, lists and maps.
    count: Arc<AggregateUDF>,
}

impl Extremes {
    pub(super) fn new() -> Self {
        Self {
            extremes: crate::wide::extremes(),
            nested: crate::wide::nested_extremes(),
            count: crate::wide::count_of_nested(),
        }
    }

    /// The aggregate with the function in place of the engine's, when it is `min` or `max` of floats or nested values, or over a
    /// window.
    pub(super) fn replace(&self, expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        match expr {
            Expr::AggregateFunction(mut call) => {
                let args = &call.params.args;
                let is_own = is_first_float(args, schema) || is_first_nested(args, schema);
                let found = self.find(&call.func, args, schema).filter(|_| is_own);
                match found.or_else(|| self.find_count(&call, schema)) {
                    Some(func) => {
                        call.func = func;
                        Transformed::yes(Expr::AggregateFunction(call))
                    }
                    None => Transformed::no(Expr::AggregateFunction(call)),
                }
            }
            Expr::WindowFunction(mut window) => {
                let found = match &window.fun {
                    WindowFunctionDefinition::AggregateUDF(func) => {
                        self.find(func, &window.params.args, schema)
                    }
                    WindowFunctionDefinition::WindowUDF(_) => None,
                };
                match found {
                    Some(func) => {
                        window.fun = WindowFunctionDefinition::AggregateUDF(func);
                        Transformed::yes(Expr::WindowFunction(window))
                    }
                    None => Transformed::no(Expr::WindowFunction(window)),
                }
            }
            other => Transformed::no(other),
        }
    }

    /// For `count(DISTINCT x)` of values that have members.
    fn find_count(&self, call: &AggregateFunction, schema: &DFSchema) -> Option<Arc<AggregateUDF>> {
        let [value] = call.params.args.as_slice() else {
            return None;
        };
        let is_distinct_count = call.params.distinct && call.func.name() == "count";
        let is_nested = is_distinct_count && value.get_type(schema).ok()?.is_nested();
        is_nested.then(|| Arc::clone(&self.count))
    }

    fn find(
        &self,
        func: &Arc<AggregateUDF>,
        args: &[Expr],
        schema: &DFSchema,
    ) -> Option<Arc<AggregateUDF>> {
        let extremes = match is_first_nested(args, schema) {
            true => &self.nested,
            false => &self.extremes,
        };
        extremes
            .iter()
            .find(|extreme| extreme.name() == func.name())
            .cloned()
    }
}

fn is_first_nested(args: &[Expr], schema: &DFSchema) -> bool {
    let kind = args.first().and_then(|arg| arg.get_type(schema).ok());
    kind.is_some_and(|kind| super::nested::has_order(&kind))
}

fn is_first_float(args: &[Expr], schema: &DFSchema) -> bool {
    let kind = args.first().and_then(|arg| arg.get_type(schema).ok());
    kind.is_some_and(|kind| kind.is_floating())
}

/// Gives equal floats, at any depth of lists and structs, equal bits.
pub(crate) fn comparable() -> Arc<ScalarUDF> {
    identity(COMPARABLE, |args| Ok(with_equal_bits(&args[0])))
}

/// Gives its argument back: hides a cast that changes the order of values from everything that compares bounds.
pub(crate) fn unordered() -> Arc<ScalarUDF> {
    identity("unordered", |args| Ok(args[0].clone()))
}

fn identity(name: &'static str, kernel: crate::function::Kernel) -> Arc<ScalarUDF> {
    let kind = |types: &[DataType]| Ok(types[0].clone());
    let same = |types: &[DataType]| Ok(types.to_vec());
    ScalarDefinition::new(name, kind, same, kernel).shared()
}

fn with_equal_bits(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let is_odd = |value: f64| {
                value.to_bits() == (-0.0_f64).to_bits()
                    || (value.is_nan() && value.to_bits() != f64::NAN.to_bits())
            };
            let even = |value: f64| {
                if value.is_nan() {
                    f64::NAN
                } else {
                    value + 0.0
                }
            };
            floats::<Float64Type>(array, is_odd, even)
        }
        DataType::Float32 => {
            let is_odd = |value: f32| {
                value.to_bits() == (-0.0_f32).to_bits()
                    || (value.is_nan() && value.to_bits() != f32::NAN.to_bits())
            };
            let even = |value: f32| {
                if value.is_nan() {
                    f32::NAN
                } else {
                    value + 0.0
                }
            };
            floats::<Float32Type>(array, is_odd, even)
        }
        DataType::Float16 => {
            let zero = <Float16Type as ArrowPrimitiveType>::Native::from_f32(0.0);
            let nan = <Float16Type as ArrowPrimitiveType>::Native::from_f32(f32::NAN);
            floats::<Float16Type>(
                array,
                |value| value == zero || value.is_nan(),
                |value| {
                    if value.is_nan() {
                        nan
                    } else if value == zero {
                        zero
                    } else {
                        value
                    }
                },
            )
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => interval::canonical(array),
        DataType::List(_) => list::<i32>(array),
        DataType::LargeList(_) => list::<i64>(array),
        DataType::FixedSizeList(field, size) => {
            let lists = array.as_fixed_size_list();
            let items = with_equal_bits(lists.values());
            Arc::new(FixedSizeListArray::new(
                field.clone(),
                *size,
                items,
                lists.nulls().cloned(),
            ))
        }
        DataType::Struct(fields) if has_many_forms(array.data_type()) => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().map(with_equal_bits).collect();
            match StructArray::try_new(fields.clone(), columns, structs.nulls().cloned()) {
                Ok(structs) => Arc::new(structs),
                Err(_) => array.clone(),
            }
        }
        _ => array.clone(),
    }
}

/// Most columns hold no such value: one pass without a branch finds that out, and the column stays as it is.
fn floats<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    is_odd: impl Fn(T::Native) -> bool,
    even: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let values: &PrimitiveArray<T> = array.as_primitive();
    let has_odd = values.values().chunks(256).any(|chunk| {
        chunk
            .iter()
            .fold(false, |found, value| found | is_odd(*value))
    });
    if has_odd {
        Arc::new(values.unary::<_, T>(even))
    } else {
        array.clone()
    }
}

fn list<O: OffsetSizeTrait>(array: &ArrayRef) -> ArrayRef {
    if !has_many_forms(array.data_type()) {
        return array.clone();
    }
    let lists = array.as_list::<O>();
    let (field, offsets, items, nulls) = lists.clone().into_parts();
    Arc::new(GenericListArray::new(
        field,
        offsets,
        with_equal_bits(&items),
        nulls,
    ))
}

fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema)
        .is_ok_and(|kind| has_many_forms(&kind))
}

fn wrapped(expr: Expr, function: &Arc<ScalarUDF>) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), metadata) => Expr::Literal(
            ScalarValue::Float64(Some(if value.is_nan() {
                f64::NAN
            } else {
                value + 0.0
            })),
            metadata,
        ),
        Expr::Literal(ScalarValue::Float32(Some(value)), metadata) => Expr::Literal(
            ScalarValue::Float32(Some(if value.is_nan() {
                f32::NAN
            } else {
                value + 0.0
            })),
            metadata,
        ),
        Expr::ScalarFunction(call) if call.func.name() == COMPARABLE => Expr::ScalarFunction(call),
        other => function.call(vec![other]),
    }
}

fn wrap_if_float(expr: Expr, schema: &DFSchema, function: &Arc<ScalarUDF>) -> Expr {
    if is_float(&expr, schema) {
        wrapped(expr, function)
    } else {
        expr
    }
}

/// The expression with its compared operands made comparable.
pub(super) fn compared(
    expr: Expr,
    schema: &DFSchema,
    function: &Arc<ScalarUDF>,
) -> Result<Transformed<Expr>> {
    let wrap = |expr: Expr| wrap_if_float(expr, schema, function);
    let boxed = |expr: Box<Expr>| Box::new(wrap(*expr));
    Ok(Transformed::yes(match expr {
        Expr::BinaryExpr(mut binary) if is_comparison(binary.op) => {
            if !is_float(&binary.left, schema) && !is_float(&binary.right, schema) {
                return Ok(Transformed::no(Expr::BinaryExpr(binary)));
            }
            binary.left = boxed(binary.left);
            binary.right = boxed(binary.right);
            Expr::BinaryExpr(binary)
        }
        Expr::Between(mut between) if is_float(&between.expr, schema) => {
            between.expr = boxed(between.expr);
            between.low = boxed(between.low);
            between.high = boxed(between.high);
            Expr::Between(between)
        }
        Expr::InList(mut list) if is_float(&list.expr, schema) => {
            list.expr = boxed(list.expr);
            list.list = list.list.into_iter().map(wrap).collect();
            Expr::InList(list)
        }
        Expr::Case(mut case)
            if case
                .expr
                .as_ref()
                .is_some_and(|expr| is_float(expr, schema)) =>
        {
            case.expr = case.expr.map(boxed);
            case.when_then_expr = case
                .when_then_expr
                .into_iter()
                .map(|(when, then)| (boxed(when), then))
                .collect();
            Expr::Case(case)
        }
        Expr::InSubquery(InSubquery {
            expr,
            mut subquery,
            negated,
        }) if is_float(&expr, schema) => {
            let plan = all_comparable(subquery.subquery.clone(), function)?;
            subquery.subquery = Arc::new(plan);
            Expr::InSubquery(InSubquery::new(boxed(expr), subquery, negated))
        }
        Expr::ScalarFunction(mut call)
            if COMPARING_FUNCTIONS.contains(&call.func.name())
                || is_quantified(call.func.name()) =>
        {
            if !call.args.iter().any(|arg| is_float(arg, schema)) {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            }
            call.args = call.args.into_iter().map(wrap).collect();
            Expr::ScalarFunction(call)
        }
        Expr::AggregateFunction(mut call) => {
            compared_aggregate(call.func.name(), &mut call.params, &wrap);
            // The engine counts rows for which the filter is null in some aggregates.
            call.params.filter = call.params.filter.map(|filter| match *filter {
                known @ Expr::IsTrue(_) => Box::new(known),
                other => Box::new(Expr::IsTrue(Box::new(other))),
            });
            Expr::AggregateFunction(call)
        }
        Expr::WindowFunction(mut window) => {
            if let WindowFunctionDefinition::AggregateUDF(aggregate) = &window.fun
                && COMPARING_AGGREGATES.contains(&aggregate.name())
            {
                window.params.args = window.params.args.into_iter().map(wrap).collect();
            }
            window.params.partition_by = window.params.partition_by.into_iter().map(wrap).collect();
            for sort in &mut window.params.order_by {
                sort.expr = wrap(sort.expr.clone());
            }
            Expr::WindowFunction(window)
        }
        other => return Ok(Transformed::no(other)),
    }))
}

fn compared_aggregate(
    name: &str,
    params: &mut AggregateFunctionParams,
    wrap: &impl Fn(Expr) -> Expr,
) {
    if params.distinct || COMPARING_AGGREGATES.contains(&name) {
        params.args = std::mem::take(&mut params.args)
            .into_iter()
            .map(wrap)
            .collect();
    }
    for sort in &mut params.order_by {
        sort.expr = wrap(sort.expr.clone());
    }
}

fn is_comparison(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// A key of a sort, join or group: the whole expression is compared.
pub(super) fn key(
    expr: Expr,
    schema: &DFSchema,
    function: &Arc<ScalarUDF>,
) -> Result<Transformed<Expr>> {
    let inner = match &expr {
        Expr::Alias(Alias { expr, .. }) => expr.as_ref(),
        other => other,
    };
    if matches!(inner, Expr::AggregateFunction(_) | Expr::GroupingSet(_))
        || !is_float(inner, schema)
    {
        return Ok(Transformed::no(expr));
    }
    Ok(Transformed::yes(match expr {
        Expr::Alias(mut alias) => {
            alias.expr = Box::new(wrapped(*alias.expr, function));
            Expr::Alias(alias)
        }
        other => wrapped(other, function),
    }))
}

/// Rows that are compared as a whole: `DISTINCT`, `UNION`, `GROUPING SETS`; joins by name lose the claim to have plain columns.
pub(super) fn distinct(
    plan: LogicalPlan,
    function: &Arc<ScalarUDF>,
) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Distinct(Distinct::All(input)) if has_float_column(&input) => {
            let input = Arc::new(all_comparable(input, function)?);
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(
                input,
            ))))
        }
        LogicalPlan::Distinct(Distinct::On(on)) => distinct_on(on, function),
        LogicalPlan::Aggregate(mut node)
            if has_float_column(&node.input)
                && node
                    .group_expr
                    .iter()
                    .any(|expr| matches!(expr, Expr::GroupingSet(_))) =>
        {
            node.input = Arc::new(all_comparable(node.input, function)?);
            Ok(Transformed::yes(LogicalPlan::Aggregate(node)))
        }
        LogicalPlan::Join(mut join)
            if join.join_constraint == JoinConstraint::Using
                && join.on.iter().any(|(left, _)| {
                    matches!(left, Expr::ScalarFunction(call) if call.func.name() == COMPARABLE)
                }) =>
        {
            join.join_constraint = JoinConstraint::On;
            Ok(Transformed::yes(LogicalPlan::Join(join)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// The keys of `DISTINCT ON` and the order that has to begin with them, with each key once: the engine cannot sort by one twice.
fn distinct_on(on: DistinctOn, function: &Arc<ScalarUDF>) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(on.input.schema());
    let wrap = |expr: Expr| wrap_if_float(expr, &schema, function);
    let keys = on.on_expr.into_iter().map(wrap).collect();
    let order = on.sort_expr.map(|order| {
        let mut once: Vec<Sort> = Vec::with_capacity(order.len());
        for mut sort in order {
            sort.expr = wrap(sort.expr);
            if once.iter().all(|earlier| earlier.expr != sort.expr) {
                once.push(sort);
            }
        }
        once
    });
    let on = DistinctOn::try_new(keys, on.select_expr, order, on.input)?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))))
}

fn has_float_column(plan: &LogicalPlan) -> bool {
    let mut fields = plan.schema().fields().iter();
    fields.any(|field| has_many_forms(field.data_type()))
}

/// The plan with every float column made comparable, under its own name.
fn all_comparable(plan: Arc<LogicalPlan>, function: &Arc<ScalarUDF>) -> Result<LogicalPlan> {
    let columns = plan.schema().iter().map(|(relation, field)| {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        if has_many_forms(field.data_type()) {
            function
                .call(vec![column])
                .alias_qualified(relation.cloned(), field.name())
        } else {
            column
        }
    });
    let columns = columns.collect();
    Projection::try_new(columns, plan).map(LogicalPlan::Projection)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, ListArray};

    use super::*;

    #[test]
    fn equal_floats_have_equal_bits_at_any_depth() {
        let odd = Float64Array::from(vec![-0.0, -f64::NAN, 1.5, f64::NEG_INFINITY]);
        let bits = |array: &ArrayRef| -> Vec<u64> {
            let floats = array.as_primitive::<Float64Type>();
            floats
                .values()
                .iter()
                .map(|value| value.to_bits())
                .collect()
        };
        let expected = [0.0, f64::NAN, 1.5, f64::NEG_INFINITY].map(f64::to_bits);
        let odd: ArrayRef = Arc::new(odd);
        assert_eq!(bits(&with_equal_bits(&odd)), expected);
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![
            Some(-0.0),
            Some(-f64::NAN),
            Some(1.5),
            Some(f64::NEG_INFINITY),
        ])]);
        let lists = with_equal_bits(&(Arc::new(lists) as ArrayRef));
        assert_eq!(bits(lists.as_list::<i32>().values()), expected);
    }
}
