//! Properties of a table that both branches changed.

use std::collections::{BTreeMap, BTreeSet};

use crate::Table;
use crate::commit::{COMMIT_PROPERTY, POSITION_PREFIX};
use crate::ownership::{LOADERS_PROPERTY, loader_names};
use crate::rewrite::REWRITTEN_PROPERTY;

/// Properties that each commit writes for itself: those of the merge count.
const OF_COMMITS: [&str; 2] = [COMMIT_PROPERTY, REWRITTEN_PROPERTY];

/// The properties that the target gets from the source.
///
/// Errors: the name of one that both set to something else.
pub(super) fn merged_properties(
    base: Option<&Table>,
    source: &Table,
    target: &Table,
) -> Result<BTreeMap<String, String>, String> {
    let base = base.map(Table::properties).unwrap_or_default();
    let (ours, theirs) = (source.properties(), target.properties());
    let mut merged = BTreeMap::new();
    let keys: BTreeSet<&String> = base.keys().chain(ours.keys()).collect();
    for key in keys.into_iter().filter(|key| !is_of_commit(key)) {
        let [was, is, there] = [base.get(key), ours.get(key), theirs.get(key)];
        if is == was || is == there {
            continue;
        }
        match is {
            Some(value) if there == was => drop(merged.insert(key.clone(), value.clone())),
            Some(value) if key == LOADERS_PROPERTY => {
                merged.insert(key.clone(), both_names(value, there));
            }
            _ => return Err(key.clone()),
        }
    }
    Ok(merged)
}

fn is_of_commit(key: &str) -> bool {
    OF_COMMITS.contains(&key) || key.starts_with(POSITION_PREFIX)
}

fn both_names(ours: &str, theirs: Option<&String>) -> String {
    let mut names = loader_names(Some(ours));
    names.extend(loader_names(theirs.map(String::as_str)));
    let names: Vec<String> = names.into_iter().collect();
    names.join(",")
}
