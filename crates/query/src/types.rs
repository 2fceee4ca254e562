//! SQL type names, both ways: parsed from statements, and shown in messages.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    CharacterLength, DataType as SqlType, ExactNumberInfo, TimezoneInfo,
};
use forebay_core::Error;

use crate::error::external;

/// Most digits behind the point of a second that are kept.
const SECOND_DIGITS_MAX: u64 = 6;

/// Microseconds in UTC, the type of every instant.
pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("+00:00")))
}

/// Microseconds without a zone.
pub(crate) fn local() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Digits of a `float` beyond which it is a double.
const REAL_DIGITS_MAX: u64 = 24;

/// Instants and times have microseconds, whatever precision a statement names: nanoseconds would end at the year 2262. A type whose name
/// promises what nobody would check is refused: the lengths of texts, and the digits of a `numeric` that names none.
#[derive(Debug)]
pub(crate) struct MicrosecondTypes;

impl TypePlanner for MicrosecondTypes {
    fn plan_type(&self, sql_type: &SqlType) -> Result<Option<DataType>> {
        check_promise(sql_type)?;
        Ok(Some(match sql_type {
            SqlType::Float(ExactNumberInfo::Precision(digits)) if *digits > REAL_DIGITS_MAX => {
                DataType::Float64
            }
            SqlType::Timestamp(digits, zone) | SqlType::Time(digits, zone)
                if digits.is_some_and(|digits| digits > SECOND_DIGITS_MAX) =>
            {
                let _ = zone;
                return plan_err!(
                    "{sql_type} is finer than a microsecond: use at most {SECOND_DIGITS_MAX} digits"
                );
            }
            SqlType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => utc(),
            SqlType::Timestamp(..) | SqlType::Datetime(_) => local(),
            SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            SqlType::JSON | SqlType::CharacterVarying(_) | SqlType::Character(_) => {
                DataType::Utf8View
            }
            _ => return Ok(None),
        }))
    }
}

/// Errors: `Unsupported` `sql_unsupported` for a name that says more than the type keeps.
fn check_promise(sql_type: &SqlType) -> Result<()> {
    match sql_type {
        SqlType::Numeric(ExactNumberInfo::None) | SqlType::Decimal(ExactNumberInfo::None) => {
            let what = format!("{sql_type} without a number of digits");
            Err(refused(
                &what,
                "write decimal(18, 2) with the digits that you need, at most 38",
            ))
        }
        SqlType::Varchar(Some(length))
        | SqlType::Nvarchar(Some(length))
        | SqlType::CharacterVarying(Some(length))
        | SqlType::CharVarying(Some(length))
        | SqlType::Character(Some(length))
        | SqlType::Char(Some(length)) => Err(refused(
            &format!("{sql_type} with a length, which is not kept,"),
            &format!(
                "write varchar, or left(x, {}) where a value is cut",
                characters(length)
            ),
        )),
        SqlType::Character(None) | SqlType::Char(None) => Err(refused(
            &format!("{sql_type}, which is one character long in SQL and would not be here,"),
            "write varchar, or left(x, 1) where a value is cut",
        )),
        _ => Ok(()),
    }
}

fn characters(length: &CharacterLength) -> String {
    match length {
        CharacterLength::IntegerLength { length, .. } => length.to_string(),
        CharacterLength::Max => "n".to_owned(),
    }
}

fn refused(what: &str, hint: &str) -> DataFusionError {
    let what = format!("{what} is not supported");
    external(Error::unsupported("sql_unsupported", what).with_hint(hint))
}

/// The name of a type in SQL.
pub(crate) fn sql_name(kind: &DataType) -> String {
    let name = match kind {
        DataType::Null => "null",
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::UInt8 => "tinyint unsigned",
        DataType::UInt16 => "smallint unsigned",
        DataType::UInt32 => "int unsigned",
        DataType::UInt64 => "bigint unsigned",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea",
        DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Interval(
            IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano,
        ) => "interval",
        DataType::Duration(_) => "interval",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            return format!("decimal({precision},{scale})");
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            return format!("{}[]", sql_name(item.data_type()));
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), sql_name(field.data_type())))
                .collect();
            return format!("struct({})", fields.join(", "));
        }
        DataType::Map(..) => "map",
        DataType::Dictionary(_, value) => return sql_name(value),
        DataType::RunEndEncoded(_, value) => return sql_name(value.data_type()),
        DataType::Union(..) => "union",
    };
    name.to_owned()
}

/// Whether the type is, or holds at any depth, one whose equal values can have different bits: floating point numbers, intervals.
pub(crate) fn has_many_forms(kind: &DataType) -> bool {
    match kind {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::Interval(IntervalUnit::MonthDayNano) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_many_forms(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_many_forms(field.data_type())),
        _ => false,
    }
}

/// A shared type planner.
pub(crate) fn planner() -> Arc<dyn TypePlanner> {
    Arc::new(MicrosecondTypes)
}
