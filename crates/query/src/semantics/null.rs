//! Expressions whose nulls the engine's simplifier loses, or whose nullability it gets wrong, in a form that it leaves alone.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, Operator, ScalarUDF};

/// The expression under the test that its nullable operand is there: `power(x, 0.0)` is 1 and `x IN (1) AND x IN (2)` is false
/// for the simplifier, even where `x` is null.
pub(super) fn guarded(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let operand = match expr {
        Expr::ScalarFunction(call) if matches!(call.func.name(), "power" | "log") => {
            if !call.args.iter().any(is_literal) {
                return None;
            }
            call.args.iter().find(|arg| !is_literal(arg))?
        }
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And | Operator::Or,
            right,
        }) => match (left.as_ref(), right.as_ref()) {
            (Expr::InList(InList { expr: one, .. }), Expr::InList(InList { expr: other, .. }))
                if one == other =>
            {
                one
            }
            _ => return None,
        },
        _ => return None,
    };
    if !operand.nullable(schema).ok()? {
        return None;
    }
    let null = ScalarValue::try_from(&expr.get_type(schema).ok()?).ok()?;
    let when = Box::new(operand.clone().is_null());
    let then = Box::new(Expr::Literal(null, None));
    let otherwise = Some(Box::new(expr.clone()));
    Some(Expr::Case(Case::new(None, vec![(when, then)], otherwise)))
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_literal(&cast.expr),
        other => matches!(other, Expr::Literal(..)),
    }
}

/// Tests that are never null, in an aggregate: its planner takes them for nullable when it computes one of them once for all.
pub(super) fn hidden_tests(expr: Expr, identity: &Arc<ScalarUDF>) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let is_test = match &expr {
            Expr::IsTrue(_) | Expr::IsFalse(_) | Expr::IsNotTrue(_) | Expr::IsNotFalse(_) => true,
            Expr::BinaryExpr(binary) => matches!(
                binary.op,
                Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
            ),
            _ => false,
        };
        Ok(match is_test {
            true => Transformed::yes(identity.call(vec![expr])),
            false => Transformed::no(expr),
        })
    })
}
