//! Namespaces of tables: names with properties, the same on every branch.

use std::collections::BTreeMap;

use forebay_core::Ident;

/// A namespace that was created, or that has properties. One with tables alone has no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRecord {
    pub name: Ident,
    pub properties: BTreeMap<String, String>,
}

/// A change of a namespace's properties.
#[derive(Debug, Clone, Default)]
pub struct PropertyChange {
    pub removals: Vec<String>,
    pub updates: BTreeMap<String, String>,
}

impl NamespaceRecord {
    /// Longest text of the properties of a namespace, as JSON.
    pub const PROPERTIES_BYTES_MAX: usize = 64 << 10;
    /// Namespaces that are recorded.
    pub const COUNT_MAX: usize = 10_000;
}
