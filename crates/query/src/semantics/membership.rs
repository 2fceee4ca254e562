//! `x NOT IN (SELECT …)` with nulls as in SQL: true only where no row of the subquery equals `x` and none could.
//!
//! The engine makes joins of subqueries, which know no "unknown": a null in a correlated subquery, a constant on the left, a
//! place below `OR` or a join that spills give rows that are not there in Postgres. Here the predicate becomes `EXISTS` tests,
//! each of which is true or false, so that every join is right.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    BinaryExpr, Case, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
    Subquery, lit,
};

/// Name of a subquery whose column is also called like one outside.
const MEMBERS: &str = "__members";

/// The plan with its memberships as tests for rows.
pub(super) fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(filter) if has_membership(&filter.predicate) => {
            let predicate = when_true(filter.predicate, filter.input.schema())?;
            let filter = Filter::try_new(predicate, filter.input)?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_)
            if plan.expressions().iter().any(has_membership) =>
        {
            let schema = plan.inputs()[0].schema().clone();
            super::map_named(plan, |expr| exactly(expr, &schema).map(Transformed::yes))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn has_membership(expr: &Expr) -> bool {
    let found = expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))));
    found.unwrap_or(false)
}

/// An expression that is true where this one is, and not where it is not: "unknown" may become false.
fn when_true(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::And | Operator::Or) =>
        {
            let left = Box::new(when_true(*left, schema)?);
            let right = Box::new(when_true(*right, schema)?);
            Expr::BinaryExpr(BinaryExpr { left, op, right })
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(member) => when_true(negated(member), schema)?,
            other => exactly(Expr::Not(Box::new(other)), schema)?,
        },
        Expr::InSubquery(member) if !member.negated => when_found(member, schema)?,
        Expr::InSubquery(member) => match Membership::new(&member, schema)? {
            Some(tests) => tests.when_absent()?,
            None => Expr::InSubquery(member),
        },
        other => exactly(other, schema)?,
    })
}

/// A correlated membership as a test for rows: of two conditions over the same two columns the engine forgets the one inside, whatever
/// its operator is.
fn when_found(member: InSubquery, schema: &DFSchema) -> Result<Expr> {
    if member.subquery.outer_ref_columns.is_empty() {
        return Ok(Expr::InSubquery(member));
    }
    match Membership::new(&member, schema)? {
        Some(tests) => tests.is_found(),
        None => Ok(Expr::InSubquery(member)),
    }
}

fn negated(member: InSubquery) -> Expr {
    Expr::InSubquery(InSubquery::new(
        member.expr,
        member.subquery,
        !member.negated,
    ))
}

/// The expression with every membership true, false or null as it is.
fn exactly(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let exact = expr.transform_up(|expr| match expr {
        Expr::InSubquery(member) => Ok(match Membership::new(&member, schema)? {
            Some(tests) => Transformed::yes(tests.value(member.negated)?),
            None => Transformed::no(Expr::InSubquery(member)),
        }),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(exact.data)
}

/// The parts of one `x IN (SELECT …)`.
struct Membership {
    value: Expr,
    /// The value as the subquery sees it.
    outer: Expr,
    is_nullable: bool,
    subquery: Subquery,
    member: Expr,
    has_nullable_member: bool,
}

impl Membership {
    /// `None` where the value belongs to a statement further out, or has a subquery itself.
    fn new(expr: &InSubquery, schema: &DFSchema) -> Result<Option<Self>> {
        let is_opaque = expr.expr.exists(|expr| {
            Ok(matches!(
                expr,
                Expr::OuterReferenceColumn(..)
                    | Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
            ))
        })?;
        let members = expr.subquery.subquery.schema();
        if is_opaque || members.fields().len() != 1 {
            return Ok(None);
        }
        let (relation, field) = members.qualified_field(0);
        let name = field.name().clone();
        let has_nullable_member = field.is_nullable();
        let mut member = Column::new(relation.cloned(), name.clone());
        let mut subquery = expr.subquery.clone();
        // Of the same table inside and outside the two columns would be one.
        if expr.expr.column_refs().contains(&member) {
            let rows = LogicalPlanBuilder::from(subquery.subquery).alias(MEMBERS)?;
            subquery.subquery = Arc::new(rows.build()?);
            member = Column::new(Some(MEMBERS), name);
        }
        Ok(Some(Self {
            value: expr.expr.as_ref().clone(),
            outer: as_outer(expr.expr.as_ref().clone(), schema)?,
            is_nullable: expr.expr.nullable(schema)?,
            member: Expr::Column(member),
            has_nullable_member,
            subquery,
        }))
    }

    fn when_absent(&self) -> Result<Expr> {
        let mut tests = Expr::Not(Box::new(self.is_found()?));
        if self.has_nullable_member {
            tests = tests.and(Expr::Not(Box::new(self.has_null()?)));
        }
        if self.is_nullable {
            let is_known = self.value.clone().is_not_null();
            tests = tests.and(is_known.or(Expr::Not(Box::new(self.has_rows()?))));
        }
        Ok(tests)
    }

    fn value(&self, is_negated: bool) -> Result<Expr> {
        let when = |test: Expr, then: Expr| (Box::new(test), Box::new(then));
        let null = Expr::Literal(ScalarValue::Boolean(None), None);
        let mut cases = vec![when(self.is_found()?, lit(!is_negated))];
        if self.has_nullable_member {
            cases.push(when(self.has_null()?, null.clone()));
        }
        if self.is_nullable {
            let unknown = self.value.clone().is_null().and(self.has_rows()?);
            cases.push(when(unknown, null));
        }
        let otherwise = Some(Box::new(lit(is_negated)));
        Ok(Expr::Case(Case::new(None, cases, otherwise)))
    }

    fn is_found(&self) -> Result<Expr> {
        let is_equal = self.member.clone().eq(self.outer.clone());
        let rows = Filter::try_new(is_equal, self.subquery.subquery.clone())?;
        let mut outer = self.subquery.outer_ref_columns.clone();
        self.outer.apply(|expr| {
            if matches!(expr, Expr::OuterReferenceColumn(..)) && !outer.contains(expr) {
                outer.push(expr.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(exists(Subquery {
            subquery: Arc::new(LogicalPlan::Filter(rows)),
            outer_ref_columns: outer,
            spans: self.subquery.spans.clone(),
        }))
    }

    fn has_null(&self) -> Result<Expr> {
        let is_null = self.member.clone().is_null();
        let rows = Filter::try_new(is_null, self.subquery.subquery.clone())?;
        self.has_any(Arc::new(LogicalPlan::Filter(rows)))
    }

    fn has_rows(&self) -> Result<Expr> {
        self.has_any(self.subquery.subquery.clone())
    }

    /// One row is enough; a correlated subquery has it for each row outside.
    fn has_any(&self, rows: Arc<LogicalPlan>) -> Result<Expr> {
        let rows = match self.subquery.outer_ref_columns.is_empty() {
            true => Arc::new(LogicalPlanBuilder::from(rows).limit(0, Some(1))?.build()?),
            false => rows,
        };
        Ok(exists(Subquery {
            subquery: rows,
            outer_ref_columns: self.subquery.outer_ref_columns.clone(),
            spans: self.subquery.spans.clone(),
        }))
    }
}

fn exists(subquery: Subquery) -> Expr {
    Expr::Exists(Exists::new(subquery, false))
}

pub(super) fn as_outer(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let outer = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Column(column) => {
                let field = schema.field_from_column(&column)?.clone();
                Transformed::yes(Expr::OuterReferenceColumn(field, column))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(outer.data)
}
