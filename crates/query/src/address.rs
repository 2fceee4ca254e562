//! The names under which the engine knows the lake. Nobody writes them in a statement.

/// The one catalog; users never write it.
pub(crate) const CATALOG: &str = "forebay";
/// Where a table name without a namespace is looked for; it is always empty.
pub(crate) const NO_NAMESPACE: &str = "no_namespace";
/// Address under which the lake's store is registered.
pub(crate) const LAKE_URL: &str = "forebay://lake";
