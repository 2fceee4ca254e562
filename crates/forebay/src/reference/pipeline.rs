//! Pages about pipeline files: the file itself, and the components of each stage.

use forebay_core::Result;
use forebay_pipeline::spec::components::{Stage, components};
use forebay_pipeline::spec::{PIPELINE_EXAMPLE, pipeline_schema};
use serde_json::Value;

use super::keys::{KeyRow, has_keys, row, rows};
use super::kinds::kind;
use super::{Page, schema_json, table};

const HEADER: &[&str] = &["key", "type", "default", "meaning"];

/// The types in the tables, for the readers of every page.
const TYPES: &str = "\
## Types

- *duration*: a number with `us`, `ms`, `s`, `m`, `h`, `d`, `w` or `y`, such as `15m`; a day has 24 hours, a year 365 days
- *size*: a number with `B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB` or `GB`, such as `64MiB`
- *secret*: a reference, `${secret:NAME}` or `${env:NAME}`, never the text itself
- *column type*: COLUMN_TYPES
- `key[].inner` is a key of each element of a list, `key.NAME.inner` one of each mapping below any name
";

pub(super) fn pages() -> Result<Vec<Page>> {
    let schema = schema_json(&pipeline_schema())?;
    let mut pages = vec![file_page(&schema)];
    for stage in Stage::ALL {
        pages.push(stage_page(&schema, stage));
    }
    Ok(pages)
}

fn page_of(stage: Stage) -> (&'static str, &'static str) {
    match stage {
        Stage::Source => ("sources.md", "Sources"),
        Stage::Extract => ("extractors.md", "Extractors"),
        Stage::Transform => ("transforms.md", "Transforms"),
        Stage::Load => ("targets.md", "Targets"),
    }
}

fn file_page(schema: &Value) -> Page {
    let mut body = format!(
        "One YAML file in `pipelines/` is one pipeline.\n\n```yaml\n{PIPELINE_EXAMPLE}```\n\n"
    );
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    let mut all = Vec::new();
    for (name, property) in properties.into_iter().flatten() {
        let is_required = required.is_some_and(|names| names.iter().any(|one| one == name));
        let found = row(schema, name.clone(), property, is_required);
        let stage = Stage::ALL.into_iter().find(|stage| stage.key() == name);
        match stage {
            Some(stage) => all.push(stage_row(found, stage)),
            None => {
                all.push(found);
                all.extend(below(schema, name, property));
            }
        }
    }
    body.push_str(&key_table(&all));
    let types = schema.pointer("/$defs/ColumnType/description");
    let types = types.and_then(Value::as_str).unwrap_or_default();
    body.push_str(&format!("\n{}", TYPES.replace("COLUMN_TYPES", types)));
    Page::new("pipeline.md", "Pipeline files", &body)
}

/// The keys of a section, with its name before them.
fn below(schema: &Value, name: &str, property: &Value) -> Vec<KeyRow> {
    if !has_keys(schema, property) {
        return Vec::new();
    }
    let inner = rows(schema, property).into_iter().map(|row| KeyRow {
        key: format!("{name}.{}", row.key),
        ..row
    });
    inner.collect()
}

/// A stage has a page of its own.
fn stage_row(row: KeyRow, stage: Stage) -> KeyRow {
    let (page, title) = page_of(stage);
    let names: Vec<String> = components(stage)
        .iter()
        .map(|kind| format!("`{}`", kind.name()))
        .collect();
    let kind = match stage {
        Stage::Transform => "list of steps",
        Stage::Source | Stage::Extract | Stage::Load => "mapping of one key",
    };
    KeyRow {
        kind: kind.to_owned(),
        meaning: format!("{} [{title}]({page}): {}.", row.meaning, names.join(", ")),
        ..row
    }
}

fn stage_page(schema: &Value, stage: Stage) -> Page {
    let (name, title) = page_of(stage);
    let mut body = format!(
        "The key `{}` of a [pipeline file](pipeline.md), which explains the [types](pipeline.md#types).\n",
        stage.key()
    );
    for component in components(stage) {
        let config = config_of(schema, stage, component.name());
        let keys = config
            .map(|config| rows(schema, config))
            .unwrap_or_default();
        let keys = match config {
            Some(config) if keys.is_empty() => without_keys(schema, config),
            _ => key_table(&keys),
        };
        body.push_str(&format!(
            "\n## {}\n\n{}.\n\n```yaml\n{}```\n\n{keys}",
            component.name(),
            capitalized(component.summary()),
            component.example()
        ));
    }
    Page::new(name, title, &body)
}

fn without_keys(schema: &Value, config: &Value) -> String {
    match kind(schema, config).as_str() {
        "mapping" => "It has no keys.\n".to_owned(),
        kind => format!("Its value: {kind}.\n"),
    }
}

/// The schema of a component's configuration.
fn config_of<'a>(schema: &'a Value, stage: Stage, name: &str) -> Option<&'a Value> {
    let stage = schema.get("properties")?.get(stage.key())?;
    let choice = stage.get("items").unwrap_or(stage);
    let branches = choice.get("oneOf")?.as_array()?;
    let found = |branch: &'a Value| branch.get("properties")?.get(name);
    branches.iter().find_map(found)
}

fn key_table(keys: &[KeyRow]) -> String {
    table(HEADER, keys.iter().map(KeyRow::cells))
}

fn capitalized(text: &str) -> String {
    let mut characters = text.trim_end_matches('.').chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}
