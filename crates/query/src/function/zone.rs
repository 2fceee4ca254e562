//! `timestamp AT TIME ZONE zone` as SQL defines it: an instant becomes the local time of the zone, a local time the instant.
//!
//! A local time that a zone skips moves forward by the gap; of two equal local times the standard one (the later instant)
//! counts, as in Postgres.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::common::Result;

use super::{ScalarDefinition, execution, wrong_arguments};
use crate::types::{local, utc};

/// `timezone(zone, timestamp)`.
pub(crate) fn timezone() -> ScalarDefinition {
    ScalarDefinition::new("timezone", returns, coerces, kernel)
}

fn coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let takes = "the name of a time zone and a timestamp";
    match types {
        [zone, at] if zone.is_string() => match at {
            DataType::Timestamp(_, Some(_)) => Ok(vec![DataType::Utf8, utc()]),
            DataType::Timestamp(_, None) | DataType::Null | DataType::Date32 => {
                Ok(vec![DataType::Utf8, local()])
            }
            kind if kind.is_string() => Ok(vec![DataType::Utf8, utc()]),
            _ => Err(wrong_arguments("timezone", takes, types)),
        },
        _ => Err(wrong_arguments("timezone", takes, types)),
    }
}

fn returns(types: &[DataType]) -> Result<DataType> {
    Ok(match &types[1] {
        DataType::Timestamp(_, Some(_)) => local(),
        _ => utc(),
    })
}

fn kernel(args: &[ArrayRef]) -> Result<ArrayRef> {
    let zones = args[0].as_string::<i32>();
    let stamps = args[1].as_primitive::<TimestampMicrosecondType>();
    let is_instant = matches!(args[1].data_type(), DataType::Timestamp(_, Some(_)));
    let mut known: Option<(&str, Tz)> = None;
    let rows = (0..stamps.len()).map(|row| {
        if zones.is_null(row) || stamps.is_null(row) {
            return Ok(None);
        }
        let name = zones.value(row);
        let zone = match known {
            Some((last, zone)) if last == name => zone,
            _ => parse(name)?,
        };
        known = Some((name, zone));
        let at = DateTime::from_timestamp_micros(stamps.value(row))
            .ok_or_else(|| execution("a timestamp is out of range"))?
            .naive_utc();
        let moved = if is_instant {
            to_local(zone, at)
        } else {
            to_instant(zone, at)
        };
        moved
            .map(|at| Some(at.and_utc().timestamp_micros()))
            .ok_or_else(|| execution("a timestamp is out of range"))
    });
    let moved: TimestampMicrosecondArray = rows.collect::<Result<_>>()?;
    if is_instant {
        return Ok(Arc::new(moved));
    }
    Ok(cast(&moved, &utc())?)
}

fn parse(name: &str) -> Result<Tz> {
    name.trim().parse().map_err(|_| {
        execution(format!(
            "unknown time zone '{name}': use a name such as 'Europe/Berlin' or an offset such as '+02:00'"
        ))
    })
}

fn to_local(zone: Tz, at: NaiveDateTime) -> Option<NaiveDateTime> {
    let offset = zone.offset_from_utc_datetime(&at).fix();
    at.checked_add_offset(offset)
}

fn to_instant(zone: Tz, at: NaiveDateTime) -> Option<NaiveDateTime> {
    match zone.from_local_datetime(&at) {
        LocalResult::Single(at) => Some(at.naive_utc()),
        LocalResult::Ambiguous(_, later) => Some(later.naive_utc()),
        LocalResult::None => {
            // The offset before the gap puts the time behind it.
            let before = at.checked_sub_signed(TimeDelta::days(1))?;
            let offset = zone.offset_from_utc_datetime(&before).fix();
            at.checked_sub_offset(offset)
        }
    }
}
