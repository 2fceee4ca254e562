//! Settles types where the engine would settle them wrongly: runs before its own coercion and only adds casts.
//!
//! A decimal beside a float becomes a float (the engine takes both to `decimal(30,15)`, which cuts or fails); text beside a
//! timestamp becomes a timestamp in microseconds (the engine takes nanoseconds, which end at the year 2262), a date likewise.
//! Lists, structs and maps follow with what is in them.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Case, Cast, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Union,
};
use datafusion::optimizer::AnalyzerRule;

use super::{arithmetic, conversion, frame, literal, logic, operand, peer_arguments, row_types};
use crate::function::nested::common_type;

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
    let plan = plan.transform_data(frame::by_order)?;
    let plan = plan.transform_data(|plan| Ok(logic::settle_condition(plan, &schema)))?;
    let plan = plan.map_data(with_own_schema)?;
    plan.transform_data(row_types::settle)
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
        conversion::check(&expr, schema)?;
        let expr = literal::read(expr, schema)?;
        let expr = expr.transform_data(|expr| logic::settle(expr, schema))?;
        let expr = expr.transform_data(|expr| Ok(operand::settle(expr, schema)))?;
        let expr = expr.transform_data(|expr| frame::settle(expr, schema))?;
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
                let purpose = match is_compared(binary.op) {
                    true => Purpose::Compared,
                    false if is_difference(binary.op, &kinds) => Purpose::Chosen,
                    false => Purpose::Computed,
                };
                let to = common(&kinds, purpose);
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
            let to = common(&kinds, Purpose::Compared);
            between.expr = Box::new(cast_to(*between.expr, &to, schema));
            between.low = Box::new(cast_to(*between.low, &to, schema));
            between.high = Box::new(cast_to(*between.high, &to, schema));
            Transformed::yes(Expr::Between(between))
        }
        Expr::InList(mut list) => {
            let mut peers: Vec<&Expr> = vec![&list.expr];
            peers.extend(&list.list);
            let to = common(&kinds(&peers, schema), Purpose::Compared);
            list.expr = Box::new(cast_to(*list.expr, &to, schema));
            list.list = each(list.list, &to, schema);
            Transformed::yes(Expr::InList(list))
        }
        Expr::Case(mut case) => {
            let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            let results: Vec<&Expr> = results.chain(case.else_expr.as_deref()).collect();
            let to = common(&kinds(&results, schema), Purpose::Chosen);
            let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
            let compared: Vec<&Expr> = case.expr.as_deref().into_iter().chain(whens).collect();
            let compared = case
                .expr
                .is_some()
                .then(|| common(&kinds(&compared, schema), Purpose::Compared));
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
        Expr::ScalarFunction(call) if call.func.name() == "nvl2" && call.args.len() == 3 => {
            let mut args = call.args.into_iter();
            let [tested, value, otherwise] =
                [args.next(), args.next(), args.next()].map(Option::unwrap_or_default);
            let case = Case::new(
                None,
                vec![(Box::new(tested.is_not_null()), Box::new(value))],
                Some(Box::new(otherwise)),
            );
            Transformed::yes(settle(Expr::Case(case), schema).data)
        }
        Expr::ScalarFunction(mut call) => {
            let is_settled = peer_arguments::settle(call.func.name(), &mut call.args, schema);
            match is_settled {
                true => Transformed::yes(Expr::ScalarFunction(call)),
                false => Transformed::no(Expr::ScalarFunction(call)),
            }
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
    let to = common(&kinds, Purpose::Compared);
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

fn kinds(peers: &[&Expr], schema: &DFSchema) -> Vec<DataType> {
    let known = peers.iter().filter_map(|expr| expr.get_type(schema).ok());
    known.collect()
}

/// The common type of peers, where the engine must not choose.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Common {
    AsTheEngineDoes,
    Float,
    Instant(DataType),
    /// Decimals of more digits than 38, only to compare.
    WideDecimal(DataType),
    /// Lists, structs or maps, in which the engine would choose wrongly.
    Nested(DataType),
}

impl Common {
    /// The type that a value of this one is cast to; `None` where it is left as it is.
    pub(super) fn target(&self, kind: &DataType) -> Option<DataType> {
        let to = match self {
            Self::Float if kind.is_decimal() => DataType::Float64,
            Self::WideDecimal(wide) if kind.is_decimal() || kind.is_integer() => wide.clone(),
            Self::Instant(instant)
                if kind.is_string()
                    || matches!(kind, DataType::Date32 | DataType::Timestamp(..)) =>
            {
                instant.clone()
            }
            Self::Nested(nested) if kind.is_nested() => nested.clone(),
            _ => return None,
        };
        (to != *kind).then_some(to)
    }

    /// The type of all of them; `None` where the engine finds it.
    pub(super) fn into_type(self) -> Option<DataType> {
        match self {
            Self::AsTheEngineDoes => None,
            Self::Float => Some(DataType::Float64),
            Self::Instant(kind) | Self::WideDecimal(kind) | Self::Nested(kind) => Some(kind),
        }
    }
}

/// What peers come to one type for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be compared: texts are read, and decimals may be wide.
    Compared,
    /// To be results, one of which is chosen.
    Chosen,
    /// To be computed with: dates and timestamps are different operands.
    Computed,
}

pub(super) fn common(kinds: &[DataType], purpose: Purpose) -> Common {
    let is_compared = purpose == Purpose::Compared;
    let has = |is_kind: fn(&DataType) -> bool| kinds.iter().any(is_kind);
    if has(DataType::is_nested) {
        return common_nested(kinds, purpose);
    }
    if has(DataType::is_floating) && has(DataType::is_decimal) {
        return Common::Float;
    }
    if is_compared && let Some(wide) = wide_decimal(kinds) {
        return Common::WideDecimal(wide);
    }
    let is_text = |kind: &DataType| kind.is_string();
    let is_settled = match purpose {
        Purpose::Compared => true,
        Purpose::Chosen => !has(is_text),
        Purpose::Computed => false,
    };
    if is_settled {
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

/// The common type of what is in lists, structs and maps is that of scalars.
fn common_nested(kinds: &[DataType], purpose: Purpose) -> Common {
    let leaf = |kinds: &[DataType]| common(kinds, purpose).into_type();
    // Types that differ in nothing but the names and ids of what is within are different to the engine, which cannot compare them then.
    let is_compared = purpose == Purpose::Compared;
    match common_type(kinds, &leaf) {
        Some(common) if common.is_own || is_compared && has_several(kinds) => {
            Common::Nested(common.kind)
        }
        _ => Common::AsTheEngineDoes,
    }
}

fn has_several(kinds: &[DataType]) -> bool {
    let mut known = kinds.iter().filter(|kind| !kind.is_null());
    let first = known.next();
    known.any(|kind| Some(kind) != first)
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

fn each(exprs: Vec<Expr>, to: &Common, schema: &DFSchema) -> Vec<Expr> {
    let cast = exprs.into_iter().map(|expr| cast_to(expr, to, schema));
    cast.collect()
}

pub(super) fn cast_to(expr: Expr, to: &Common, schema: &DFSchema) -> Expr {
    let Ok(kind) = expr.get_type(schema) else {
        return expr;
    };
    let Some(target) = to.target(&kind) else {
        return expr;
    };
    let expr = match target {
        DataType::Float64 => float_literal(expr),
        _ => expr,
    };
    match expr {
        literal @ Expr::Literal(ScalarValue::Float64(_), _) => literal,
        other => Expr::Cast(Cast::new(Box::new(other), target)),
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
        Expr::Cast(Cast::new(Box::new(expr), crate::types::local()))
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

/// Whether a date and a timestamp, or two, are subtracted.
fn is_difference(operator: Operator, kinds: &[DataType]) -> bool {
    let is_moment = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Timestamp(..));
    operator == Operator::Minus && kinds.iter().all(is_moment)
}

fn is_computed(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
    )
}
