//! Names that are safe in a path, a URL and an SQL identifier, checked once where they enter.
//!
//! Grammar of an identifier: `[a-z][a-z0-9_]*`, at most 100 bytes. Pipelines, splits, namespaces, tables and refs
//! (refs may also hold `-`, `.` and `/`) are made of it, so nothing later needs to escape them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, shortened_value};

/// Separates the name of a column and the kind of the values in the one beside it: `price__v_string` has the texts of `price`.
pub const VARIANT_SEPARATOR: &str = "__v_";

/// Column of a row that has child rows: the key that these repeat.
pub const ROW_ID: &str = "_fb_id";
/// Column of a child row: the key of the row whose list it comes from.
pub const PARENT_ID: &str = "_fb_parent_id";
/// Column of a child row: the key of the main row, at whatever depth the list is.
pub const ROOT_ID: &str = "_fb_root_id";
/// Column of a child row: its number in the list.
pub const LIST_INDEX: &str = "_fb_index";

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
        let text = shortened_value(text);
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
    ///
    /// Keys of records may be anything, names of tables may not: upper case becomes lower case, and a path that needs
    /// more than that (other characters, too long) is made to fit and gets eight digits of its hash, so that two paths
    /// never share a table by accident.
    pub fn child(&self, path: &str) -> Result<Self> {
        let lower = format!("{}__{}", self.name, path.to_ascii_lowercase());
        if let Ok(name) = lower.parse() {
            return Ok(Self::new(self.namespace.clone(), name));
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let kept = lower.chars().map(plain).take(IDENT_BYTES_MAX - 9);
        let name = format!(
            "{}_{:08x}",
            kept.collect::<String>(),
            fnv1a(path.as_bytes())
        );
        Ok(Self::new(self.namespace.clone(), name.parse()?))
    }
}

/// FNV-1a, 32 bits (Fowler, Noll, Vo): stable for ever, because names of tables depend on it.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (namespace, name) = text.split_once('.').ok_or_else(|| {
            let text = shortened_value(text);
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
        let text = shortened_value(text);
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
    fn every_path_has_a_child_table_of_its_own() {
        let main: TableName = "shop.orders".parse().unwrap();
        let child = |path: &str| main.child(path).unwrap().name.to_string();
        assert_eq!(child("items"), "orders__items");
        assert_eq!(
            child("maritalStatus__coding"),
            "orders__maritalstatus__coding"
        );
        assert!(child("a-b").starts_with("orders__a_b_"));
        assert_ne!(child("a-b"), child("a.b"));
        let long = |end: &str| child(&format!("{}{end}", "x".repeat(200)));
        assert_eq!(long("1").len(), IDENT_BYTES_MAX);
        assert_ne!(long("1"), long("2"));
    }

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
