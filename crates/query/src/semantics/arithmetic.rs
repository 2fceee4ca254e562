//! `+`, `-`, `*` and `/` that fail when the result does not fit, instead of wrapping round or losing digits silently.
//!
//! Integers and decimals go through Arrow's checked kernels and are held to the digits of their type; a date or timestamp with
//! an interval is held to the calendar. Floats stay with the engine.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Datum};
use arrow::compute::kernels::{aggregate, numeric};
use arrow::datatypes::{
    DataType, Date32Type, IntervalMonthDayNanoType, IntervalUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum;

use super::decimal;
use crate::function::execution;

/// The checked operators, each made once.
#[derive(Debug)]
pub(super) struct CheckedOperators {
    add: Arc<ScalarUDF>,
    subtract: Arc<ScalarUDF>,
    multiply: Arc<ScalarUDF>,
    negate: Arc<ScalarUDF>,
}

impl CheckedOperators {
    pub(super) fn new() -> Self {
        let function = |operation| Arc::new(ScalarUDF::new_from_impl(Checked::new(operation)));
        Self {
            add: function(Operation::Add),
            subtract: function(Operation::Subtract),
            multiply: function(Operation::Multiply),
            negate: function(Operation::Negate),
        }
    }

    fn function(&self, operator: Operator) -> Option<Arc<ScalarUDF>> {
        match operator {
            Operator::Plus => Some(self.add.clone()),
            Operator::Minus => Some(self.subtract.clone()),
            Operator::Multiply => Some(self.multiply.clone()),
            _ => None,
        }
    }

    /// The operator's checked version. A type that is unknown here (an outer column) leaves the engine's operator in place.
    pub(super) fn checked(&self, expr: &Expr, schema: &DFSchema) -> Option<Expr> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let function = self.function(*op)?;
                let kinds = [left.get_type(schema).ok()?, right.get_type(schema).ok()?];
                is_checked(*op, &kinds).then(|| function.call(vec![*left.clone(), *right.clone()]))
            }
            Expr::Negative(inner) => {
                let kind = inner.get_type(schema).ok()?;
                // The engine cannot negate a decimal without a value.
                let is_checked =
                    kind.is_signed_integer() || matches!(kind, DataType::Decimal128(..));
                is_checked.then(|| self.negate.call(vec![*inner.clone()]))
            }
            _ => None,
        }
    }
}

/// The quotient of a decimal and a decimal or integer, in a type that holds its digits.
pub(super) fn quotient(left: &Expr, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    let kinds = [left.get_type(schema).ok()?, right.get_type(schema).ok()?];
    if !kinds
        .iter()
        .any(|kind| matches!(kind, DataType::Decimal128(..)))
    {
        return None;
    }
    let as_decimal = |expr: &Expr, kind: &DataType| {
        let digits = match kind {
            DataType::Decimal128(..) => return Some(expr.clone()),
            DataType::Int8 | DataType::UInt8 => 3,
            DataType::Int16 | DataType::UInt16 => 5,
            DataType::Int32 | DataType::UInt32 => 10,
            DataType::Int64 => 19,
            DataType::UInt64 => 20,
            _ => return None,
        };
        let kind = DataType::Decimal128(digits, 0);
        Some(Expr::Cast(Cast::new(Box::new(expr.clone()), kind)))
    };
    let operands = vec![as_decimal(left, &kinds[0])?, as_decimal(right, &kinds[1])?];
    Some(ScalarUDF::new_from_impl(Checked::new(Operation::Divide)).call(operands))
}

fn is_checked(operator: Operator, kinds: &[DataType; 2]) -> bool {
    match kinds {
        [DataType::Decimal128(..), DataType::Decimal128(..)] => true,
        [left, right] if left.is_integer() => left == right,
        [
            DataType::Date32 | DataType::Timestamp(..),
            DataType::Interval(_),
        ] => {
            matches!(operator, Operator::Plus | Operator::Minus)
        }
        [
            DataType::Interval(_),
            DataType::Date32 | DataType::Timestamp(..),
        ] => operator == Operator::Plus,
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Negate,
}

impl Operation {
    fn operands(self) -> usize {
        match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide => 2,
            Self::Negate => 1,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            signature: Signature::any(operation.operands(), Volatility::Immutable),
        }
    }

    fn symbol(&self) -> &'static str {
        match self.operation {
            Operation::Add => "+",
            Operation::Subtract | Operation::Negate => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
        }
    }
}

impl ScalarUDFImpl for Checked {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
            Operation::Divide => "checked_divide",
            Operation::Negate => "checked_negate",
        }
    }

    // As the engine writes its own operators, so that columns keep their names.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let name = |arg: &Expr| arg.schema_name().to_string();
        Ok(match args {
            [left, right] => format!("{} {} {}", name(left), self.symbol(), name(right)),
            [only, ..] => format!("({} {})", self.symbol(), name(only)),
            [] => self.name().to_owned(),
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [
                left @ DataType::Decimal128(..),
                right @ DataType::Decimal128(..),
            ] => decimal::result_type(self.operation.of_decimals(), left, right),
            [DataType::Interval(_), moment] => Ok(moment.clone()),
            _ => Ok(types[0].clone()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Some(null) = without_type(&args) {
            return null;
        }
        let (left, right) = match args.args.as_slice() {
            [only] => return negate(only),
            [left, right] => (left, right),
            _ => return Err(execution("an operator has one or two operands")),
        };
        let kernel: fn(&dyn Datum, &dyn Datum) -> std::result::Result<ArrayRef, ArrowError> =
            match self.operation {
                Operation::Add => numeric::add,
                Operation::Subtract => numeric::sub,
                Operation::Multiply => numeric::mul,
                Operation::Divide | Operation::Negate => {
                    return decimal::divide(
                        left,
                        right,
                        args.return_field.data_type(),
                        args.number_rows,
                    );
                }
            };
        match (left.data_type(), right.data_type()) {
            (DataType::Interval(_), _) => {
                in_calendar(right, left)?;
                datum::apply(right, left, kernel)
            }
            (_, DataType::Interval(_)) => {
                in_calendar(left, right)?;
                datum::apply(left, right, kernel)
            }
            (DataType::Decimal128(..), _) => {
                let made = datum::apply(left, right, kernel)?;
                decimal::in_digits(&made)?;
                Ok(made)
            }
            _ => datum::apply(left, right, kernel),
        }
    }
}

/// The result over a null without a type, which the engine puts in the place of an aggregate of no rows.
fn without_type(args: &ScalarFunctionArgs) -> Option<Result<ColumnarValue>> {
    let mut kinds = args.args.iter().map(ColumnarValue::data_type);
    kinds.any(|kind| kind.is_null()).then(|| {
        let null = ScalarValue::try_from(args.return_field.data_type())?;
        Ok(ColumnarValue::Scalar(null))
    })
}

/// Years from 1970 that a moment may be away, and years that an interval may be long, so that their sum is a date that can be
/// computed at all: the calendar ends 262,000 years from 1970 in both directions.
const MOMENT_YEARS_MAX: i64 = 200_000;
const INTERVAL_YEARS_MAX: i64 = 50_000;
const DAYS_PER_YEAR_MAX: i64 = 366;
const DAY_MICROS: i64 = 86_400_000_000;

/// Errors: `Execution` when an instant or an interval is outside of the calendar.
fn in_calendar(moment: &ColumnarValue, interval: &ColumnarValue) -> Result<()> {
    let days = match extent(moment)? {
        Some(extent) => extent,
        None => return Ok(()),
    };
    let is_near = days <= MOMENT_YEARS_MAX * DAYS_PER_YEAR_MAX;
    if is_near && interval_fits(interval)? {
        return Ok(());
    }
    Err(execution(
        "the result of a date and an interval is out of range",
    ))
}

/// The days between 1970 and the value that is farthest from it.
fn extent(moment: &ColumnarValue) -> Result<Option<i64>> {
    let array = match moment {
        ColumnarValue::Array(array) => array.clone(),
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
    };
    let farthest =
        |lowest: i64, highest: i64| lowest.saturating_abs().max(highest.saturating_abs());
    if let Some(dates) = array.as_primitive_opt::<Date32Type>() {
        let ends = aggregate::min(dates).zip(aggregate::max(dates));
        return Ok(ends.map(|(low, high)| farthest(i64::from(low), i64::from(high))));
    }
    if let Some(stamps) = array.as_primitive_opt::<TimestampMicrosecondType>() {
        let ends = aggregate::min(stamps).zip(aggregate::max(stamps));
        return Ok(ends.map(|(low, high)| farthest(low, high) / DAY_MICROS));
    }
    Ok(None)
}

fn interval_fits(interval: &ColumnarValue) -> Result<bool> {
    let array = match interval {
        ColumnarValue::Array(array) => array.clone(),
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
    };
    let wide = DataType::Interval(IntervalUnit::MonthDayNano);
    let array = arrow::compute::cast(&array, &wide)?;
    let array = array.as_primitive::<IntervalMonthDayNanoType>();
    let fits = |value: arrow::datatypes::IntervalMonthDayNano| {
        i64::from(value.months).abs() <= INTERVAL_YEARS_MAX * 12
            && i64::from(value.days).abs() <= INTERVAL_YEARS_MAX * DAYS_PER_YEAR_MAX
    };
    Ok(array.iter().flatten().all(fits))
}

impl Operation {
    fn of_decimals(self) -> decimal::DecimalOperation {
        match self {
            Self::Add | Self::Subtract | Self::Negate => decimal::DecimalOperation::Sum,
            Self::Multiply => decimal::DecimalOperation::Product,
            Self::Divide => decimal::DecimalOperation::Quotient,
        }
    }
}

fn negate(value: &ColumnarValue) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(numeric::neg(array)?),
        ColumnarValue::Scalar(scalar) => {
            let negated = numeric::neg(&scalar.to_array()?)?;
            ColumnarValue::Scalar(ScalarValue::try_from_array(&negated, 0)?)
        }
    })
}
