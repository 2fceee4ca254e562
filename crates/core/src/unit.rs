//! Durations, sizes and counts as people write them: always with a unit.
//!
//! `500ms`, `10s`, `15m`, `1h`, `7d`, `3y` · `64KiB`, `64MiB`, `1GB` · `100_000`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const DURATIONS: [(&str, u64); 8] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
    ("w", 7 * 86_400_000_000),
    ("y", 365 * 86_400_000_000),
];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// A length of time with its unit, such as `10s`. A day is 24 hours, a year 365 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// A number of bytes with its unit, such as `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

fn split(text: &str, units: &[(&'static str, u64)], what: &str) -> Result<u64> {
    let bad = || {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        Error::config(
            "bad_unit",
            format!(
                "{text:?} is not a {what}: write a number and one of {}",
                names.join(", ")
            ),
        )
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .ok_or_else(bad)?;
    let number: u64 = text[..digits].replace('_', "").parse().map_err(|_| bad())?;
    let unit = text[digits..].trim();
    let (_, factor) = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(bad)?;
    number.checked_mul(*factor).ok_or_else(bad)
}

fn show(
    value: u64,
    units: &[(&'static str, u64)],
    zero: &str,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let fits = units
        .iter()
        .filter(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor);
    match fits {
        Some((name, factor)) => write!(f, "{}{name}", value / factor),
        None => f.write_str(zero),
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        split(text, &DURATIONS, "duration").map(|micros| Self(Duration::from_micros(micros)))
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        split(text, &SIZES, "size").map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(
            u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX),
            &DURATIONS,
            "0s",
            f,
        )
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, &SIZES, "0B", f)
    }
}

macro_rules! text_unit {
    ($type:ty, $name:literal, $pattern:literal, $doc:literal) => {
        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $doc, "pattern": $pattern })
            }
        }
    };
}

text_unit!(
    Span,
    "Span",
    r"^[0-9][0-9_]*\s*(us|ms|s|m|h|d|w|y)$",
    "A length of time with its unit, such as `10s`, `15m`, `3y`."
);
text_unit!(
    Size,
    "Size",
    r"^[0-9][0-9_]*\s*(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB)$",
    "A number of bytes with its unit, such as `64MiB`."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_shown() {
        assert_eq!(
            "10s".parse::<Span>().ok(),
            Some(Span(Duration::from_secs(10)))
        );
        assert_eq!(
            "1_500ms"
                .parse::<Span>()
                .map(|s| s.to_string())
                .ok()
                .as_deref(),
            Some("1500ms")
        );
        assert_eq!("64MiB".parse::<Size>().ok(), Some(Size(64 << 20)));
        assert_eq!(Size(64 << 20).to_string(), "64MiB");
        assert_eq!(Span(Duration::ZERO).to_string(), "0s");
        for bad in ["10", "s", "10 parsecs", "-1s", "99999999999999y", ""] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }
}
