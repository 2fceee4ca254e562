//! Which tables are not for everybody to change: those of Forebay itself, and those that pipelines load.

use std::collections::BTreeSet;

/// Namespaces whose tables belong to a pipeline as a whole.
const PIPELINE_NAMESPACES: [&str; 3] = ["raw", "quarantine", "audit"];
/// Namespaces of SQL without tables of their own.
const RESERVED_NAMESPACES: [&str; 2] = ["lake", "information_schema"];

/// Property of a data table: the main table that it is or belongs to. Pipelines with that table as their target may write
/// to it.
pub const OWNER_PROPERTY: &str = "forebay.owner";

/// Property of a data table: the pipelines that have loaded it, with commas.
pub const LOADERS_PROPERTY: &str = "forebay.loaders";

/// The pipelines that the value of [`LOADERS_PROPERTY`] names; none in tables of earlier versions.
pub fn loader_names(recorded: Option<&str>) -> BTreeSet<String> {
    let names = recorded.unwrap_or_default().split(',');
    let names = names.filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Property of a table whose rows were replaced by their key: the columns of the key, as JSON.
pub(crate) const UPSERT_KEY_PROPERTY: &str = "forebay.upsert-key";

/// Whether the tables of this namespace belong to a pipeline as a whole, so that they change with its position.
pub fn is_pipeline_namespace(name: &str) -> bool {
    PIPELINE_NAMESPACES.contains(&name)
}

/// Whether only Forebay itself writes tables of this namespace.
pub fn is_system_namespace(name: &str) -> bool {
    is_pipeline_namespace(name) || RESERVED_NAMESPACES.contains(&name)
}
