//! The keys that a JSON Schema allows, as rows of a table: nested keys are joined with dots.

use serde_json::Value;

use super::kinds::{bounds, is_null, kind, resolve, variants};

/// Levels that are followed; a schema that refers to itself ends there.
const DEPTH_MAX: usize = 8;

/// One key of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRow {
    /// From the section on: `auth.bearer.token`, `errors[].field`.
    pub(super) key: String,
    pub(super) kind: String,
    /// `required`, a value, or nothing for an optional key without one.
    pub(super) default: String,
    pub(super) meaning: String,
}

impl KeyRow {
    pub(super) fn cells(&self) -> Vec<String> {
        let key = format!("`{}`", self.key);
        vec![
            key,
            self.kind.clone(),
            self.default.clone(),
            self.meaning.clone(),
        ]
    }
}

/// The keys below `schema`, whose references lead into `root`.
pub(super) fn rows(root: &Value, schema: &Value) -> Vec<KeyRow> {
    let mut rows = Vec::new();
    walk(root, "", schema, 0, &mut rows);
    rows
}

/// The branch of a choice: a mapping of one key, which the branch describes.
fn branch_row(root: &Value, key: &str, branch: &Value, property: &Value) -> KeyRow {
    let found = row(root, key.to_owned(), property, false);
    let description = branch.get("description").and_then(Value::as_str);
    KeyRow {
        meaning: description.map_or(found.meaning, str::to_owned),
        ..found
    }
}

/// The row of a property.
pub(super) fn row(root: &Value, key: String, property: &Value, is_required: bool) -> KeyRow {
    KeyRow {
        key,
        kind: kind(root, property),
        default: default(root, property, is_required),
        meaning: meaning(root, property),
    }
}

fn walk(root: &Value, prefix: &str, schema: &Value, depth: usize, rows: &mut Vec<KeyRow>) {
    if depth > DEPTH_MAX {
        return;
    }
    let schema = resolve(root, schema);
    walk_properties(root, prefix, schema, depth, rows);
    for branch in alternatives(schema, "oneOf") {
        walk_branch(root, prefix, branch, depth + 1, rows);
    }
    let any = alternatives(schema, "anyOf");
    // What may be one or a list of these has the keys of the one.
    let is_list_too = any.len() > 1;
    for branch in any {
        if !(is_list_too && branch.get("items").is_some()) {
            walk(root, prefix, branch, depth + 1, rows);
        }
    }
    if let Some(items) = schema.get("items") {
        walk(root, &format!("{prefix}[]"), items, depth + 1, rows);
    }
    if let Some(values @ Value::Object(_)) = schema.get("additionalProperties") {
        walk(root, &join(prefix, "NAME"), values, depth + 1, rows);
    }
}

fn alternatives<'a>(schema: &'a Value, keyword: &str) -> Vec<&'a Value> {
    let all = schema.get(keyword).and_then(Value::as_array);
    all.into_iter().flatten().collect()
}

fn walk_properties(
    root: &Value,
    prefix: &str,
    schema: &Value,
    depth: usize,
    rows: &mut Vec<KeyRow>,
) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    for (name, property) in properties.into_iter().flatten() {
        let key = join(prefix, name);
        let is_required = required.is_some_and(|names| names.iter().any(|one| one == name));
        rows.push(row(root, key.clone(), property, is_required));
        walk(root, &key, property, depth + 1, rows);
    }
}

fn walk_branch(root: &Value, prefix: &str, branch: &Value, depth: usize, rows: &mut Vec<KeyRow>) {
    let properties = branch.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let key = join(prefix, name);
        rows.push(branch_row(root, &key, branch, property));
        walk(root, &key, property, depth + 1, rows);
    }
}

fn join(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}.{name}"),
    }
}

fn default(root: &Value, property: &Value, is_required: bool) -> String {
    if is_required {
        return "required".to_owned();
    }
    let own = property.get("default");
    match own.or_else(|| resolve(root, property).get("default")) {
        None | Some(Value::Null | Value::Object(_)) => String::new(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    }
}

fn meaning(root: &Value, property: &Value) -> String {
    let own = property.get("description");
    let description = own.or_else(|| {
        let referred = resolve(root, property);
        referred.get("description")
    });
    let mut text = description
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let resolved = resolve(root, property);
    for part in [variants(root, resolved), bounds(root, property)] {
        if !part.is_empty() {
            text.push(' ');
            text.push_str(&part);
        }
    }
    text
}

/// Whether a schema allows a mapping of keys, which have rows of their own.
pub(super) fn has_keys(root: &Value, schema: &Value) -> bool {
    let schema = resolve(root, schema);
    !is_null(schema) && schema.get("properties").is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_keys_choices_and_lists_have_rows() {
        let root = json!({"$defs": {"Span": {"type": "string", "description": "A time."}}});
        let schema = json!({"properties": {
            "lag": {"$ref": "#/$defs/Span", "default": "5m"},
            "auth": {"oneOf": [
                {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"], "description": "A token."},
                {"type": "object", "properties": {"none": {"type": ["integer", "null"], "minimum": 1, "maximum": 9}}, "required": ["none"]},
            ]},
            "keys": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}}},
        }, "required": ["auth"]});
        let shown: Vec<String> = rows(&root, &schema)
            .iter()
            .map(|row| row.cells().join("|"))
            .collect();
        assert_eq!(
            shown,
            [
                "`lag`|duration|`5m`|A time.",
                "`auth`|one of `token`, `none`|required|",
                "`auth.token`|text||A token.",
                "`auth.none`|integer|| Bounds: 1 to 9.",
                "`keys`|list of mappings||",
                "`keys[].name`|text|| Bounds: not empty.",
            ]
        );
    }
}
