//! `x < ANY (SELECT …)` and `x >= ALL (SELECT …)` as tests for rows, with the nulls of SQL.
//!
//! The engine compares `x` within the subquery by its name: where a table of that name is inside as well, a column is compared with
//! itself. Here the column of the subquery has a name of its own. Runs before types are settled, so that they are as in any other
//! comparison.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Spans, plan_err};
use datafusion::logical_expr::expr::{Exists, SetComparison, SetQuantifier};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Case, Distinct, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder,
    Operator, Subquery, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::map_named;
use super::membership::as_outer;
use super::subquery::has_one_row;

/// Name of a subquery that is compared with.
const ITEMS: &str = "__items";
/// Name of its column.
const ITEM: &str = "__item";

/// The rule; see the module.
#[derive(Debug)]
pub(crate) struct SetComparisons;

impl AnalyzerRule for SetComparisons {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }

    fn name(&self) -> &str {
        "set_comparisons"
    }
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !plan.expressions().iter().any(has_comparison) {
        return Ok(Transformed::no(plan));
    }
    let outside = merge_schema(&plan.inputs());
    match plan {
        LogicalPlan::Filter(filter) => {
            let predicate = when_true(filter.predicate, &outside)?;
            let filter = Filter::try_new(predicate, filter.input)?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        other => map_named(other, |expr| exactly(expr, &outside).map(Transformed::yes)),
    }
}

fn has_comparison(expr: &Expr) -> bool {
    let found = expr.exists(|expr| Ok(matches!(expr, Expr::SetComparison(_))));
    found.unwrap_or(false)
}

/// An expression that is true where this one is, and not where it is not: "unknown" may become false.
fn when_true(expr: Expr, outside: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::And | Operator::Or) =>
        {
            let left = Box::new(when_true(*left, outside)?);
            let right = Box::new(when_true(*right, outside)?);
            Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::SetComparison(comparison) => match with_only_row(&comparison) {
            Some(comparison) => Ok(comparison),
            None => Tests::new(comparison, outside)?.when_true(),
        },
        other => exactly(other, outside),
    }
}

/// The expression with every comparison true, false or null as it is.
fn exactly(expr: Expr, outside: &DFSchema) -> Result<Expr> {
    let exact = expr.transform_up(|expr| match expr {
        Expr::SetComparison(comparison) => Ok(Transformed::yes(match with_only_row(&comparison) {
            Some(comparison) => comparison,
            None => Tests::new(comparison, outside)?.value()?,
        })),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(exact.data)
}

/// The comparison with the one row that an aggregate without `GROUP BY` has: `ANY` and `ALL` are the same there, and its conditions on
/// the row outside need not be those of a join. `None` where there may be more rows, or none.
fn with_only_row(comparison: &SetComparison) -> Option<Expr> {
    has_one_row(&comparison.subquery.subquery).then(|| {
        let row = Box::new(Expr::ScalarSubquery(comparison.subquery.clone()));
        Expr::BinaryExpr(BinaryExpr::new(comparison.expr.clone(), comparison.op, row))
    })
}

/// The parts of one comparison.
struct Tests {
    value: Expr,
    /// The value as the subquery sees it.
    outer: Expr,
    is_nullable: bool,
    /// A row that satisfies it decides: for `ANY` the comparison, for `ALL` its opposite.
    op: Operator,
    is_any: bool,
    items: LogicalPlan,
    has_nullable_item: bool,
    spans: Spans,
}

impl Tests {
    fn new(comparison: SetComparison, outside: &DFSchema) -> Result<Self> {
        let is_any = comparison.quantifier == SetQuantifier::Any;
        let opposite = comparison.op.negate();
        let Some(op) = (if is_any {
            Some(comparison.op)
        } else {
            opposite
        }) else {
            return plan_err!("{} ALL (SELECT …) is not a comparison", comparison.op);
        };
        let (items, has_nullable_item) = items(&comparison.subquery.subquery)?;
        Ok(Self {
            outer: as_outer(comparison.expr.as_ref().clone(), outside)?,
            is_nullable: comparison.expr.nullable(outside).unwrap_or(true),
            value: *comparison.expr,
            op,
            is_any,
            items,
            has_nullable_item,
            spans: comparison.subquery.spans,
        })
    }

    fn when_true(&self) -> Result<Expr> {
        if self.is_any {
            return self.is_decided();
        }
        let mut tests = Expr::Not(Box::new(self.is_decided()?));
        if self.has_nullable_item {
            tests = tests.and(Expr::Not(Box::new(self.has_null()?)));
        }
        if self.is_nullable {
            let is_known = self.value.clone().is_not_null();
            tests = tests.and(is_known.or(Expr::Not(Box::new(self.has_rows()?))));
        }
        Ok(tests)
    }

    fn value(&self) -> Result<Expr> {
        let null = Box::new(Expr::Literal(ScalarValue::Boolean(None), None));
        let decided = Box::new(self.is_decided()?);
        let mut cases = vec![(decided, Box::new(lit(self.is_any)))];
        if self.has_nullable_item {
            cases.push((Box::new(self.has_null()?), null.clone()));
        }
        if self.is_nullable {
            let unknown = self.value.clone().is_null().and(self.has_rows()?);
            cases.push((Box::new(unknown), null));
        }
        let otherwise = Some(Box::new(lit(!self.is_any)));
        Ok(Expr::Case(Case::new(None, cases, otherwise)))
    }

    fn is_decided(&self) -> Result<Expr> {
        let left = Box::new(self.outer.clone());
        let test = BinaryExpr::new(left, self.op, Box::new(item()));
        self.exists(Some(Expr::BinaryExpr(test)))
    }

    fn has_null(&self) -> Result<Expr> {
        self.exists(Some(item().is_null()))
    }

    fn has_rows(&self) -> Result<Expr> {
        self.exists(None)
    }

    fn exists(&self, condition: Option<Expr>) -> Result<Expr> {
        let rows = match condition {
            Some(condition) => {
                let rows = Filter::try_new(condition, Arc::new(self.items.clone()))?;
                LogicalPlan::Filter(rows)
            }
            None => self.items.clone(),
        };
        let subquery = Subquery {
            outer_ref_columns: rows.all_out_ref_exprs(),
            subquery: Arc::new(rows),
            spans: self.spans.clone(),
        };
        Ok(Expr::Exists(Exists::new(subquery, false)))
    }
}

/// The rows of a subquery with their column under its own name, and whether it may be null. A projection, not an alias: the conditions
/// of a correlated subquery are lifted through it.
fn items(rows: &LogicalPlan) -> Result<(LogicalPlan, bool)> {
    let (relation, field) = rows.schema().qualified_field(0);
    let is_nullable = field.is_nullable();
    // Rows that are there twice decide nothing more.
    if let LogicalPlan::Distinct(Distinct::All(rows)) = rows {
        return items(rows);
    }
    let (value, input) = match rows {
        LogicalPlan::Projection(projection) => (
            projection.expr[0].clone().unalias(),
            projection.input.as_ref().clone(),
        ),
        other => (Expr::Column((relation, field).into()), other.clone()),
    };
    let item = value.alias_qualified(Some(ITEMS), ITEM);
    let items = LogicalPlanBuilder::from(input).project([item])?;
    Ok((items.build()?, is_nullable))
}

fn item() -> Expr {
    Expr::Column(Column::new(Some(ITEMS), ITEM))
}
