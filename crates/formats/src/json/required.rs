//! Columns that every record must have.

use super::shape::{self, Kind, Object};

/// Columns that every record must have, by flattened name.
#[derive(Debug, Default)]
pub(super) struct Required {
    pub(super) names: Vec<String>,
}

impl Required {
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

/// Whether `name` is a key of the object, or belongs to a list below it (which checks its own).
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
