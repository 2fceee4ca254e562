//! Cycles of pipelines that read each other's tables: each would wait for the first run of another, or run for ever.

use std::collections::HashSet;

use forebay_core::{Error, Ident, TableName};

use super::PipelineSpec;

/// A pipeline and the table by which the next one of the cycle reads it.
type Link<'s> = (&'s PipelineSpec, &'s TableName);

/// The cycle that a pipeline closes among others; `None` without one.
///
/// Errors: `Config` `pipeline_cycle` is what it is reported as.
pub fn find_cycle<'s>(spec: &'s PipelineSpec, all: &[&'s PipelineSpec]) -> Option<Error> {
    let mut search = Search {
        all,
        goal: &spec.name,
        path: Vec::new(),
        visited: HashSet::new(),
    };
    search.arrives(spec).then(|| cycle_error(&search.path))
}

struct Search<'s, 'a> {
    all: &'a [&'s PipelineSpec],
    goal: &'s Ident,
    path: Vec<Link<'s>>,
    visited: HashSet<&'s Ident>,
}

impl<'s> Search<'s, '_> {
    /// Follows the tables that a pipeline reads to the pipelines that load them.
    fn arrives(&mut self, spec: &'s PipelineSpec) -> bool {
        for table in read_tables(spec) {
            let loaders = self.all.iter().filter(|other| is_loaded_by(table, other));
            for loader in loaders.copied().collect::<Vec<_>>() {
                self.path.push((loader, table));
                if loader.name == *self.goal {
                    return true;
                }
                if self.visited.insert(&loader.name) && self.arrives(loader) {
                    return true;
                }
                self.path.pop();
            }
        }
        false
    }
}

/// The tables whose rows a pipeline reads; of a view, the table that it shows.
fn read_tables(spec: &PipelineSpec) -> impl Iterator<Item = &TableName> {
    let named = spec.source.tables().into_iter();
    named.flat_map(|named| {
        let of = |name| named.views.get(name).unwrap_or(name);
        named.all.iter().map(of)
    })
}

/// Whether it is the table of a pipeline, or one of its child tables.
fn is_loaded_by(table: &TableName, spec: &PipelineSpec) -> bool {
    let Some(target) = spec.load.lake() else {
        return false;
    };
    let main = &target.table;
    let rest = table.name.as_str().strip_prefix(main.name.as_str());
    let is_own = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("__"));
    table.namespace == main.namespace && is_own
}

fn cycle_error(path: &[Link<'_>]) -> Error {
    // The path leads from a reader to its loader, and ends where it began.
    let mut steps = Vec::new();
    let mut reader = path.last().map(|(spec, _)| *spec);
    for (loader, table) in path {
        if let Some(reader) = reader {
            steps.push(format!("{} reads {table}", reader.name));
        }
        reader = Some(*loader);
    }
    let what = format!(
        "the tables that pipelines read form a cycle: {}",
        steps.join(", ")
    );
    Error::config("pipeline_cycle", what)
        .with_hint("let one of them read a table that none of the others makes")
}
