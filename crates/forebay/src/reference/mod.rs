//! The reference in `docs/reference`, written from what the code declares: schemas, the command line, error codes, metrics.
//!
//! A test compares the files with these pages. Nothing here explains: each text stands where its key, option, code or
//! metric is declared.

mod codes;
mod command_line;
mod keys;
mod kinds;
mod metrics;
mod pipeline;
mod settings;

use clap::Command;
use forebay_core::{Error, Result};
use serde_json::Value;

/// The command that writes the pages.
pub(crate) const COMMAND: &str =
    "cargo run --profile quick --features kafka -- docs docs/reference";

/// One file of the reference.
pub(crate) struct Page {
    /// Name of the file: `sources.md`.
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

impl Page {
    fn new(name: &'static str, title: &str, body: &str) -> Self {
        let text = format!(
            "<!-- Generated: do not edit. `{COMMAND}` writes it again. -->\n\n# {title}\n\n{body}"
        );
        Self {
            name,
            text: text.trim_end().to_owned() + "\n",
        }
    }
}

/// All pages; `command` is the command line.
pub(crate) fn pages(command: Command) -> Result<Vec<Page>> {
    let mut pages = pipeline::pages()?;
    pages.push(settings::page()?);
    pages.push(command_line::page(command));
    pages.push(codes::page());
    pages.push(metrics::page());
    pages.push(index(&pages));
    Ok(pages)
}

fn index(pages: &[Page]) -> Page {
    let line = |page: &Page| {
        let title = page.text.lines().find_map(|line| line.strip_prefix("# "));
        format!("- [{}]({})\n", title.unwrap_or(page.name), page.name)
    };
    let list: String = pages.iter().map(line).collect();
    let body = format!(
        "Every key, option, variable, error code and metric, as the code declares them. The [guides](../guides) show how to use them.\n\n{list}"
    );
    Page::new("README.md", "Reference", &body)
}

/// A schema as plain JSON.
fn schema_json(schema: &schemars::Schema) -> Result<Value> {
    serde_json::to_value(schema).map_err(|error| {
        Error::bug(
            "reference_json",
            "failed to read a schema for the reference",
        )
        .with_source(error)
    })
}

/// A table of Markdown.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    let mut text = line(&header);
    text.push_str(&"|---".repeat(header.len()));
    text.push_str("|\n");
    for cells in rows {
        let cells: Vec<String> = cells.iter().map(|cell| in_cell(cell)).collect();
        text.push_str(&line(&cells));
    }
    text
}

/// A text on one line, without the character that ends a cell.
fn in_cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_without_bars() {
        let rows = [vec!["a|b".to_owned(), "c\n  d".to_owned()]];
        assert_eq!(
            table(&["x", "y"], rows),
            "| x | y |\n|---|---|\n| a\\|b | c d |\n"
        );
    }
}
