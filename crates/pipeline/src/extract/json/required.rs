//! What the pipeline file says of columns by name: those that every record must have, and those whose type it declares.

use super::shape::{self, ELEMENT, Key, Kind, Object};
use crate::extract::contract::ContractPolicy;

/// Columns of the pipeline file, by flattened name.
#[derive(Debug, Default)]
pub(super) struct Required {
    /// Those that every record must have.
    pub(super) names: Vec<String>,
    /// Those with a declared type: also an empty list or object is a value to them.
    typed: Vec<String>,
}

impl Required {
    pub(super) fn new(policy: &ContractPolicy) -> Self {
        let required = policy.columns.iter().filter(|(_, rule)| rule.required);
        let typed = policy.declared_columns();
        Self {
            names: required.map(|(name, _)| name.clone()).collect(),
            typed: typed.map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// Keys of the object with this prefix that have a declared type and that no record has shown.
    pub(super) fn unseen_typed(&self, shape: &Object, prefix: &str) -> Vec<Box<str>> {
        let below = |name: &String| {
            let rest = name.strip_prefix(prefix)?;
            let key = if prefix.is_empty() {
                Some(rest)
            } else {
                rest.strip_prefix("__")
            };
            key.map(Box::from)
        };
        let keys = self.typed.iter().filter_map(below);
        keys.filter(|key: &Box<str>| !shape.keys.iter().any(|known| *known.key == **key))
            .collect()
    }

    /// Whether the elements of a list have a declared type and no record has shown one.
    pub(super) fn is_unseen_typed(&self, element: &Key, name: &str) -> bool {
        element.key == ELEMENT
            && element.kinds.is_empty()
            && self.typed.iter().any(|typed| typed == name)
    }

    /// Whether a required column is below the object column `name`.
    pub(super) fn is_below(&self, name: &str) -> bool {
        self.names.iter().any(|required| {
            required
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with("__"))
        })
    }
}

/// Required columns below `prefix` (of the table when it is empty) that no key of the shape has.
pub(super) fn unbound(shape: &Object, prefix: &str, required: &Required) -> Vec<String> {
    let below = |name: &str| {
        prefix.is_empty()
            || name
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with("__"))
    };
    let names = required
        .names
        .iter()
        .filter(|name| below(name) && !is_bound(shape, prefix, name));
    names.cloned().collect()
}

/// Whether `name` is a key of the object, or belongs to a list below it (which looks after its own).
fn is_bound(shape: &Object, prefix: &str, name: &str) -> bool {
    shape.keys.iter().any(|key| {
        let key_name = shape::join(prefix, &key.key);
        key_name == name
            || key.kinds.iter().enumerate().any(|(i, kind)| {
                let kind_name = shape::kind_name(&key_name, i, kind.name());
                match kind {
                    Kind::Object(object) => is_bound(object, &kind_name, name),
                    Kind::List(_) => name
                        .strip_prefix(kind_name.as_str())
                        .is_some_and(|rest| rest.starts_with("__")),
                    _ => kind_name == name,
                }
            })
    })
}
