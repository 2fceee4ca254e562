//! Exact arithmetic on number literals: whether a binary number equals its text.
//!
//! Only used for records with long or extreme literals, and columns with a declared type. Never rounds: a value that does
//! not fit is reported.

use std::fmt::LowerExp;

use crate::shortest::shortest_forms;

/// Significant digits that every double keeps.
pub(super) const DIGITS_SAFE: usize = 15;
/// Significant digits of the longest exact expansion of a double.
const DIGITS_EXACT_MAX: usize = 767;
/// Exponents are held within this; far outside of every type, and far from overflow.
const EXPONENT_MAX: i64 = 1 << 40;

/// A decimal number: `±digits × 10^exponent`, without leading or trailing zeros; zero has no digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exact {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Exact {
    /// Reads a literal of JSON's number grammar; `None` for anything else.
    pub(super) fn parse(literal: &[u8]) -> Option<Self> {
        let (negative, rest) = match literal.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, literal),
        };
        let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
            Some(at) => (&mantissa[..at], Some(&mantissa[at + 1..])),
            None => (mantissa, None),
        };
        let numeric = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        if !numeric(whole) || !fraction.is_none_or(numeric) || (whole.len() > 1 && whole[0] == b'0')
        {
            return None;
        }
        let fraction = fraction.unwrap_or_default();
        let digits = [whole, fraction].concat();
        Some(Self::normal(
            negative,
            digits,
            exponent - fraction.len() as i64,
        ))
    }

    fn normal(negative: bool, mut digits: Vec<u8>, mut exponent: i64) -> Self {
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent += 1;
        }
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..leading);
        if digits.is_empty() {
            return Self {
                negative: false,
                digits,
                exponent: 0,
            };
        }
        Self {
            negative,
            digits,
            exponent,
        }
    }

    /// Whether `value` is this number: a shortest text of it has the same digits, or it is equal to the last digit.
    pub(super) fn is<F: LowerExp + Copy>(&self, value: F) -> bool {
        let says = |text: String| Self::parse(text.as_bytes()).as_ref() == Some(self);
        shortest_forms(value).any(says)
            || (self.digits.len() > DIGITS_SAFE
                && self.digits.len() <= DIGITS_EXACT_MAX
                && says(format!("{value:.DIGITS_EXACT_MAX$e}")))
    }

    /// The number times `10^scale` when that is whole and has at most `precision` digits.
    pub(super) fn scaled(&self, precision: u8, scale: i8) -> Option<i128> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(self.exponent + i64::from(scale)).ok()?;
        if self.digits.len().checked_add(zeros)? > usize::from(precision) {
            return None;
        }
        let value = self
            .digits
            .iter()
            .fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
        let value = value * 10_i128.pow(u32::try_from(zeros).ok()?);
        Some(if self.negative { -value } else { value })
    }

    /// As a 64-bit integer, when it is one.
    pub(super) fn long(&self) -> Option<i64> {
        self.scaled(19, 0)
            .and_then(|value| i64::try_from(value).ok())
    }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |value, digit| {
        (value * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX)
    });
    Some(if negative { -value } else { value })
}

/// Whether the double made of `literal` certainly equals it: few digits and an everyday exponent.
pub(super) fn is_plain(literal: &[u8]) -> bool {
    let mut digits = 0;
    for byte in literal {
        match byte {
            b'e' | b'E' => return false,
            b'0' if digits == 0 => {}
            b'0'..=b'9' => digits += 1,
            _ => {}
        }
    }
    digits <= DIGITS_SAFE && literal.len() < 64
}

/// Whether a double holds this integer exactly.
pub(super) fn is_exact_double(value: i128) -> bool {
    let magnitude = value.unsigned_abs();
    magnitude == 0 || 128 - magnitude.leading_zeros() - magnitude.trailing_zeros() <= 53
}

/// The double that equals this literal of a whole number to the last digit.
#[cold]
pub(super) fn whole_double(literal: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(literal).ok()?;
    let value: f64 = text.parse().ok()?;
    (format!("{value:.0}") == text).then_some(value)
}

/// Whether simd-json rejects this (valid) literal: an integer beyond 64 bits, or an infinite double.
pub(super) fn is_beyond_64_bits(literal: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(literal) else {
        return false;
    };
    if literal
        .iter()
        .any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    {
        return text.parse::<f64>().is_ok_and(f64::is_infinite);
    }
    text.parse::<i64>().is_err() && text.parse::<u64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(literal: &str) -> bool {
        Exact::parse(literal.as_bytes())
            .unwrap()
            .is(literal.parse::<f64>().unwrap())
    }

    #[test]
    fn a_double_is_taken_only_when_it_says_what_the_text_said() {
        for literal in [
            "0.1",
            "0.30000000000000004",
            "1e22",
            "-0.0",
            "5e-324",
            "1.7976931348623157e308",
            "100",
            "1.50",
        ] {
            assert!(exact(literal), "{literal}");
        }
        assert!(exact(
            "0.1000000000000000055511151231257827021181583404541015625"
        ));
        for literal in [
            "0.10000000000000001",
            "9007199254740993.0",
            "1e-400",
            "3e-324",
            "0.1000000000000000055511151231257827",
        ] {
            assert!(!exact(literal), "{literal}");
        }
        assert!(!exact(&format!("1.{}1", "0".repeat(1000))));
    }

    #[test]
    fn decimals_fit_or_do_not() {
        let scaled = |text: &str, p, s| Exact::parse(text.as_bytes()).unwrap().scaled(p, s);
        assert_eq!(scaled("12.50", 4, 2), Some(1250));
        assert_eq!(scaled("-1e3", 4, 0), Some(-1000));
        assert_eq!(scaled("12.505", 9, 2), None);
        assert_eq!(scaled("12345", 4, 0), None);
        assert_eq!(scaled("1e999999999999", 38, 0), None);
        assert_eq!(Exact::parse(b"9223372036854775808").unwrap().long(), None);
        assert_eq!(
            Exact::parse(b"-9223372036854775808").unwrap().long(),
            Some(i64::MIN)
        );
    }

    #[test]
    fn only_json_numbers_are_numbers() {
        for bad in [
            "", "-", "01", "1.", ".5", "1e", "+1", "0x1", "NaN", "1e+", "--1",
        ] {
            assert!(Exact::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_whole_number_of_any_length_is_a_double_when_it_equals_one() {
        let huge = format!("{:.0}", f64::MAX);
        for (literal, is_exact) in [
            ("18446744073709551616", true),
            ("-100000000000000000000", true),
            ("18446744073709551617", false),
            ("123456789012345678901234", false),
            (huge.as_str(), true),
            ("1e999", false),
        ] {
            let value = whole_double(literal.as_bytes());
            assert_eq!(value.is_some(), is_exact, "{literal}");
        }
    }

    #[test]
    fn integers_within_53_bits_are_exact_doubles() {
        assert!(is_exact_double(1 << 53) && is_exact_double(-(1 << 60)) && is_exact_double(0));
        assert!(!is_exact_double((1 << 53) + 1));
    }
}
