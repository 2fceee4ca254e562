//! Handling of names that differ only in case: `case:` of the extractors whose names come with the data.

use std::borrow::Cow;

use forebay_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contract::ContractPolicy;

/// Handling of names that differ only in case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameCase {
    /// Each spelling is a column of its own.
    #[default]
    Keep,
    /// All spellings are one column, whose name is in lower case. A column that is there keeps its spelling.
    Fold,
}

impl NameCase {
    /// The name that a new column gets.
    pub(crate) fn apply(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::Fold if name.chars().any(char::is_uppercase) => Cow::Owned(name.to_lowercase()),
            _ => Cow::Borrowed(name),
        }
    }

    /// Whether two names are one.
    pub(crate) fn is_same(self, one: &str, other: &str) -> bool {
        match self {
            Self::Keep => one == other,
            // Most names need no new allocation.
            Self::Fold if one.is_ascii() && other.is_ascii() => one.eq_ignore_ascii_case(other),
            Self::Fold => one == other || one.to_lowercase() == other.to_lowercase(),
        }
    }

    /// # Errors
    /// `Config` `bad_column` for a declared column that no name can match.
    pub(crate) fn check(self, policy: &ContractPolicy) -> Result<()> {
        let mut names = policy.columns.keys();
        match names.find(|name| self.apply(name) != name.as_str()) {
            None => Ok(()),
            Some(name) => {
                let message = format!("with `case: fold` a column cannot be named `{name}`");
                let hint = format!("declare `{}` under `schema.columns`", name.to_lowercase());
                Err(Error::config("bad_column", message).with_hint(hint))
            }
        }
    }
}
