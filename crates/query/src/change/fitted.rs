//! Values that are fitted to the columns of a table one by one: each cell of `VALUES` by itself, whatever the other rows have.
//!
//! A list of rows has one type for each column, which would be found before the column of the table is looked at: `(1), ('x')` would have
//! none, and a whole number beside `2.5e0` would pass through a double. Never changes a value that the column holds.

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType as SqlType, ExactNumberInfo, Expr, Query, SetExpr,
    TimezoneInfo, UnaryOperator, Value, ValueWithSpan,
};

/// Fits the cells of a query that is a list of rows. One that sorts or counts its rows has types of its own.
pub(super) fn fit_rows(rows: &mut Query, columns: &[&Field]) {
    let is_plain = rows.order_by.is_none() && rows.limit_clause.is_none() && rows.fetch.is_none();
    let SetExpr::Values(values) = rows.body.as_mut() else {
        return;
    };
    if !is_plain {
        return;
    }
    for row in &mut values.rows {
        // Another number of cells is an error of its own.
        if row.len() == columns.len() {
            for (cell, column) in row.iter_mut().zip(columns) {
                fit(cell, column.data_type());
            }
        }
    }
}

/// Fits one value; one of a type without a name in SQL stays as it is.
pub(super) fn fit(cell: &mut Expr, to: &DataType) {
    exact(cell, to);
    let Some(data_type) = sql_type(to) else {
        return;
    };
    *cell = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(std::mem::replace(cell, Expr::value(Value::Null))),
        data_type,
        array: false,
        format: None,
    };
}

/// A number with an exponent as its digits where the column is a decimal: as a double it would be another number.
pub(super) fn exact(cell: &mut Expr, to: &DataType) {
    if !matches!(to, DataType::Decimal128(..)) {
        return;
    }
    if let Some(digits) = digits_of(cell).filter(|digits| digits.contains(['e', 'E'])) {
        *cell = Expr::value(Value::SingleQuotedString(digits));
    }
}

/// The digits of a number with its sign.
fn digits_of(cell: &Expr) -> Option<String> {
    match cell {
        Expr::Value(ValueWithSpan {
            value: Value::Number(digits, _),
            ..
        }) => Some(digits.clone()),
        Expr::Nested(inner) => digits_of(inner),
        Expr::UnaryOp { op, expr } => {
            let digits = digits_of(expr).filter(|digits| !digits.starts_with('-'))?;
            match op {
                UnaryOperator::Minus => Some(format!("-{digits}")),
                UnaryOperator::Plus => Some(digits),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The type as a statement names it. Structs have none: their fields go by their names, which the rows are checked for as a whole.
fn sql_type(kind: &DataType) -> Option<SqlType> {
    Some(match kind {
        DataType::Boolean => SqlType::Boolean,
        DataType::Int32 => SqlType::Int(None),
        DataType::Int64 => SqlType::BigInt(None),
        DataType::Float32 => SqlType::Real,
        DataType::Float64 => SqlType::DoublePrecision,
        DataType::Utf8 => SqlType::Text,
        DataType::Binary => SqlType::Bytea,
        DataType::Date32 => SqlType::Date,
        DataType::Time64(TimeUnit::Microsecond) => SqlType::Time(None, TimezoneInfo::None),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            SqlType::Timestamp(None, TimezoneInfo::None)
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            SqlType::Timestamp(None, TimezoneInfo::Tz)
        }
        DataType::Decimal128(digits, scale) => SqlType::Decimal(
            ExactNumberInfo::PrecisionAndScale(u64::from(*digits), i64::from(*scale)),
        ),
        DataType::List(item) => {
            let item = Box::new(sql_type(item.data_type())?);
            SqlType::Array(ArrayElemTypeDef::SquareBracket(item, None))
        }
        _ => return None,
    })
}
