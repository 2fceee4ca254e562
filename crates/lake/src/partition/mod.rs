//! How a table is partitioned, as a pipeline file writes it: `day(at)`, `bucket(16, id)`, `truncate(4, code)`, `region`.
//!
//! Everything about partitions: a table's spec (`spec`), the forward way from rows to partition values
//! (`transform`, `split`), the way back from a partition value to the values of its rows (`invert`), and text for
//! people (`text`).

pub(crate) mod invert;
mod literal;
pub(crate) mod source;
mod spec;
pub(crate) mod split;
pub(crate) mod text;
mod transform;

use std::fmt;
use std::str::FromStr;

use forebay_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub(crate) use spec::{fields_of, unbound_spec};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    Identity,
    Year,
    Month,
    Day,
    Hour,
    Bucket(u32),
    Truncate(u32),
}

/// One partition field: a transform of one column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartitionField {
    pub transform: Transform,
    pub column: String,
}

impl FromStr for PartitionField {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::config(
                "bad_partition",
                format!(
                    "{text:?} is not a partition field: write `column`, `year|month|day|hour(column)`, `bucket(n, column)` or `truncate(n, column)`"
                ),
            )
        };
        let Some((name, rest)) = text.trim().split_once('(') else {
            return Ok(Self {
                transform: Transform::Identity,
                column: column(text).ok_or_else(bad)?,
            });
        };
        let inner = rest.trim_end().strip_suffix(')').ok_or_else(bad)?;
        let numbered = |make: fn(u32) -> Transform| {
            let (number, name) = inner.split_once(',')?;
            let number = number.trim().parse().ok().filter(|n| *n > 0)?;
            Some(Self {
                transform: make(number),
                column: column(name)?,
            })
        };
        let plain = |transform| {
            Some(Self {
                transform,
                column: column(inner)?,
            })
        };
        match name.trim() {
            "year" => plain(Transform::Year),
            "month" => plain(Transform::Month),
            "day" => plain(Transform::Day),
            "hour" => plain(Transform::Hour),
            "identity" => plain(Transform::Identity),
            "bucket" => numbered(Transform::Bucket),
            "truncate" => numbered(Transform::Truncate),
            _ => None,
        }
        .ok_or_else(bad)
    }
}

fn column(text: &str) -> Option<String> {
    let name = text.trim();
    let fits = !name.is_empty() && !name.contains(['(', ')', ',', '"', '\'']);
    fits.then(|| name.to_owned())
}

impl fmt::Display for PartitionField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = &self.column;
        match self.transform {
            Transform::Identity => f.write_str(column),
            Transform::Year => write!(f, "year({column})"),
            Transform::Month => write!(f, "month({column})"),
            Transform::Day => write!(f, "day({column})"),
            Transform::Hour => write!(f, "hour({column})"),
            Transform::Bucket(n) => write!(f, "bucket({n}, {column})"),
            Transform::Truncate(n) => write!(f, "truncate({n}, {column})"),
        }
    }
}

impl TryFrom<String> for PartitionField {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PartitionField> for String {
    fn from(field: PartitionField) -> Self {
        field.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_fields_are_read_and_shown() {
        for text in [
            "region",
            "day(at)",
            "hour(at)",
            "bucket(16, id)",
            "truncate(4, code)",
        ] {
            assert_eq!(
                text.parse::<PartitionField>()
                    .map(|f| f.to_string())
                    .ok()
                    .as_deref(),
                Some(text)
            );
        }
        for bad in [
            "",
            "day()",
            "bucket(id)",
            "bucket(0, id)",
            "week(at)",
            "day(at",
        ] {
            assert!(bad.parse::<PartitionField>().is_err(), "{bad:?}");
        }
    }
}
