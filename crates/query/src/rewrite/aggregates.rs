//! Aggregates of Postgres that the engine lacks, written with those that it has.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, OrderByExpr, Value,
};
use forebay_core::Error;

use super::calls::{name_of, only_argument, rename_to};
use super::{call, unsupported};

/// Rewrites such an aggregate. Errors: `Unsupported` for one that cannot be.
pub(super) fn settle(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    let Expr::Function(function) = expr else {
        return ControlFlow::Continue(());
    };
    without_order(function);
    match name_of(function).as_str() {
        "any_value" if function.over.is_none() => any_value(function),
        "percentile_disc" => return percentile_disc(expr),
        "mode" => {
            return ControlFlow::Break(unsupported(
                expr,
                "mode() is not supported",
                "write SELECT x FROM t GROUP BY x ORDER BY count(*) DESC, x LIMIT 1",
            ));
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

/// Aggregates whose result is the same for every order of their values.
const UNORDERED: [&str; 30] = [
    "count",
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "median",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "var",
    "var_pop",
    "var_samp",
    "var_sample",
    "var_population",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "covar",
    "covar_pop",
    "covar_samp",
    "corr",
    "regr_slope",
    "regr_intercept",
    "regr_count",
    "regr_r2",
    "approx_distinct",
    "approx_median",
];

/// Leaves out an `ORDER BY` without effect: the engine takes it for a further argument, and panics.
fn without_order(function: &mut Function) {
    let is_unordered = UNORDERED.contains(&name_of(function).as_str());
    if let FunctionArguments::List(list) = &mut function.args
        && is_unordered
        && function.over.is_none()
    {
        let is_order =
            |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
        list.clauses.retain(|clause| !is_order(clause));
    }
}

/// The first value that is not null.
fn any_value(function: &mut Function) {
    let Some(value) = only_argument(function).cloned() else {
        return;
    };
    rename_to(function, "first_value");
    keep_values(function, value);
}

/// Leaves nulls out.
fn keep_values(function: &mut Function, value: Expr) {
    let is_value = Expr::IsNotNull(Box::new(Expr::Nested(Box::new(value))));
    function.filter = Some(Box::new(match function.filter.take() {
        Some(filter) => and(Expr::Nested(filter), is_value),
        None => is_value,
    }));
}

fn and(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::And, right)
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

/// The item of the sorted values at the share, rounded up, of their count.
fn percentile_disc(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    let Expr::Function(function) = expr else {
        return ControlFlow::Continue(());
    };
    let share = only_argument(function).filter(|share| is_share(share));
    let (Some(share), [key]) = (share.cloned(), function.within_group.as_slice()) else {
        return ControlFlow::Break(unsupported(
            expr,
            "percentile_disc() without a number from 0 to 1, or without an order",
            "write percentile_disc(0.5) WITHIN GROUP (ORDER BY x)",
        ));
    };
    let value = key.expr.clone();
    let mut values = aggregate(function, "array_agg", &value);
    order(&mut values, key.clone());
    let mut count = aggregate(function, "count", &value);
    count.over.clone_from(&values.over);
    let place = binary(share, BinaryOperator::Multiply, Expr::Function(count));
    let place = call("ceil", vec![Expr::Nested(Box::new(place))]);
    let first = Expr::value(Value::Number("1".to_owned(), false));
    let place = super::cast(
        call("greatest", vec![place, first]),
        datafusion::sql::sqlparser::ast::DataType::BigInt(None),
    );
    *expr = call("array_element", vec![Expr::Function(values), place]);
    ControlFlow::Continue(())
}

fn is_share(share: &Expr) -> bool {
    let Expr::Value(value) = share else {
        return false;
    };
    match &value.value {
        Value::Number(digits, _) => digits
            .parse::<f64>()
            .is_ok_and(|share| (0.0..=1.0).contains(&share)),
        _ => false,
    }
}

/// The aggregate of the values with the filter and window of another one.
fn aggregate(like: &Function, name: &str, value: &Expr) -> Function {
    let mut made = like.clone();
    rename_to(&mut made, name);
    made.within_group = Vec::new();
    if let Expr::Function(called) = call(name, vec![value.clone()]) {
        made.args = called.args;
    }
    keep_values(&mut made, value.clone());
    made
}

fn order(function: &mut Function, key: OrderByExpr) {
    if let FunctionArguments::List(FunctionArgumentList { clauses, .. }) = &mut function.args {
        clauses.push(FunctionArgumentClause::OrderBy(vec![key]));
    }
}
