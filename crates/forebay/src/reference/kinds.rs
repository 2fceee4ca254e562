//! Types and bounds of a JSON Schema in words.

use serde_json::Value;

/// Definitions that are types of their own to a user.
const NAMED: &[(&str, &str)] = &[
    ("Span", "duration"),
    ("Size", "size"),
    ("Secret", "secret"),
    ("ColumnType", "column type"),
];

/// Follows references, and takes the one schema beside null of an optional value.
pub(super) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(target) = target(schema) {
        let found = root.pointer(target.trim_start_matches('#'));
        return found.map_or(schema, |found| resolve(root, found));
    }
    match branches(schema, "anyOf").as_slice() {
        [only] => resolve(root, only),
        _ => schema,
    }
}

fn target(schema: &Value) -> Option<&str> {
    schema.get("$ref").and_then(Value::as_str)
}

/// The alternatives, without null.
fn branches<'a>(schema: &'a Value, keyword: &str) -> Vec<&'a Value> {
    let all = schema.get(keyword).and_then(Value::as_array);
    let all = all.into_iter().flatten();
    all.filter(|branch| !is_null(branch)).collect()
}

pub(super) fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// The type of a value: `duration`, `list of texts`, `one of …`.
pub(super) fn kind(root: &Value, schema: &Value) -> String {
    if let Some(name) = named(schema) {
        return name.to_owned();
    }
    if target(schema).is_some() {
        let resolved = resolve(root, schema);
        return kind(root, resolved);
    }
    if let Some(values) = values(schema) {
        return values;
    }
    let any = branches(schema, "anyOf");
    if !any.is_empty() {
        return any_kind(root, &any);
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        return format!("one of {}", choices.join(", "));
    }
    plain_kind(root, schema)
}

/// One of several types; a list of the others is named as such.
fn any_kind(root: &Value, any: &[&Value]) -> String {
    let is_list = |one: &&&Value| one.get("items").is_some();
    let single = any.iter().filter(|one| !is_list(one));
    let mut kinds: Vec<String> = single.map(|one| kind(root, one)).collect();
    kinds.dedup();
    match (kinds.is_empty(), any.iter().find(is_list)) {
        (true, Some(list)) => kind(root, list),
        (false, Some(_)) => format!("{}, or a list of these", kinds.join(" or ")),
        (_, None) => kinds.join(" or "),
    }
}

fn named(schema: &Value) -> Option<&'static str> {
    let name = target(schema)?.rsplit('/').next()?;
    let found = NAMED.iter().find(|(definition, _)| *definition == name);
    found.map(|(_, word)| *word)
}

/// The values of an enumeration.
fn values(schema: &Value) -> Option<String> {
    let shown = |value: &Value| match value {
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    };
    if let Some(value) = schema.get("const") {
        return Some(shown(value));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values = values.iter().filter(|value| !value.is_null());
        return Some(values.map(shown).collect::<Vec<_>>().join(", "));
    }
    let one_of = branches(schema, "oneOf");
    let values: Option<Vec<String>> = one_of.iter().map(|one| values_of_branch(one)).collect();
    values
        .filter(|values| !values.is_empty())
        .map(|values| values.join(", "))
}

fn values_of_branch(schema: &Value) -> Option<String> {
    match schema.get("properties") {
        Some(_) => None,
        None => values(schema),
    }
}

/// The keys of which a mapping has one.
fn choices(schema: &Value) -> Vec<String> {
    let keys = branches(schema, "oneOf").into_iter().filter_map(|branch| {
        let properties = branch.get("properties")?.as_object()?;
        properties.keys().next()
    });
    keys.map(|key| format!("`{key}`")).collect()
}

fn plain_kind(root: &Value, schema: &Value) -> String {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let has_numbers = types.contains(&"number");
    let is_shown = |name: &&str| *name != "null" && !(has_numbers && *name == "integer");
    let types = types.into_iter().filter(is_shown);
    let words: Vec<String> = types
        .map(|name| match name {
            "string" => "text".to_owned(),
            "array" => list_kind(root, schema),
            "object" => mapping_kind(root, schema),
            other => other.to_owned(),
        })
        .collect();
    match words.is_empty() {
        true => "any".to_owned(),
        false => words.join(" or "),
    }
}

fn list_kind(root: &Value, schema: &Value) -> String {
    let of = schema.get("items").map(|items| kind(root, items));
    match of.as_deref() {
        None => "list".to_owned(),
        Some(plain @ ("text" | "mapping" | "integer" | "number")) => format!("list of {plain}s"),
        Some(other) => format!("list of {other}"),
    }
}

fn mapping_kind(root: &Value, schema: &Value) -> String {
    match schema.get("additionalProperties") {
        Some(values @ Value::Object(_)) => format!("mapping of names to {}", kind(root, values)),
        _ => "mapping".to_owned(),
    }
}

/// What each value of an enumeration means.
pub(super) fn variants(root: &Value, schema: &Value) -> String {
    let described = |branch: &&Value| {
        let branch = resolve(root, branch);
        let value = values_of_branch(branch)?;
        let text = branch.get("description").and_then(Value::as_str)?;
        Some(format!("{value}: {}", text.trim_end_matches('.')))
    };
    let all = branches(schema, "oneOf");
    let all: Vec<String> = all.iter().filter_map(described).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!("{}.", all.join("; ")),
    }
}

/// The bounds of a value.
pub(super) fn bounds(root: &Value, property: &Value) -> String {
    let resolved = resolve(root, property);
    let number = |keyword: &str| {
        let found = property.get(keyword).or_else(|| resolved.get(keyword));
        found.filter(|bound| bound.as_f64() != Some(0.0) || keyword.starts_with("max"))
    };
    let mut found = Vec::new();
    for (least, most, what) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " elements"),
        ("minProperties", "maxProperties", " keys"),
    ] {
        match (number(least), number(most)) {
            (Some(least), None) if least == 1 && !what.is_empty() => {
                found.push("not empty".to_owned());
            }
            (Some(least), Some(most)) => found.push(format!("{least} to {most}{what}")),
            (Some(least), None) => found.push(format!("at least {least}{what}")),
            // The largest number of a type bounds nothing.
            (None, Some(most)) if !is_of_type(most) => found.push(format!("at most {most}{what}")),
            _ => {}
        }
    }
    match found.is_empty() {
        true => String::new(),
        false => format!("Bounds: {}.", found.join(", ")),
    }
}

fn is_of_type(most: &Value) -> bool {
    let types = [
        u64::from(u8::MAX),
        u64::from(u16::MAX),
        u64::from(u32::MAX),
        u64::MAX,
    ];
    most.as_u64().is_some_and(|most| types.contains(&most))
}
