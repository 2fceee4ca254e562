//! Dates and times as text (ISO 8601, RFC 3339), read alike in every format.
//!
//! A text is read exactly or not at all: invalid days, second 60 and significant digits below microseconds are rejected.

use chrono::{DateTime, NaiveDate};

pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub(crate) fn date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = number(&bytes[..4])?;
    let month = number(&bytes[5..7])?;
    let day = number(&bytes[8..])?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Microseconds of `YYYY-MM-DD[T ]HH:MM[:SS[.ffffff]]` without a zone; when declared also of a date.
pub(crate) fn timestamp(text: &str, is_strict: bool) -> Option<i64> {
    let days = i64::from(date(text.get(..10)?)?).checked_mul(MICROS_PER_DAY)?;
    match text.as_bytes()[10..].split_first() {
        None => (!is_strict).then_some(days),
        Some((b'T' | b't' | b' ', time)) => days.checked_add(time_of_day(time)?),
        Some(_) => None,
    }
}

/// Microseconds of `HH:MM[:SS[.f]]`. No second 60: it would fold into the next minute. No more than six decimals that
/// matter: they would be cut off.
fn time_of_day(time: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, rest @ ..] = time else {
        return None;
    };
    let hours = number(&[*h1, *h2])?;
    let minutes = number(&[*m1, *m2])?;
    let (seconds, fraction) = match rest {
        [] => (0, &[][..]),
        [b':', s1, s2] => (number(&[*s1, *s2])?, &[][..]),
        [b':', s1, s2, b'.', fraction @ ..] if !fraction.is_empty() => {
            (number(&[*s1, *s2])?, fraction)
        }
        _ => return None,
    };
    let exact = fraction.iter().skip(6).all(|byte| *byte == b'0');
    if hours > 23 || minutes > 59 || seconds > 59 || !exact {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        let digit = fraction.get(place).copied().unwrap_or(b'0');
        micros = micros * 10 + i64::from(number(&[digit])?);
    }
    Some(i64::from((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u32::from(byte - b'0'))
    })
}

/// Microseconds of a time with `Z` or an offset; when declared also without, taken as UTC.
pub(crate) fn timestamptz(text: &str, is_strict: bool) -> Option<i64> {
    if !is_strict && let Some(micros) = timestamp(text, false) {
        return Some(micros);
    }
    date(text.get(..10)?)?;
    let zone = text.get(10..)?.find(['Z', 'z', '+', '-'])? + 10;
    let local = timestamp(text[..zone].trim_end(), true)?;
    let offset = match &text[zone..] {
        "Z" | "z" => 0,
        offset => offset_seconds(offset)?,
    };
    local.checked_sub(offset.checked_mul(1_000_000)?)
}

/// Seconds of `+02`, `+0200` or `+02:00`.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, digits) = text.split_at_checked(1)?;
    let digits = digits.replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (digits.as_str(), "00"),
        4 => digits.split_at(2),
        _ => return None,
    };
    let instant = format!("1970-01-01T00:00:00{sign}{hours}:{minutes}");
    DateTime::parse_from_rfc3339(&instant)
        .ok()
        .map(|instant| -instant.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_or_refused() {
        let read = |text, utc| match utc {
            true => timestamptz(text, false),
            false => timestamp(text, false),
        };
        for (text, utc, expected) in [
            ("1970-01-01T00:00:01Z", true, Some(1_000_000)),
            ("1970-01-01T01:00:00.000001+01:00", true, Some(1)),
            ("1970-01-01 01:00:00+0100", true, Some(0)),
            ("1970-01-01 01:00:00 +01", true, Some(0)),
            ("1970-01-01T00:00:00", true, Some(0)),
            ("1970-01-01T00:00:00.5", false, Some(500_000)),
            ("1970-01-01 00:00", false, Some(0)),
            ("1970-01-01T00:00:00.0000001Z", true, None),
            ("1970-01-01T00:00:00.0000000001Z", true, None),
            ("1970-01-01T00:00:00.0000000000Z", true, Some(0)),
            ("2016-12-31T23:59:60Z", true, None),
            ("1970-01-01T00:00:00Z", false, None),
            ("1970-02-30T00:00:00Z", true, None),
            ("1970-01-01T00:00:00+24:00", true, None),
            ("yesterday", true, None),
            ("1970-01-01é", true, None),
        ] {
            assert_eq!(read(text, utc), expected, "{text}");
        }
        assert_eq!(date("1970-01-31"), Some(30));
        assert_eq!(date("1970-1-31"), None);
        assert_eq!(date("1970-02-29"), None);
        assert_eq!(timestamp("1970-01-02", true), None);
        assert_eq!(timestamptz("1970-01-01T00:00:00", true), None);
    }
}
