//! Lineage of a table in its properties: the tables that its rows were made of. The pipeline that loads it writes them; nothing here reads rows.

use forebay_core::{Ident, NamedTables};

use crate::Table;

/// The name of the pipeline follows; the value is the names of the tables, with commas.
const READS_PREFIX: &str = "forebay.reads.";

/// The property of a table that a pipeline loads from others, and its value.
pub fn reads_property(pipeline: &Ident, tables: &NamedTables) -> (String, String) {
    // A view shows rows of its table.
    let read = tables.all.iter();
    let read = read.map(|name| tables.views.get(name).unwrap_or(name).to_string());
    let names: Vec<String> = read.collect();
    (format!("{READS_PREFIX}{pipeline}"), names.join(","))
}

/// One table that another is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineageEdge {
    pub pipeline: String,
    pub reads: String,
}

impl Table {
    /// What its rows are made of, by pipeline and name.
    pub fn lineage(&self) -> Vec<LineageEdge> {
        let mut edges = Vec::new();
        for (key, value) in self.properties() {
            let Some(pipeline) = key.strip_prefix(READS_PREFIX) else {
                continue;
            };
            edges.extend(value.split(',').map(|reads| LineageEdge {
                pipeline: pipeline.to_owned(),
                reads: reads.to_owned(),
            }));
        }
        edges
    }
}
