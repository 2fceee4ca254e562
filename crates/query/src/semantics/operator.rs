//! Operators whose types the engine refuses, or gets wrong, while it plans: an interval times a number, a time of day and an
//! interval, and a quoted literal beside what the engine does not read it as.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::literal::{Texts, read_peers};
use crate::function::interval;

/// See the module.
#[derive(Debug)]
pub(crate) struct OwnOperators {
    times: Arc<ScalarUDF>,
    divided: Arc<ScalarUDF>,
    later: Arc<ScalarUDF>,
    earlier: Arc<ScalarUDF>,
}

impl OwnOperators {
    pub(crate) fn new() -> Self {
        Self {
            times: interval::times().shared(),
            divided: interval::divided().shared(),
            later: interval::later().shared(),
            earlier: interval::earlier().shared(),
        }
    }

    /// An interval times or by a number.
    fn scaled(&self, expr: &RawBinaryExpr, kinds: &[DataType; 2]) -> Option<Expr> {
        let (left, right) = (expr.left.clone(), expr.right.clone());
        match (&expr.op, is_span(&kinds[0]), is_span(&kinds[1])) {
            (BinaryOperator::Multiply, true, false) if kinds[1].is_numeric() => {
                Some(self.times.call(vec![left, right]))
            }
            (BinaryOperator::Multiply, false, true) if kinds[0].is_numeric() => {
                Some(self.times.call(vec![right, left]))
            }
            (BinaryOperator::Divide, true, false) if kinds[1].is_numeric() => {
                Some(self.divided.call(vec![left, right]))
            }
            _ => None,
        }
    }
}

impl OwnOperators {
    /// A time of day and an interval: the engine makes an interval of both.
    ///
    /// Errors: `Plan` for an interval without a time of day.
    fn shifted(&self, expr: &RawBinaryExpr, kinds: &[DataType; 2]) -> Result<Option<Expr>> {
        let (left, right) = (expr.left.clone(), expr.right.clone());
        let [is_time_first, is_time_last] = [0, 1].map(|at| is_time(&kinds[at]));
        Ok(match &expr.op {
            BinaryOperator::Plus if is_time_first && is_span(&kinds[1]) => {
                Some(self.later.call(vec![left, right]))
            }
            BinaryOperator::Plus if is_span(&kinds[0]) && is_time_last => {
                Some(self.later.call(vec![right, left]))
            }
            BinaryOperator::Minus if is_time_first && is_span(&kinds[1]) => {
                Some(self.earlier.call(vec![left, right]))
            }
            BinaryOperator::Minus if is_span(&kinds[0]) && is_time_last => {
                return plan_err!("interval - time does not exist");
            }
            _ => None,
        })
    }
}

impl ExprPlanner for OwnOperators {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema))
        else {
            return Ok(PlannerResult::Original(expr));
        };
        let kinds = [left, right];
        if let Some(scaled) = self.scaled(&expr, &kinds) {
            return Ok(PlannerResult::Planned(scaled));
        }
        if let Some(shifted) = self.shifted(&expr, &kinds)? {
            return Ok(PlannerResult::Planned(shifted));
        }
        let has = |is_kind: fn(&DataType) -> bool| kinds.iter().any(is_kind);
        let is_refused = match is_computed(&expr.op) {
            true => has(DataType::is_numeric),
            false => {
                has(|kind| *kind == DataType::Boolean || is_span(kind)) && is_compared(&expr.op)
            }
        };
        if is_refused {
            read_peers([&mut expr.left, &mut expr.right], schema, Texts::Kept)?;
        }
        Ok(PlannerResult::Original(expr))
    }
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Time32(_) | DataType::Time64(_))
}

fn is_span(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_) | DataType::Duration(_))
}

fn is_computed(operator: &BinaryOperator) -> bool {
    use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(operator, Plus | Minus | Multiply | Divide | Modulo)
}

fn is_compared(operator: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}
