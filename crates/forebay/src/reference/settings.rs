//! The page about `forebay.toml` and the environment.

use std::collections::BTreeSet;

use forebay_core::Result;
use serde_json::Value;

use super::keys::rows;
use super::{Page, schema_json, table};
use crate::settings::{EXAMPLE, OTHER_VARIABLES, Settings};

pub(super) fn page() -> Result<Page> {
    let schema = schema_json(&schemars::schema_for!(Settings))?;
    let variables = Settings::variables()?;
    let mut body = format!(
        "`forebay.toml` in the folder of the project; every key has a default. A variable of the environment overrides the file, an option of the command line both.\n\n```toml\n{EXAMPLE}```\n"
    );
    let sections = schema.get("properties").and_then(Value::as_object);
    for (name, section) in sections.into_iter().flatten() {
        let about = section.get("description").and_then(Value::as_str);
        let about = about.unwrap_or_default();
        body.push_str(&format!("\n## [{name}]\n\n{about}\n\n"));
        body.push_str(&section_table(&schema, name, section, &variables));
    }
    body.push_str("\n## Other variables\n\n");
    let rows = OTHER_VARIABLES.iter();
    let rows = rows.map(|(name, meaning)| vec![format!("`{name}`"), (*meaning).to_owned()]);
    body.push_str(&table(&["variable", "meaning"], rows));
    Ok(Page::new("settings.md", "Settings and environment", &body))
}

fn section_table(
    schema: &Value,
    name: &str,
    section: &Value,
    variables: &BTreeSet<String>,
) -> String {
    let rows = rows(schema, section).into_iter().map(|row| {
        let variable = variable_of(name, &row.key);
        let variable = match variables.contains(&variable) {
            true => format!("`{variable}`"),
            false => String::new(),
        };
        let mut cells = row.cells();
        cells.insert(3, variable);
        cells
    });
    table(&["key", "type", "default", "variable", "meaning"], rows)
}

/// `FOREBAY__STORAGE__S3__REGION` for `s3.region` of `[storage]`.
fn variable_of(section: &str, key: &str) -> String {
    let path = format!("{section}.{key}").replace('.', "__");
    format!("FOREBAY__{}", path.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A variable that overrides no key of the table would be documented nowhere.
    #[test]
    fn every_variable_has_a_place() {
        let page = page().unwrap().text;
        for variable in Settings::variables().unwrap() {
            assert!(page.contains(&format!("`{variable}`")), "{variable}");
        }
    }
}
