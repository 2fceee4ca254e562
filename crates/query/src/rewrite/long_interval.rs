//! Literal intervals of more hours than 64 bits of nanoseconds: whole days of them become days.

use datafusion::sql::sqlparser::ast::{DataType, DateTimeField, Expr, Interval, Value};

/// Seconds after which hours, minutes and seconds are written as days: 64 bits of nanoseconds have a little more.
const SECONDS_MAX: i128 = 9_000_000_000;
const SECONDS_OF_DAY: i128 = 86_400;

/// Settles the text of a literal interval.
pub(super) fn settle(expr: &mut Expr) {
    match expr {
        Expr::Interval(interval) => settle_interval(interval),
        Expr::TypedString(typed) if is_interval(&typed.data_type) => {
            settle_text(&mut typed.value.value);
        }
        Expr::Cast {
            expr, data_type, ..
        } if is_interval(data_type) => {
            if let Expr::Value(value) = expr.as_mut() {
                settle_text(&mut value.value);
            }
        }
        _ => {}
    }
}

fn is_interval(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval { .. })
}

fn settle_interval(interval: &mut Interval) {
    let Expr::Value(value) = interval.value.as_mut() else {
        return;
    };
    let unit = match (&interval.leading_field, &interval.last_field) {
        (None, None) => return settle_text(&mut value.value),
        (Some(DateTimeField::Hour | DateTimeField::Hours), None) => "hours",
        (Some(DateTimeField::Minute | DateTimeField::Minutes), None) => "minutes",
        (Some(DateTimeField::Second | DateTimeField::Seconds), None) => "seconds",
        _ => return,
    };
    let (Value::SingleQuotedString(number) | Value::Number(number, _)) = &value.value else {
        return;
    };
    if let Some(text) = in_days(&format!("{number} {unit}")) {
        value.value = Value::SingleQuotedString(text);
        interval.leading_field = None;
    }
}

fn settle_text(value: &mut Value) {
    if let Value::SingleQuotedString(text) = value
        && let Some(made) = in_days(text)
    {
        *text = made;
    }
}

/// The text with days; `None` where it needs none, or is not made of numbers with units.
fn in_days(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (pairs, []) = words.as_chunks::<2>() else {
        return None;
    };
    let mut is_changed = false;
    let mut parts = Vec::with_capacity(words.len());
    for [number, unit] in pairs {
        match split(number, unit) {
            Some(part) => {
                is_changed = true;
                parts.push(part);
            }
            None => parts.push(format!("{number} {unit}")),
        }
    }
    is_changed.then(|| parts.join(" "))
}

/// A long time as days and the rest.
fn split(number: &str, unit: &str) -> Option<String> {
    let per_day = SECONDS_OF_DAY / seconds_of(unit)?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (number, String::new()),
    };
    let whole: i128 = whole.parse().ok()?;
    let days = whole / per_day;
    if days.abs() * SECONDS_OF_DAY < SECONDS_MAX {
        return None;
    }
    let sign = if whole < 0 { "-" } else { "" };
    let rest = (whole % per_day).abs();
    Some(format!("{days} days {sign}{rest}{fraction} {unit}"))
}

fn seconds_of(unit: &str) -> Option<i128> {
    match unit.to_lowercase().as_str() {
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3_600),
        "min" | "mins" | "minute" | "minutes" => Some(60),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_days_and_a_rest() {
        let days = |text: &str| in_days(text).unwrap_or_default();
        assert_eq!(days("5000000 hours"), "208333 days 8 hours");
        assert_eq!(days("-5000000 hours"), "-208333 days -8 hours");
        assert_eq!(
            days("1 month 9500000000.5 seconds"),
            "1 month 109953 days 60800.5 seconds"
        );
        assert_eq!(days("2000000 hours"), "");
        assert_eq!(days("1 day 10:00:00"), "");
    }
}
