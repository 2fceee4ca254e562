//! Names that are safe in a path, a URL and an SQL identifier, checked once where they enter.
//!
//! Grammar of an identifier: `[a-z][a-z0-9_]*`, at most 100 bytes. Pipelines, splits, namespaces, tables and refs
//! (refs may also hold `-`, `.` and `/`) are made of it, so nothing later needs to escape them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Longest identifier in bytes.
pub const IDENT_BYTES_MAX: usize = 100;

/// A pipeline, split, namespace or table name: `[a-z][a-z0-9_]*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ident(String);

impl Ident {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Ident {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if starts && rest && text.len() <= IDENT_BYTES_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::config(
            "bad_identifier",
            format!(
                "{text:?} is not an identifier: use lower-case letters, digits and `_`, a letter first, at most {IDENT_BYTES_MAX} bytes"
            ),
        ))
    }
}

impl TryFrom<String> for Ident {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Ident> for String {
    fn from(ident: Ident) -> Self {
        ident.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `namespace.table`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    pub namespace: Ident,
    pub name: Ident,
}

impl TableName {
    pub fn new(namespace: Ident, name: Ident) -> Self {
        Self { namespace, name }
    }

    /// The child table for the list at `path`: `orders` and `items` give `orders__items`.
    pub fn child(&self, path: &str) -> Result<Self> {
        Ok(Self::new(
            self.namespace.clone(),
            format!("{}__{path}", self.name).parse()?,
        ))
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (namespace, name) = text.split_once('.').ok_or_else(|| {
            Error::config(
                "bad_table_name",
                format!("{text:?} is not a table name: write `namespace.table`"),
            )
        })?;
        Ok(Self::new(namespace.parse()?, name.parse()?))
    }
}

impl TryFrom<String> for TableName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// A branch or tag of the catalog: an identifier that may also hold `-`, `.` and `/` after its first letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefName(String);

impl RefName {
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b));
        if starts && rest && text.len() <= IDENT_BYTES_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::config(
            "bad_ref_name",
            format!("{text:?} is not a branch name: use `[a-z][a-z0-9_./-]*`"),
        ))
    }
}

impl TryFrom<String> for RefName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RefName> for String {
    fn from(name: RefName) -> Self {
        name.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in ["a", "quakes", "q1_x"] {
            assert!(good.parse::<Ident>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "1a",
            "_a",
            "A",
            "a-b",
            "a b",
            "../x",
            "a/b",
            "ä",
            "a\0",
            &"a".repeat(101),
        ] {
            assert!(bad.parse::<Ident>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "a.b"
                .parse::<TableName>()
                .map(|t| t.to_string())
                .ok()
                .as_deref(),
            Some("a.b")
        );
        assert!("ab".parse::<TableName>().is_err());
        assert!("run/01-x.y".parse::<RefName>().is_ok());
    }
}
