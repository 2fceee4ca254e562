//! Lists, structs and maps without leftovers where they are read, and in one order where they are compared; see [`nested`].

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF,
};

use crate::function::nested::{self, COMPACT, Comparison};

/// The functions that are put in, each made once.
#[derive(Debug)]
pub(super) struct NestedValues {
    /// The engine's functions of lists and maps.
    readers: HashSet<String>,
    compact: Arc<ScalarUDF>,
    less: Arc<ScalarUDF>,
    less_or_equal: Arc<ScalarUDF>,
    greater: Arc<ScalarUDF>,
    greater_or_equal: Arc<ScalarUDF>,
    greatest: Arc<ScalarUDF>,
    least: Arc<ScalarUDF>,
}

impl NestedValues {
    pub(super) fn new() -> Self {
        let readers = datafusion::functions_nested::all_default_nested_functions();
        Self {
            readers: readers
                .iter()
                .map(|function| function.name().to_owned())
                .collect(),
            compact: nested::compact(),
            less: nested::compared(Comparison::Less),
            less_or_equal: nested::compared(Comparison::LessOrEqual),
            greater: nested::compared(Comparison::Greater),
            greater_or_equal: nested::compared(Comparison::GreaterOrEqual),
            greatest: nested::extreme(true),
            least: nested::extreme(false),
        }
    }

    /// The expression over, or made to, compact values, and with its comparison in the one order.
    pub(super) fn settle(&self, expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        match expr {
            Expr::BinaryExpr(binary) => self.compared(binary, schema),
            Expr::Between(between) if is_ordered(&between.expr, schema) => {
                let value = *between.expr;
                let low = self
                    .greater_or_equal
                    .call(vec![value.clone(), *between.low]);
                let high = self.less_or_equal.call(vec![value, *between.high]);
                let is_between = low.and(high);
                Transformed::yes(match between.negated {
                    true => Expr::Not(Box::new(is_between)),
                    false => is_between,
                })
            }
            Expr::Case(_) if is_nested(&expr, schema) => {
                Transformed::yes(self.compact.call(vec![expr]))
            }
            Expr::ScalarFunction(mut call) => match call.func.name() {
                "nullif" | "nvl2" => {
                    let call = Expr::ScalarFunction(call);
                    match is_nested(&call, schema) {
                        true => Transformed::yes(self.compact.call(vec![call])),
                        false => Transformed::no(call),
                    }
                }
                "greatest" if has_ordered(&call.args, schema) => {
                    Transformed::yes(self.greatest.call(call.args))
                }
                "least" if has_ordered(&call.args, schema) => {
                    Transformed::yes(self.least.call(call.args))
                }
                name if self.readers.contains(name) => {
                    let args = call.args.into_iter().map(|arg| self.read(arg, schema));
                    call.args = args.collect();
                    Transformed::yes(Expr::ScalarFunction(call))
                }
                _ => Transformed::no(Expr::ScalarFunction(call)),
            },
            Expr::WindowFunction(mut window) => {
                window.params.args = plain(window.params.args, schema);
                window.params.order_by = keys(window.params.order_by, schema);
                Transformed::yes(Expr::WindowFunction(window))
            }
            Expr::AggregateFunction(mut call) => {
                call.params.args = plain(call.params.args, schema);
                call.params.order_by = keys(call.params.order_by, schema);
                Transformed::yes(Expr::AggregateFunction(call))
            }
            other => Transformed::no(other),
        }
    }

    fn read(&self, arg: Expr, schema: &DFSchema) -> Expr {
        let is_compact = match &arg {
            Expr::Literal(..) => true,
            Expr::ScalarFunction(call) => call.func.name() == COMPACT,
            _ => false,
        };
        match !is_compact && is_nested(&arg, schema) {
            true => self.compact.call(vec![arg]),
            false => arg,
        }
    }

    fn compared(&self, binary: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
        let function = match binary.op {
            Operator::Lt => &self.less,
            Operator::LtEq => &self.less_or_equal,
            Operator::Gt => &self.greater,
            Operator::GtEq => &self.greater_or_equal,
            _ => return Transformed::no(Expr::BinaryExpr(binary)),
        };
        let kinds = [&binary.left, &binary.right].map(|side| side.get_type(schema).ok());
        let is_ordered = match &kinds {
            [Some(left), Some(right)] => has_order(left) && left.equals_datatype(right),
            _ => false,
        };
        match is_ordered {
            true => Transformed::yes(function.call(vec![*binary.left, *binary.right])),
            false => Transformed::no(Expr::BinaryExpr(binary)),
        }
    }
}

/// Arguments without the metadata of items and fields, with which a table names its columns: an aggregate makes values without it,
/// which do not fit its type then.
fn plain(args: Vec<Expr>, schema: &DFSchema) -> Vec<Expr> {
    let plain = args.into_iter().map(|arg| plain_argument(arg, schema));
    plain.collect()
}

/// The same for one argument.
pub(super) fn plain_argument(arg: Expr, schema: &DFSchema) -> Expr {
    match arg.get_type(schema) {
        Ok(kind) if kind.is_nested() && without_metadata(&kind) != kind => {
            Expr::Cast(Cast::new(Box::new(arg), without_metadata(&kind)))
        }
        _ => arg,
    }
}

fn without_metadata(kind: &DataType) -> DataType {
    match kind {
        DataType::List(item) => DataType::List(bare(item)),
        DataType::LargeList(item) => DataType::LargeList(bare(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(bare(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(bare).collect()),
        DataType::Map(entry, is_sorted) => DataType::Map(bare(entry), *is_sorted),
        other => other.clone(),
    }
}

fn bare(field: &FieldRef) -> FieldRef {
    let kind = without_metadata(field.data_type());
    Arc::new(Field::new(field.name(), kind, field.is_nullable()))
}

fn is_nested(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|kind| kind.is_nested())
}

fn is_ordered(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|kind| has_order(&kind))
}

fn has_ordered(args: &[Expr], schema: &DFSchema) -> bool {
    args.iter().any(|arg| is_ordered(arg, schema))
}

/// Whether values of this type are nested and have an order.
pub(super) fn has_order(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
    )
}

/// The plan or expression that sorts with keys whose nulls within lists come after values, wherever null lists come.
pub(super) fn sorted(plan: LogicalPlan) -> LogicalPlan {
    let LogicalPlan::Sort(mut sort) = plan else {
        return plan;
    };
    let schema = sort.input.schema().clone();
    sort.expr = keys(sort.expr, &schema);
    LogicalPlan::Sort(sort)
}

/// A key of which the engine would put all nulls, also those within lists, where the null lists are: those become a key of their
/// own.
fn keys(keys: Vec<Sort>, schema: &DFSchema) -> Vec<Sort> {
    let mut all = Vec::with_capacity(keys.len());
    for mut key in keys {
        if key.nulls_first == key.asc && is_ordered(&key.expr, schema) {
            let is_null = key.expr.clone().is_null();
            all.push(Sort::new(is_null, !key.nulls_first, false));
            key.nulls_first = !key.asc;
        }
        all.push(key);
    }
    all
}
