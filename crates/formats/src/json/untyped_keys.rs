//! Keys of an object that have come without a value and are not in the shape: statements may name them. Holds no values.

use std::collections::BTreeSet;

use super::shape;
use crate::case::NameCase;
use crate::column_name::name_fault;

/// Keys that an object remembers; statements can name no others.
const KEYS_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct UntypedKeys(BTreeSet<Box<str>>);

impl UntypedKeys {
    #[cold]
    pub(super) fn note(&mut self, key: &str, case: NameCase) {
        let is_known = self.0.len() >= KEYS_MAX || self.0.contains(key);
        if !is_known && name_fault(key).is_none() {
            self.0.insert(case.apply(key).into());
        }
    }

    /// Flattened names of the keys.
    pub(super) fn names(&self, prefix: &str) -> impl Iterator<Item = String> {
        self.0.iter().map(move |key| shape::join(prefix, key))
    }
}
