//! Types of texts: learning a type from texts, and reading a text as a type.
//!
//! A learned type takes only texts that can be restored from the value: `007` stays text, so does a number with more digits
//! than a double holds. A declared type takes every usual spelling, as long as the value is exact.

use super::NumberType;
use super::formats::Formats;
use crate::contract::ColumnType;
use crate::shortest::shortest_forms;

/// Types that are learned, the narrowest first. Texts that fit none are strings.
const LEARNED: [ColumnType; 6] = [
    ColumnType::Boolean,
    ColumnType::Long,
    ColumnType::Double,
    ColumnType::Date,
    ColumnType::Timestamp,
    ColumnType::Timestamptz,
];

/// The narrowest type that every text fits; `None` without texts.
pub(super) fn learn<'a>(
    texts: impl Iterator<Item = &'a str>,
    formats: &Formats,
) -> Option<ColumnType> {
    let mut open = LEARNED.to_vec();
    let mut any = false;
    for text in texts {
        any = true;
        open.retain(|kind| fits(*kind, text, formats));
        if open.is_empty() {
            break;
        }
    }
    if formats.numbers == NumberType::Double && open.contains(&ColumnType::Double) {
        return any.then_some(ColumnType::Double);
    }
    any.then(|| open.first().copied().unwrap_or(ColumnType::String))
}

fn fits(kind: ColumnType, text: &str, formats: &Formats) -> bool {
    match kind {
        ColumnType::Boolean => boolean(text, true).is_some(),
        ColumnType::Long => formats.long(text, true).is_some(),
        ColumnType::Double => formats.double(text, true).is_some(),
        ColumnType::Date => formats.date(text).is_some(),
        ColumnType::Timestamp => formats.timestamp(text, true).is_some(),
        ColumnType::Timestamptz => formats.timestamptz(text, true).is_some(),
        _ => true,
    }
}

/// `true` and `false` in any case; when declared also `t`, `f`, `yes`, `no`, `y`, `n`, `1`, `0`.
pub(crate) fn boolean(text: &str, learned: bool) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match learned {
        true if is(&["true"]) => Some(true),
        true if is(&["false"]) => Some(false),
        false if is(&["true", "t", "yes", "y", "1"]) => Some(true),
        false if is(&["false", "f", "no", "n", "0"]) => Some(false),
        _ => None,
    }
}

/// A whole number; learned ones have no sign `+`, no leading zero and are not `-0`.
pub(crate) fn long(text: &str, learned: bool) -> Option<i64> {
    if learned {
        match text.as_bytes() {
            b"0" => return Some(0),
            [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] => {}
            _ => return None,
        }
    }
    text.parse().ok()
}

/// A number that equals its text exactly: its decimal digits come back from the double.
pub(crate) fn double(text: &str, learned: bool) -> Option<f64> {
    let shape = Number::parse(text)?;
    if learned && !shape.canonical {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    let exact = match shape.digit_count() {
        // Any 15 digits survive, unless the number is so small that a double thins out.
        0..=15 if value == 0.0 || value.abs() >= f64::MIN_POSITIVE => {
            value != 0.0 || shape.digit_count() == 0
        }
        0..=17 => shape.comes_back(value),
        _ => false,
    };
    exact.then_some(value)
}

/// The parts of a decimal number.
struct Number<'a> {
    /// Significant digits before and after the point: without zeros at either end of both together.
    whole: &'a [u8],
    fraction: &'a [u8],
    /// No `+`, no needless leading zero, digits on both sides of a point.
    canonical: bool,
}

impl<'a> Number<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (sign, unsigned) = split_sign(text.as_bytes());
        let (whole, rest) = split_digits(unsigned);
        let (fraction, rest, has_point) = match rest {
            [b'.', rest @ ..] => {
                let (fraction, rest) = split_digits(rest);
                (fraction, rest, true)
            }
            _ => (&rest[..0], rest, false),
        };
        if !is_exponent(rest) || whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let padded = whole.len() > 1 && whole[0] == b'0';
        let lopsided = whole.is_empty() || has_point && fraction.is_empty();
        let (whole, fraction) = significant(whole, fraction);
        Some(Self {
            whole,
            fraction,
            canonical: !(sign == Some(b'+') || padded || lopsided),
        })
    }

    fn digit_count(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    /// Whether a shortest text of `value` has the same digits.
    fn comes_back(&self, value: f64) -> bool {
        shortest_forms(value.abs()).any(|form| {
            let mantissa = form.split('e').next().unwrap_or_default();
            let digits = mantissa.bytes().filter(u8::is_ascii_digit);
            let digits: Vec<u8> = digits.collect();
            let end = digits.iter().rposition(|byte| *byte != b'0');
            digits[..end.map_or(0, |last| last + 1)]
                .iter()
                .eq(self.whole.iter().chain(self.fraction))
        })
    }
}

fn split_sign(text: &[u8]) -> (Option<u8>, &[u8]) {
    match text {
        [sign @ (b'-' | b'+'), rest @ ..] => (Some(*sign), rest),
        _ => (None, text),
    }
}

/// The digits at the beginning, and the rest.
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

/// Whether this may follow the digits of a number: nothing, or an exponent.
fn is_exponent(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b'e' | b'E', power @ ..] => {
            let (_, digits) = split_sign(power);
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

/// The digits before and after a point, without zeros at either end of both together.
fn significant<'a>(whole: &'a [u8], fraction: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let is_zero = |byte: &&u8| **byte == b'0';
    let whole = &whole[whole.iter().take_while(is_zero).count()..];
    let fraction = &fraction[..fraction.len() - fraction.iter().rev().take_while(is_zero).count()];
    if whole.is_empty() {
        let leading = fraction.iter().take_while(is_zero).count();
        return (whole, &fraction[leading..]);
    }
    if fraction.is_empty() {
        let trailing = whole.iter().rev().take_while(is_zero).count();
        return (&whole[..whole.len() - trailing], fraction);
    }
    (whole, fraction)
}

/// A declared `float`: exact when its shortest text has the digits of `text`.
pub(crate) fn float(text: &str) -> Option<f32> {
    let shape = Number::parse(text)?;
    let value: f32 = text.parse().ok().filter(|value: &f32| value.is_finite())?;
    let shortest: f64 = format!("{value:e}").parse().ok()?;
    shape.comes_back(shortest).then_some(value)
}

/// An exact decimal with `scale` digits after the point, as its unscaled value.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let scale = usize::try_from(scale).ok()?;
    let (kept, rest) = fraction.split_at_checked(scale).unwrap_or((fraction, ""));
    let shaped = unsigned
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        && !(whole.is_empty() && fraction.is_empty())
        && rest.bytes().all(|byte| byte == b'0')
        && kept.bytes().all(|byte| byte.is_ascii_digit());
    if !shaped {
        return None;
    }
    let digits = format!("{}{kept:0<scale$}", whole.trim_start_matches('0'));
    if digits.trim_start_matches('0').len() > usize::from(precision) {
        return None;
    }
    let value: i128 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    Some(if text.starts_with('-') { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::csv::CsvConfig;
    use crate::iso_time::{timestamp, timestamptz};

    fn usual() -> Formats {
        Formats::new(&CsvConfig::default()).unwrap()
    }

    #[test]
    fn the_narrowest_exact_type_is_learned() {
        for (texts, kind) in [
            (&["1", "-5", "0"][..], ColumnType::Long),
            (&["007", "1"], ColumnType::String),
            (&["-0"], ColumnType::Double),
            (&["1", "-0", "3"], ColumnType::Double),
            (&["1.5", "-0.0"], ColumnType::Double),
            (&["-00"], ColumnType::String),
            (&["1", "2.50", "1e3"], ColumnType::Double),
            (&["12345678901234567890"], ColumnType::String),
            (&["9007199254740993.5"], ColumnType::String),
            (&["0.30000000000000004"], ColumnType::Double),
            (&["1e400"], ColumnType::String),
            (&["1e-400"], ColumnType::String),
            (&["NaN"], ColumnType::String),
            (&["true", "FALSE"], ColumnType::Boolean),
            (&["true", "1"], ColumnType::String),
            (&["2026-02-28"], ColumnType::Date),
            (&["2026-02-30"], ColumnType::String),
            (
                &["2020-02-24 18:00:00", "2020-02-24T18:00"],
                ColumnType::Timestamp,
            ),
            (
                &["2020-02-24T18:00:00Z", "2020-02-24 18:00:00.5+02:00"],
                ColumnType::Timestamptz,
            ),
            (
                &["2020-02-24T18:00:00Z", "2020-02-24T18:00:00"],
                ColumnType::String,
            ),
            (&["2020-02-24T18:00:00.1234567"], ColumnType::String),
            (&["0000-00-00"], ColumnType::String),
        ] {
            assert_eq!(
                learn(texts.iter().copied(), &usual()),
                Some(kind),
                "{texts:?}"
            );
        }
        assert_eq!(learn(std::iter::empty(), &usual()), None);
    }

    #[test]
    fn declared_types_take_usual_spellings_but_only_exact_values() {
        assert_eq!(long("007", false), Some(7));
        assert_eq!(long("9223372036854775808", false), None);
        assert_eq!(double(".5", false), Some(0.5));
        assert_eq!(decimal("12.3", 10, 2), Some(1230));
        assert_eq!(decimal("-0.05", 10, 2), Some(-5));
        assert_eq!(decimal("1.005", 10, 2), None);
        assert_eq!(decimal("1.500", 10, 2), Some(150));
        assert_eq!(decimal("100", 4, 2), None);
        assert_eq!(decimal("1.2.3", 10, 2), None);
        assert_eq!(boolean("Y", false), Some(true));
        assert_eq!(timestamp("1970-01-02", false), Some(86_400_000_000));
        assert_eq!(timestamptz("1970-01-01T02:00:00+0200", false), Some(0));
        assert_eq!(float("0.1"), Some(0.1));
        assert_eq!(float("0.123456789"), None);
    }

    proptest! {
        #[test]
        fn a_learned_double_gives_its_digits_back(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let text = format!("{value}");
            if let Some(read) = double(&text, true) {
                prop_assert_eq!(read.to_bits(), value.to_bits());
            }
        }

        #[test]
        fn what_is_learned_as_a_double_is_exact(text in "-?[0-9]{1,20}(\\.[0-9]{1,20})?(e-?[0-9]{1,3})?") {
            if let Some(value) = double(&text, true) {
                let shape = Number::parse(&text).unwrap();
                prop_assert!(shape.comes_back(value) || value == 0.0 && shape.digit_count() == 0, "{} {}", text, value);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            for kind in LEARNED {
                let _ = fits(kind, &text, &usual());
            }
            let _ = (decimal(&text, 10, 2), float(&text), timestamptz(&text, false), double(&text, false));
        }
    }
}
