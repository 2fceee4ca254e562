//! Semantics of operators: integers and decimals that do not fit fail, floats compare as in Postgres, instants stay microseconds.
//!
//! Two analyzer rules. [`coerce`] runs before the engine settles types, so that it settles them as SQL does; [`Semantics`] runs
//! after and replaces operators whose engine version is silently wrong. Neither changes the name or type of a column.

mod arithmetic;
mod cast;
pub(crate) mod coerce;
mod conversion;
mod decimal;
pub(crate) mod float;
mod frame;
mod in_list;
pub(crate) mod lifted;
mod literal;
mod logic;
mod membership;
mod nested;
mod nested_cast;
mod null;
mod operand;
pub(crate) mod operator;
mod peer_arguments;
mod recursion;
mod refused;
mod regular;
mod row_source;
mod row_types;
pub(crate) mod set_comparison;
mod subquery;
mod window_keys;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, Cast, Distinct, Expr, ExprSchemable, LogicalPlan, ScalarUDF, TryCast,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use arithmetic::CheckedOperators;
use cast::RoundedCasts;
use nested::NestedValues;

use crate::function::concat;
use crate::function::sized::ResultLimit;

/// The rule that runs after types are settled; see the module.
#[derive(Debug)]
pub(crate) struct Semantics {
    operators: CheckedOperators,
    comparable: Arc<ScalarUDF>,
    unordered: Arc<ScalarUDF>,
    extremes: float::Extremes,
    casts: RoundedCasts,
    nested: NestedValues,
    limit: ResultLimit,
    subqueries: subquery::Subqueries,
    all_columns: Arc<ScalarUDF>,
}

impl Semantics {
    pub(crate) fn new(limit: ResultLimit) -> Self {
        Self {
            limit,
            subqueries: subquery::Subqueries::new(limit == ResultLimit::TRANSFORM),
            all_columns: recursion::all_columns(),
            extremes: float::Extremes::new(),
            casts: RoundedCasts::new(),
            nested: NestedValues::new(),
            operators: CheckedOperators::new(),
            comparable: float::comparable(),
            unordered: float::unordered(),
        }
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| {
            conversion::check_inserted(&expr, schema)?;
            if let Some(checked) = self.operators.checked(&expr, schema) {
                return Ok(Transformed::yes(checked));
            }
            if is_unordered_cast(&expr, schema) || row_source::may_have_no_row(&expr) {
                return Ok(Transformed::yes(self.unordered.call(vec![expr])));
            }
            if let Some(rounded) = self.casts.rounded(&expr, schema) {
                return Ok(Transformed::yes(rounded));
            }
            if let Some(concat) = concat::of_operator(&expr, schema) {
                return Ok(self.limit.bound_call(concat));
            }
            if let Some(like) = regular::like_of_column(&expr) {
                return Ok(self.limit.bound_call(like));
            }
            if let Some(matched) = regular::kept_pattern(&expr) {
                return Ok(Transformed::yes(matched));
            }
            if let Some(guarded) = null::guarded(&expr, schema) {
                return Ok(Transformed::yes(guarded));
            }
            let (expr, nulls) = in_list::split_nulls(expr);
            let expr = float::compared(expr, schema, &self.comparable)?;
            let expr = expr.transform_data(|expr| Ok(self.nested.settle(expr, schema)))?;
            let expr = expr.transform_data(|expr| Ok(self.limit.bound_call(expr)))?;
            let expr = expr.transform_data(|expr| Ok(self.extremes.replace(expr, schema)))?;
            Ok(nulls.add_to(expr))
        })
    }

    fn rewrite_plan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        refused::check(&plan)?;
        let plan = row_source::settled(nested::sorted(plan))?.data;
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema.merge(scan.projected_schema.as_ref());
        }
        let schema: DFSchemaRef = Arc::new(schema);
        let names = NamePreserver::new(&plan);
        let is_aggregate = matches!(plan, LogicalPlan::Aggregate(_));
        let has_keys = matches!(
            plan,
            LogicalPlan::Sort(_) | LogicalPlan::Join(_) | LogicalPlan::Aggregate(_)
        );
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let mut expr = self.rewrite(expr, &schema)?;
            if is_aggregate {
                expr = expr.transform_data(|expr| null::hidden_tests(expr, &self.unordered))?;
            }
            if has_keys {
                expr = expr.transform_data(|expr| float::key(expr, &schema, &self.comparable))?;
            }
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?;
        let plan = plan.map_data(coerce::with_own_schema)?;
        let plan = plan.transform_data(|plan| float::distinct(plan, &self.comparable))?;
        let plan = plan.transform_data(grouped)?;
        let plan = plan.transform_data(subquery::above_join)?;
        let outside = merge_schema(&plan.data.inputs());
        let plan =
            plan.transform_data(|plan| map_named(plan, |expr| subquery::plain(expr, &outside)))?;
        let plan = plan.transform_data(membership::rewrite)?;
        let plan = plan.transform_data(|plan| self.subqueries.rewrite(plan))?;
        let plan = plan.transform_data(window_keys::lifted)?;
        plan.transform_data(|plan| recursion::keep_columns(plan, &self.all_columns))
    }
}

/// `DISTINCT` as the groups of all columns: the engine leaves it out over what was grouped once, also where a join has repeated it
/// since.
fn grouped(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Distinct(Distinct::All(input)) = plan else {
        return Ok(Transformed::no(plan));
    };
    let columns: Vec<Expr> = input
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let groups = Aggregate::try_new(input, columns, Vec::new())?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(groups)))
}

/// The plan with its expressions replaced, and its columns called as before.
fn map_named(
    plan: LogicalPlan,
    mut replace: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(replace(expr)?.update_data(|expr| name.restore(expr)))
    })
}

/// Whether a cast changes the order of values, or makes one of several: the engine must not compare the lowest and highest value
/// through it, nor a literal with its content.
fn is_unordered_cast(expr: &Expr, schema: &DFSchema) -> bool {
    let (Expr::Cast(Cast {
        expr,
        data_type: to,
    })
    | Expr::TryCast(TryCast {
        expr,
        data_type: to,
    })) = expr
    else {
        return false;
    };
    let Ok(from) = expr.get_type(schema) else {
        return false;
    };
    match to {
        DataType::Boolean => from != DataType::Boolean && !from.is_string(),
        DataType::Decimal128(..) if from.is_floating() => true,
        // A value that does not fit fails or is NULL, whatever it is compared with.
        // Those of decimals with digits behind the point to whole numbers are rounded, by a function.
        to if to.is_integer() => {
            let is_whole = from.is_integer() || matches!(from, DataType::Decimal128(_, ..=0));
            is_whole && is_narrowing(&from, to)
        }
        to @ DataType::Decimal128(..) => is_narrowing(&from, to),
        DataType::Time32(_) | DataType::Time64(_) => matches!(from, DataType::Timestamp(..)),
        _ => false,
    }
}

/// Whether one numeric type does not hold all values of the other; `false` for types that are no numbers.
fn is_narrowing(from: &DataType, to: &DataType) -> bool {
    match (digits(from), digits(to)) {
        (Some((whole, scale)), Some((to_whole, to_scale))) => {
            let is_signed = !from.is_unsigned_integer();
            let has_other_sign = match to.is_unsigned_integer() {
                true => is_signed,
                false => from.is_unsigned_integer() && to.is_integer() && whole == to_whole,
            };
            whole > to_whole || scale > to_scale || has_other_sign
        }
        _ => false,
    }
}

/// Digits before and behind the point. Of integers as many bits as they have tell more: each type has a number of its own.
fn digits(kind: &DataType) -> Option<(i16, i16)> {
    Some(match kind {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal128(precision, scale) => {
            let scale = i16::from(*scale);
            (i16::from(*precision) - scale, scale)
        }
        _ => return None,
    })
}

/// The same for one expression outside a plan: settles its types, then the meaning of its operators.
pub(crate) fn over(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let expr = coerce::rewrite(expr, schema)?.data;
    let context = SimplifyContext::default().with_schema(Arc::new(schema.clone()));
    let expr = ExprSimplifier::new(context).coerce(expr, schema)?;
    Ok(Semantics::new(ResultLimit::TRANSFORM)
        .rewrite(expr, schema)?
        .data)
}

impl AnalyzerRule for Semantics {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan
            .transform_up_with_subqueries(|plan| self.rewrite_plan(plan))?
            .data)
    }

    fn name(&self) -> &str {
        "semantics"
    }
}
