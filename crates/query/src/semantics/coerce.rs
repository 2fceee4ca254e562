//! Settles types where the engine would settle them wrongly: runs before its own coercion and only adds casts.
//!
//! A decimal beside a float becomes a float (the engine takes both to `decimal(30,15)`, which cuts or fails); text beside a
//! timestamp becomes a timestamp in microseconds (the engine takes nanoseconds, which end at the year 2262), a date likewise.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Union,
};
use datafusion::optimizer::AnalyzerRule;

use super::{arithmetic, literal, operand};

/// The rule; see the module.
#[derive(Debug)]
pub(crate) struct CommonTypes;

impl AnalyzerRule for CommonTypes {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite_plan)?.data)
    }

    fn name(&self) -> &str {
        "common_types"
    }
}

fn rewrite_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(scan.projected_schema.as_ref());
    }
    let schema: DFSchemaRef = Arc::new(schema);
    literal::check_keys(&plan)?;
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(rewrite(expr, &schema)?.update_data(|expr| name.restore(expr)))
    })?;
    let plan = plan.map_data(with_own_schema)?;
    plan.transform_data(|plan| match plan {
        LogicalPlan::Union(union) => union_of_floats(union),
        other => Ok(Transformed::no(other)),
    })
}

/// A node knows the types of its columns from when it was made; those of its inputs may have changed since.
pub(super) fn with_own_schema(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Join(_) => plan.recompute_schema(),
        LogicalPlan::Union(union) => own_union(union).map(LogicalPlan::Union),
        other => Ok(other),
    }
}

/// The engine keeps the schema of a union as long as the number of its columns is right.
fn own_union(union: Union) -> Result<Union> {
    let made = Union::try_new_with_loose_types(union.inputs.clone())?;
    let is_same = made.schema.columns() == union.schema.columns();
    Ok(if is_same { made } else { union })
}

/// The expression with casts where peers need them.
pub(crate) fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let expr = literal::read(expr, schema)?;
        let expr = expr.transform_data(|expr| Ok(operand::settle(expr, schema)))?;
        expr.transform_data(|expr| Ok(settle(expr, schema)))
    })
}

fn settle(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(mut binary) => {
            if binary.op == Operator::Divide
                && let Some(quotient) = arithmetic::quotient(&binary.left, &binary.right, schema)
            {
                return Transformed::yes(quotient);
            }
            if is_compared(binary.op) || is_computed(binary.op) {
                let kinds = kinds(&[&binary.left, &binary.right], schema);
                let to = common(&kinds, is_compared(binary.op));
                let left = binary.left.clone();
                binary.left = Box::new(cast_to(*binary.left, &to, schema));
                binary.right = Box::new(cast_to(*binary.right, &to, schema));
                if is_computed(binary.op) {
                    binary.left = Box::new(with_time_of_day(*binary.left, &binary.right, schema));
                    binary.right = Box::new(with_time_of_day(*binary.right, &left, schema));
                }
            }
            Transformed::yes(Expr::BinaryExpr(binary))
        }
        Expr::Between(mut between) => {
            let kinds = kinds(&[&between.expr, &between.low, &between.high], schema);
            let to = common(&kinds, true);
            between.expr = Box::new(cast_to(*between.expr, &to, schema));
            between.low = Box::new(cast_to(*between.low, &to, schema));
            between.high = Box::new(cast_to(*between.high, &to, schema));
            Transformed::yes(Expr::Between(between))
        }
        Expr::InList(mut list) => {
            let mut peers: Vec<&Expr> = vec![&list.expr];
            peers.extend(&list.list);
            let to = common(&kinds(&peers, schema), true);
            list.expr = Box::new(cast_to(*list.expr, &to, schema));
            list.list = each(list.list, &to, schema);
            Transformed::yes(Expr::InList(list))
        }
        Expr::Case(mut case) => {
            let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            let results: Vec<&Expr> = results.chain(case.else_expr.as_deref()).collect();
            let to = common(&kinds(&results, schema), false);
            let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
            let compared: Vec<&Expr> = case.expr.as_deref().into_iter().chain(whens).collect();
            let compared = case
                .expr
                .is_some()
                .then(|| common(&kinds(&compared, schema), true));
            case.when_then_expr = case
                .when_then_expr
                .into_iter()
                .map(|(when, then)| {
                    let when = match &compared {
                        Some(kind) => cast_to(*when, kind, schema),
                        None => *when,
                    };
                    (Box::new(when), Box::new(cast_to(*then, &to, schema)))
                })
                .collect();
            case.else_expr = case
                .else_expr
                .map(|expr| Box::new(cast_to(*expr, &to, schema)));
            case.expr = case.expr.map(|expr| match &compared {
                Some(kind) => Box::new(cast_to(*expr, kind, schema)),
                None => expr,
            });
            Transformed::yes(Expr::Case(case))
        }
        Expr::InSubquery(member) => settle_membership(member, schema),
        Expr::ScalarFunction(mut call) if matches!(call.func.name(), "round" | "trunc") => {
            // The engine reads the digits from a literal of this type only: else the type of the result changes later.
            call.args = call.args.into_iter().map(int_literal).collect();
            Transformed::yes(Expr::ScalarFunction(call))
        }
        Expr::ScalarFunction(mut call) => {
            let peers: Vec<&Expr> = call.args.iter().collect();
            let to = common(&kinds(&peers, schema), false);
            if to == Common::Float && takes_peers(call.func.name()) {
                call.args = each(call.args, &to, schema);
                return Transformed::yes(Expr::ScalarFunction(call));
            }
            Transformed::no(Expr::ScalarFunction(call))
        }
        Expr::AggregateFunction(mut call) => {
            // Percentiles and the like are floats.
            call.params.args = call
                .params
                .args
                .into_iter()
                .enumerate()
                .map(|(at, arg)| if at == 0 { arg } else { float_literal(arg) })
                .collect();
            Transformed::yes(Expr::AggregateFunction(call))
        }
        other => Transformed::no(other),
    }
}

/// A subquery's column becomes the type that it is compared in, as the value does.
fn settle_membership(member: InSubquery, schema: &DFSchema) -> Transformed<Expr> {
    let unchanged = |member| Transformed::no(Expr::InSubquery(member));
    let members = member.subquery.subquery.schema();
    if members.fields().len() != 1 {
        return unchanged(member);
    }
    let (relation, field) = members.qualified_field(0);
    let column = Expr::Column(Column::new(relation.cloned(), field.name()));
    let mut kinds = kinds(&[&member.expr], schema);
    kinds.push(field.data_type().clone());
    let to = common(&kinds, true);
    let column = cast_to(column, &to, members).alias_qualified(relation.cloned(), field.name());
    let rows = member.subquery.subquery.clone();
    match Projection::try_new(vec![column], rows) {
        Ok(rows) if to != Common::AsTheEngineDoes => {
            let mut subquery = member.subquery;
            subquery.subquery = Arc::new(LogicalPlan::Projection(rows));
            let value = Box::new(cast_to(*member.expr, &to, schema));
            Transformed::yes(Expr::InSubquery(InSubquery::new(
                value,
                subquery,
                member.negated,
            )))
        }
        _ => unchanged(member),
    }
}

fn int_literal(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(digits)), metadata) => match i32::try_from(digits) {
            Ok(digits) => Expr::Literal(ScalarValue::Int32(Some(digits)), metadata),
            Err(_) => Expr::Literal(ScalarValue::Int64(Some(digits)), metadata),
        },
        other => other,
    }
}

/// Functions whose arguments come to one type.
fn takes_peers(name: &str) -> bool {
    matches!(
        name,
        "coalesce"
            | "nvl"
            | "ifnull"
            | "nvl2"
            | "nullif"
            | "greatest"
            | "least"
            | "make_array"
            | "array_append"
            | "array_prepend"
            | "array_has"
            | "array_position"
            | "array_positions"
            | "array_remove"
            | "array_remove_all"
            | "array_replace"
            | "array_replace_all"
            | "array_resize"
    )
}

fn kinds(peers: &[&Expr], schema: &DFSchema) -> Vec<DataType> {
    let known = peers.iter().filter_map(|expr| expr.get_type(schema).ok());
    known.collect()
}

/// What peers come to, where the engine must not choose.
#[derive(Debug, Clone, PartialEq)]
enum Common {
    AsTheEngineDoes,
    Float,
    Instant(DataType),
    /// Decimals of more digits than 38, only to compare.
    WideDecimal(DataType),
}

fn common(kinds: &[DataType], is_compared: bool) -> Common {
    let has = |is_kind: fn(&DataType) -> bool| kinds.iter().any(is_kind);
    if has(|kind| kind.is_floating() || is_list_of_floats(kind)) && has(DataType::is_decimal) {
        return Common::Float;
    }
    if is_compared && let Some(wide) = wide_decimal(kinds) {
        return Common::WideDecimal(wide);
    }
    if is_compared {
        let instants = kinds.iter().filter_map(|kind| match kind {
            DataType::Timestamp(_, zone) => Some(zone.clone()),
            _ => None,
        });
        let zone = instants.reduce(|one, other| one.or(other));
        let mixed = has(|kind| kind.is_string() || matches!(kind, DataType::Date32))
            || has(
                |kind| matches!(kind, DataType::Timestamp(unit, _) if *unit != TimeUnit::Microsecond),
            );
        if let (Some(zone), true) = (zone, mixed) {
            return Common::Instant(DataType::Timestamp(TimeUnit::Microsecond, zone));
        }
    }
    Common::AsTheEngineDoes
}

/// A decimal with all digits of these, where 38 are not enough: a number must not be rounded, or fail, because of its peer.
fn wide_decimal(kinds: &[DataType]) -> Option<DataType> {
    let digits = kinds.iter().map(|kind| match kind {
        DataType::Decimal128(digits, scale) => {
            Some((i16::from(*digits) - i16::from(*scale), i16::from(*scale)))
        }
        kind if kind.is_integer() => Some((20, 0)),
        DataType::Null => Some((0, 0)),
        _ => None,
    });
    let digits = digits.collect::<Option<Vec<_>>>()?;
    let has_decimal = kinds.iter().any(DataType::is_decimal);
    let whole = digits.iter().map(|(whole, _)| *whole).max()?;
    let scale = digits.iter().map(|(_, scale)| *scale).max()?;
    let is_wide = has_decimal && kinds.len() > 1 && whole + scale > 38;
    is_wide.then(|| DataType::Decimal256(76, i8::try_from(scale).unwrap_or(38)))
}

fn is_list_of_floats(kind: &DataType) -> bool {
    matches!(kind, DataType::List(item) if item.data_type().is_floating())
}

fn each(exprs: Vec<Expr>, to: &Common, schema: &DFSchema) -> Vec<Expr> {
    let cast = exprs.into_iter().map(|expr| cast_to(expr, to, schema));
    cast.collect()
}

fn cast_to(expr: Expr, to: &Common, schema: &DFSchema) -> Expr {
    let Ok(kind) = expr.get_type(schema) else {
        return expr;
    };
    match to {
        Common::AsTheEngineDoes => expr,
        Common::Float if kind.is_decimal() => match float_literal(expr) {
            literal @ Expr::Literal(ScalarValue::Float64(_), _) => literal,
            other => Expr::Cast(Cast::new(Box::new(other), DataType::Float64)),
        },
        Common::WideDecimal(wide) if kind.is_decimal() || kind.is_integer() => {
            Expr::Cast(Cast::new(Box::new(expr), wide.clone()))
        }
        Common::Instant(instant)
            if kind.is_string() || matches!(kind, DataType::Date32 | DataType::Timestamp(..)) =>
        {
            if kind == *instant {
                expr
            } else {
                Expr::Cast(Cast::new(Box::new(expr), instant.clone()))
            }
        }
        _ => expr,
    }
}

/// A literal decimal as the nearest float to its digits.
fn float_literal(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(value @ ScalarValue::Decimal128(Some(_), ..), metadata) => {
            match value.to_string().parse::<f64>() {
                Ok(float) => Expr::Literal(ScalarValue::Float64(Some(float)), metadata),
                Err(_) => Expr::Literal(value, metadata),
            }
        }
        Expr::Negative(inner) => Expr::Negative(Box::new(float_literal(*inner))),
        other => other,
    }
}

/// A date beside an interval of hours becomes a timestamp: the engine would drop the hours.
fn with_time_of_day(expr: Expr, beside: &Expr, schema: &DFSchema) -> Expr {
    let has_hours = match beside {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => {
            let IntervalMonthDayNano { nanoseconds, .. } = interval;
            *nanoseconds != 0
        }
        other => matches!(other.get_type(schema), Ok(DataType::Interval(_))),
    };
    if has_hours && matches!(expr.get_type(schema), Ok(DataType::Date32)) {
        Expr::Cast(Cast::new(Box::new(expr), crate::function::local()))
    } else {
        expr
    }
}

pub(super) fn is_compared(operator: Operator) -> bool {
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

fn is_computed(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
    )
}

/// Decimal columns of a union that are floats in another branch become floats.
fn union_of_floats(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.schema.fields().len();
    let is_mixed = |at: usize| {
        let mut kinds = union
            .inputs
            .iter()
            .map(|input| input.schema().field(at).data_type());
        let kinds: Vec<DataType> = kinds.by_ref().cloned().collect();
        common(&kinds, false) == Common::Float
    };
    let has_width = union
        .inputs
        .iter()
        .all(|input| input.schema().fields().len() == width);
    let mixed: Vec<usize> = if has_width {
        (0..width).filter(|at| is_mixed(*at)).collect()
    } else {
        Vec::new()
    };
    if mixed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.into_iter().map(|input| {
        let columns = input
            .schema()
            .iter()
            .enumerate()
            .map(|(at, (relation, field))| {
                let column = Expr::Column(Column::new(relation.cloned(), field.name()));
                if mixed.contains(&at) && field.data_type().is_decimal() {
                    Expr::Cast(Cast::new(Box::new(column), DataType::Float64))
                        .alias_qualified(relation.cloned(), field.name())
                } else {
                    column
                }
            });
        let columns = columns.collect();
        Projection::try_new(columns, input).map(|made| Arc::new(LogicalPlan::Projection(made)))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let union = Union::try_new_with_loose_types(inputs)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}
