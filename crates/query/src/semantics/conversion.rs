//! Casts that SQL does not have, refused: the engine takes the bits of a number for microseconds or days, and the other way round,
//! so that `cast(86400000000 AS time)` is a time of day that no clock shows.
//!
//! Casts of texts are not in question, nor those between numbers and booleans. Lists and structs are cast by their items.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, TryCast};
use forebay_core::Error;

use crate::error::external;
use crate::types::sql_name;

/// Functions that are casts of what is no text.
const CASTING_FUNCTIONS: [&str; 2] = ["arrow_cast", "to_date"];

/// Errors: as [`check`], for a cast that the engine has put in to compare a number with a date or timestamp. It computes with times of
/// day and intervals as whole numbers.
pub(super) fn check_inserted(expr: &Expr, schema: &DFSchema) -> Result<()> {
    match expr {
        Expr::Cast(Cast {
            expr: value,
            data_type,
        }) if matches!(
            Kind::of(data_type),
            Some(Kind::Date | Kind::Time | Kind::Timestamp)
        ) && value.get_type(schema).is_ok_and(|kind| kind.is_numeric()) =>
        {
            check(expr, schema)
        }
        _ => Ok(()),
    }
}

/// # Errors
/// `Config` `bad_sql` for a cast between kinds of values that have none, with what to write instead.
pub(super) fn check(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let (value, to) = match expr {
        Expr::Cast(Cast { expr, data_type }) | Expr::TryCast(TryCast { expr, data_type }) => {
            (expr.as_ref(), data_type.clone())
        }
        Expr::ScalarFunction(call) if CASTING_FUNCTIONS.contains(&call.func.name()) => {
            match (call.args.first(), expr.get_type(schema)) {
                (Some(value), Ok(to)) => (value, to),
                _ => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    let Ok(from) = value.get_type(schema) else {
        return Ok(());
    };
    match missing(&from, &to) {
        None => Ok(()),
        Some(cast) => Err(cast.refused(value, &from, &to)),
    }
}

/// A cast that SQL does not have.
struct MissingCast {
    from: Kind,
    to: Kind,
}

/// The innermost values of both types, where there is no cast between them.
fn missing(from: &DataType, to: &DataType) -> Option<MissingCast> {
    use DataType::{FixedSizeList, LargeList, List, Struct};
    match (from, to) {
        (
            List(from) | LargeList(from) | FixedSizeList(from, _),
            List(to) | LargeList(to) | FixedSizeList(to, _),
        ) => missing(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            let mut fields = from.iter().zip(to);
            fields.find_map(|(from, to)| missing(from.data_type(), to.data_type()))
        }
        _ => {
            let from = Kind::of(from)?;
            let to = Kind::of(to)?;
            (!from.is_cast_to(to)).then_some(MissingCast { from, to })
        }
    }
}

/// What a value is, as far as casts depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Boolean,
    Date,
    Time,
    Timestamp,
    Interval,
}

impl Kind {
    fn of(kind: &DataType) -> Option<Self> {
        Some(match kind {
            DataType::Boolean => Self::Boolean,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            kind if kind.is_numeric() => Self::Number,
            _ => return None,
        })
    }

    fn is_cast_to(self, to: Self) -> bool {
        use Kind::{Boolean, Date, Number, Time, Timestamp};
        self == to
            || matches!(
                (self, to),
                (Number, Boolean)
                    | (Boolean, Number)
                    | (Date, Timestamp)
                    | (Timestamp, Date | Time)
            )
    }
}

impl MissingCast {
    fn refused(&self, value: &Expr, from: &DataType, to: &DataType) -> DataFusionError {
        let from = sql_name(from);
        let to = sql_name(to);
        let error = Error::config("bad_sql", format!("cannot cast {from} to {to}"));
        external(error.with_hint(self.hint(&shown(value))))
    }

    fn hint(&self, x: &str) -> String {
        use Kind::{Boolean, Date, Interval, Number, Time, Timestamp};
        match (self.from, self.to) {
            (Number, Timestamp) => format!(
                "write to_timestamp({x}) for seconds since 1970, to_timestamp_millis({x}) or to_timestamp_micros({x}) for milliseconds or microseconds"
            ),
            (Number, Date) => format!(
                "write to_timestamp({x})::date for seconds since 1970, date '1970-01-01' + {x} for days"
            ),
            (Number, Time) => {
                format!("write time '00:00' + {x} * interval '1 second' for seconds of the day")
            }
            (Number, Interval) => format!("write {x} * interval '1 second'"),
            (Date | Time | Timestamp | Interval, Number) => {
                format!("write extract(epoch FROM {x}) for its seconds")
            }
            (Boolean, _) => format!("write CASE WHEN {x} THEN … ELSE … END"),
            (_, Boolean) => format!("compare it: {x} > …, or {x} IS NOT NULL"),
            (Interval, Date | Timestamp) => "add it to a date or timestamp".to_owned(),
            (Date | Timestamp, Interval) => "subtract another date or timestamp".to_owned(),
            (Time, Interval) => format!("write {x} - time '00:00'"),
            (Interval, Time) => format!("write time '00:00' + {x}"),
            _ => "take both from a timestamp: ts::date, ts::time".to_owned(),
        }
    }
}

/// The value as the hint names it: a long expression would hide the rest.
fn shown(value: &Expr) -> String {
    match value {
        Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => column.name.clone(),
        _ => "x".to_owned(),
    }
}
