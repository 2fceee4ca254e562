//! Times: Postgres counts from 2000-01-01, in microseconds and days, within a limited range.

use super::Misfit;
use crate::postgres::types::{IntervalFields, Scale, SmallestField};

/// Micros from 1970-01-01 to 2000-01-01.
const EPOCH_US: i64 = 946_684_800_000_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// 4713-01-01 BC (Julian), and the first instant that is too late, in micros from 2000-01-01.
const FIRST_US: i64 = -211_813_488_000_000_000;
const END_US: i64 = 9_223_371_331_200_000_000;
/// The same in days.
const FIRST_DAY: i64 = -2_451_545;
const END_DAY: i64 = 2_145_031_949;

const DAY_US: i64 = 86_400_000_000;

/// A count of some unit as micros; finer than a micro is rejected, not rounded.
pub(super) fn micros(value: i64, scale: Scale) -> Result<i64, Misfit> {
    match scale {
        Scale::Times(1) => Ok(value),
        Scale::Times(factor) => value.checked_mul(factor).ok_or_else(out_of_range),
        Scale::Over(divisor) if value % divisor == 0 => Ok(value / divisor),
        Scale::Over(_) => Err(Misfit::new(
            "time_too_fine",
            "the time has a part below one microsecond, which Postgres cannot store",
        )),
    }
}

/// Rejects micros that a column of fewer decimals would round.
pub(super) fn check_decimals(micros: i64, decimals: u8) -> Result<i64, Misfit> {
    let step = 10_i64.pow(6 - u32::from(decimals.min(6)));
    if micros % step == 0 {
        return Ok(micros);
    }
    let reason = format!("the time has more than the {decimals} decimals of the column");
    Err(Misfit::new("time_too_fine", reason))
}

/// Months, days and micros of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) months: i32,
    pub(super) days: i32,
    pub(super) micros: i64,
}

/// Rejects an interval of which the column would drop a part.
pub(super) fn check_fields(span: Span, fields: IntervalFields) -> Result<(), Misfit> {
    const HOUR_US: i64 = 3_600_000_000;
    const MINUTE_US: i64 = 60_000_000;
    let is_kept = match fields.smallest {
        SmallestField::Second => true,
        SmallestField::Minute => span.micros % MINUTE_US == 0,
        SmallestField::Hour => span.micros % HOUR_US == 0,
        SmallestField::Day => span.micros == 0,
        SmallestField::Month => span.micros == 0 && span.days == 0,
        SmallestField::Year => span.micros == 0 && span.days == 0 && span.months % 12 == 0,
    };
    if !is_kept {
        let reason =
            "the interval has a part that the column drops (`interval year to month` and the like)";
        return Err(Misfit::new("time_too_fine", reason));
    }
    check_decimals(span.micros, fields.decimals).map(|_| ())
}

/// From 1970 to the epoch of Postgres.
pub(super) fn timestamp(micros: i64) -> Result<i64, Misfit> {
    let since = micros.checked_sub(EPOCH_US);
    since
        .filter(|since| (FIRST_US..END_US).contains(since))
        .ok_or_else(out_of_range)
}

pub(super) fn date(days: i64) -> Result<i32, Misfit> {
    let since = days - EPOCH_DAYS;
    if !(FIRST_DAY..END_DAY).contains(&since) {
        return Err(out_of_range());
    }
    i32::try_from(since).map_err(|_| out_of_range())
}

pub(super) fn time_of_day(micros: i64) -> Result<i64, Misfit> {
    if (0..=DAY_US).contains(&micros) {
        return Ok(micros);
    }
    Err(out_of_range())
}

/// The instant at which a day starts.
pub(super) fn begin_of(days: i64) -> Result<i64, Misfit> {
    days.checked_mul(DAY_US).ok_or_else(out_of_range)
}

fn out_of_range() -> Misfit {
    Misfit::new(
        "time_out_of_range",
        "the time is out of the range of Postgres",
    )
}
