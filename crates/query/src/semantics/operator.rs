//! Operators whose types the engine refuses, or gets wrong, while it plans: an interval times a number, a time of day and an
//! interval, a quoted literal beside a type that the engine does not convert it to, and lists that contain each other.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::functions_nested::concat::{array_append_udf, array_prepend_udf};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::literal::{Texts, read_peers};
use super::logic;
use crate::function::nested::item_of;
use crate::function::{interval, nested};

/// See the module.
#[derive(Debug)]
pub(crate) struct OwnOperators {
    times: Arc<ScalarUDF>,
    divided: Arc<ScalarUDF>,
    later: Arc<ScalarUDF>,
    earlier: Arc<ScalarUDF>,
    has_all: Arc<ScalarUDF>,
    has_any: Arc<ScalarUDF>,
    appended: Arc<ScalarUDF>,
    prepended: Arc<ScalarUDF>,
}

impl OwnOperators {
    pub(crate) fn new() -> Self {
        Self {
            times: interval::times().shared(),
            divided: interval::divided().shared(),
            later: interval::later().shared(),
            earlier: interval::earlier().shared(),
            has_all: nested::has_all(),
            has_any: nested::has_any(),
            appended: nested::with_items(array_append_udf()),
            prepended: nested::with_items(array_prepend_udf()),
        }
    }

    /// Lists that contain each other or overlap; one that is null is unknown, which the engine does not see in a literal.
    fn of_lists(&self, expr: &RawBinaryExpr, kinds: &[DataType; 2]) -> Option<Expr> {
        let is_list = |kind: &DataType| item_of(kind).is_some();
        let is_either = |kind: &DataType| is_list(kind) || *kind == DataType::Null;
        if !kinds.iter().any(is_list) || !kinds.iter().all(is_either) {
            return None;
        }
        let left = expr.left.clone();
        let right = expr.right.clone();
        match &expr.op {
            BinaryOperator::AtArrow => Some(self.has_all.call(vec![left, right])),
            BinaryOperator::ArrowAt => Some(self.has_all.call(vec![right, left])),
            BinaryOperator::PGOverlap => Some(self.has_any.call(vec![left, right])),
            _ => None,
        }
    }

    /// A list with a number before or behind it, of a type that the engine does not take.
    fn of_item(&self, expr: &RawBinaryExpr, kinds: &[DataType; 2]) -> Option<Expr> {
        let left = expr.left.clone();
        let right = expr.right.clone();
        let item = |list: &DataType| item_of(list).is_some_and(DataType::is_numeric);
        match &expr.op {
            BinaryOperator::StringConcat if item(&kinds[0]) && kinds[1].is_numeric() => {
                Some(self.appended.call(vec![left, right]))
            }
            BinaryOperator::StringConcat if kinds[0].is_numeric() && item(&kinds[1]) => {
                Some(self.prepended.call(vec![left, right]))
            }
            _ => None,
        }
    }

    /// An interval times or by a number.
    fn scaled(&self, expr: &RawBinaryExpr, kinds: &[DataType; 2]) -> Option<Expr> {
        let left = expr.left.clone();
        let right = expr.right.clone();
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
        let left = expr.left.clone();
        let right = expr.right.clone();
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
        if let Some(word) = logic::word(&expr.op) {
            logic::check_operands(word, vec![&mut expr.left, &mut expr.right], schema)?;
            return Ok(PlannerResult::Original(expr));
        }
        let kinds = [left, right];
        if let Some(scaled) = self.scaled(&expr, &kinds) {
            return Ok(PlannerResult::Planned(scaled));
        }
        if let Some(shifted) = self.shifted(&expr, &kinds)? {
            return Ok(PlannerResult::Planned(shifted));
        }
        if let Some(tested) = self.of_lists(&expr, &kinds) {
            return Ok(PlannerResult::Planned(tested));
        }
        if let Some(longer) = self.of_item(&expr, &kinds) {
            return Ok(PlannerResult::Planned(longer));
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
