//! A document against a JSON Schema, all errors at once.
//!
//! This is the subset of JSON Schema that `schemars` generates for configurations, with readable errors: a choice lists
//! its alternatives, an unknown key names the nearest known one, an invalid unit lists the valid ones.

mod choice;
mod scalar;

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value as Json};

use crate::document::{Key, Node, Reference, Value, join};
use crate::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics, Document, Span, suggest};

/// Checks `document` against the subset of JSON Schema that `schemars` generates.
pub fn validate(document: &Document, schema: &schemars::Schema) -> Diagnostics {
    let found = findings(document, schema)
        .into_iter()
        .map(|finding| finding.diagnostic);
    Diagnostics(found.collect()).sorted()
}

/// An error with the path of the value it is about.
#[derive(Debug)]
pub struct Finding {
    pub path: String,
    pub diagnostic: Diagnostic,
}

pub fn findings(document: &Document, schema: &schemars::Schema) -> Vec<Finding> {
    let root = schema.as_value();
    let mut check = Check {
        document,
        root,
        found: Vec::new(),
        hidden: Vec::new(),
        patterns: HashMap::new(),
    };
    let at = At {
        node: &document.node,
        path: document.path.clone(),
        key: Span::default(),
    };
    check.value(root, &at);
    let Check {
        mut found, hidden, ..
    } = check;
    for finding in &mut found {
        finding.diagnostic.hide(&document.source, &hidden);
    }
    found
}

/// A value under examination.
struct At<'a> {
    node: &'a Node,
    path: String,
    /// The span of its key: missing keys are reported there.
    key: Span,
}

impl At<'_> {
    /// `source.http` in quotes, or the file.
    fn subject(&self) -> String {
        if self.path.is_empty() {
            "the file".to_owned()
        } else {
            format!("`{}`", self.path)
        }
    }
}

struct Check<'a> {
    document: &'a Document,
    root: &'a Json,
    found: Vec<Finding>,
    /// Secrets written in the file: no snippet shows them.
    hidden: Vec<Span>,
    patterns: HashMap<String, Option<Regex>>,
}

impl<'a> Check<'a> {
    fn report(
        &mut self,
        path: &str,
        span: Span,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) {
        if self.found.len() < DIAGNOSTICS_MAX {
            let diagnostic = self.document.diagnostic_at(span, code, message, help);
            self.found.push(Finding {
                path: path.to_owned(),
                diagnostic,
            });
        }
    }

    /// The value as the user wrote it: a reference stays a reference.
    fn written(&self, node: &Node) -> String {
        const SHOWN_MAX: usize = 60;
        let text = self
            .document
            .source
            .slice(node.span)
            .lines()
            .next()
            .unwrap_or_default()
            .trim();
        let cut: String = text.chars().take(SHOWN_MAX).collect();
        if cut.len() < text.len() {
            format!("{cut}…")
        } else {
            cut
        }
    }

    /// Follows `$ref`; gives the schema and the name of its definition.
    fn follow(&self, schema: &'a Json) -> (&'a Json, Option<&'a str>) {
        const REFERENCES_MAX: usize = 16;
        let mut schema = schema;
        let mut name = None;
        for _ in 0..REFERENCES_MAX {
            let target = schema
                .get("$ref")
                .and_then(Json::as_str)
                .and_then(|target| target.strip_prefix("#/$defs/"));
            let Some(found) = target.and_then(|target| self.root.get("$defs")?.get(target)) else {
                break;
            };
            (schema, name) = (found, target);
        }
        (schema, name)
    }

    fn value(&mut self, schema: &'a Json, at: &At<'_>) {
        let (schema, name) = self.follow(schema);
        let Some(keywords) = schema.as_object() else {
            return;
        };
        if keywords.contains_key("oneOf") || keywords.contains_key("anyOf") {
            return self.choice(schema, at);
        }
        for part in array(keywords, "allOf") {
            self.value(part, at);
        }
        if keywords.get("format").and_then(Json::as_str) == Some("secret") {
            return self.secret(keywords, at);
        }
        if at.node.reference == Some(Reference::Secret) {
            let message = format!("{} takes no secret: it may be shown", at.subject());
            return self.report(&at.path, at.node.span, "secret_misplaced", message, None);
        }
        if self.kind(keywords, name, at) && self.listed(keywords, at) {
            self.content(keywords, name, at);
        }
    }

    fn content(&mut self, keywords: &'a Map<String, Json>, name: Option<&str>, at: &At<'_>) {
        match &at.node.value {
            Value::Map(entries) => self.mapping(keywords, entries, at),
            Value::Null if has_type(keywords, "object") => self.mapping(keywords, &[], at),
            Value::List(nodes) => self.elements(keywords, nodes, at),
            _ => self.scalar(keywords, name, at),
        }
    }

    fn mapping(
        &mut self,
        keywords: &'a Map<String, Json>,
        entries: &[(Key, std::sync::Arc<Node>)],
        at: &At<'_>,
    ) {
        let properties = keywords.get("properties").and_then(Json::as_object);
        let others = keywords.get("additionalProperties");
        let closed = others.and_then(Json::as_bool) == Some(false);
        let given = |name: &str| entries.iter().any(|(key, _)| key.name == name);
        let mut meant = Vec::new();
        for (key, node) in entries {
            let inner = At {
                node,
                path: join(&at.path, &key.name),
                key: key.span,
            };
            if let Some(schema) = properties.and_then(|properties| properties.get(&key.name)) {
                self.value(schema, &inner);
            } else if closed {
                let free = properties
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.as_str())
                    .filter(|name| !given(name));
                let suggestion = suggest::nearest(&key.name, free);
                self.unknown_key(key, suggestion, properties, at);
                // Values below a misspelled key have errors of their own, reported in the same pass.
                if let Some(schema) = suggestion.and_then(|name| properties?.get(name)) {
                    self.value(schema, &inner);
                }
                meant.extend(suggestion);
            } else if let Some(schema) = others {
                self.value(schema, &inner);
            }
        }
        for name in array(keywords, "required").filter_map(Json::as_str) {
            if !given(name) && !meant.contains(&name) {
                self.missing_key(name, properties, at);
            }
        }
        self.count(
            keywords,
            ["minProperties", "maxProperties"],
            entries.len(),
            "key",
            at,
        );
    }

    fn unknown_key(
        &mut self,
        key: &Key,
        meant: Option<&str>,
        properties: Option<&Map<String, Json>>,
        at: &At<'_>,
    ) {
        let names = properties
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str());
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("{} takes {}", at.subject(), suggest::list(names)),
        };
        let message = format!("unknown key `{}` in {}", key.name, at.subject());
        self.report(
            &join(&at.path, &key.name),
            key.span,
            "unknown_key",
            message,
            Some(help),
        );
    }

    fn missing_key(&mut self, name: &str, properties: Option<&'a Map<String, Json>>, at: &At<'_>) {
        let schema = properties.and_then(|properties| properties.get(name));
        let described = schema
            .and_then(|schema| self.described(schema))
            .map(|text| format!("`{name}`: {text}"));
        let message = format!("missing key `{name}` in {}", at.subject());
        self.report(&at.path, at.key, "missing_key", message, described);
    }

    /// First sentence of a schema's description.
    fn described(&self, schema: &'a Json) -> Option<String> {
        let own = schema
            .get("description")
            .or_else(|| self.follow(schema).0.get("description"));
        let text = own.and_then(Json::as_str)?;
        Some(
            text.split("\n\n")
                .next()
                .unwrap_or_default()
                .replace('\n', " "),
        )
    }

    fn elements(
        &mut self,
        keywords: &'a Map<String, Json>,
        nodes: &[std::sync::Arc<Node>],
        at: &At<'_>,
    ) {
        let tuple: Vec<&Json> = array(keywords, "prefixItems").collect();
        for (i, node) in nodes.iter().enumerate() {
            let inner = At {
                node,
                path: format!("{}[{i}]", at.path),
                key: node.span,
            };
            if let Some(schema) = tuple.get(i).copied().or_else(|| keywords.get("items")) {
                self.value(schema, &inner);
            }
        }
        self.count(
            keywords,
            ["minItems", "maxItems"],
            nodes.len(),
            "element",
            at,
        );
    }

    fn count(
        &mut self,
        keywords: &Map<String, Json>,
        [min, max]: [&str; 2],
        count: usize,
        what: &str,
        at: &At<'_>,
    ) {
        let bound = |key: &str| keywords.get(key).and_then(Json::as_u64);
        let count = count as u64;
        if let Some(min) = bound(min).filter(|min| count < *min) {
            let message = format!(
                "{} has {count} {what}s and needs at least {min}",
                at.subject()
            );
            self.report(&at.path, at.key, "too_few", message, None);
        }
        if let Some(max) = bound(max).filter(|max| count > *max) {
            let message = format!(
                "{} has {count} {what}s and takes at most {max}",
                at.subject()
            );
            self.report(&at.path, at.key, "too_many", message, None);
        }
    }
}

/// The elements of a keyword that is a list.
fn array<'a>(keywords: &'a Map<String, Json>, name: &str) -> impl Iterator<Item = &'a Json> {
    keywords
        .get(name)
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
}

/// The names in `type`, which is one name or a list.
fn types(keywords: &Map<String, Json>) -> Vec<&str> {
    match keywords.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn has_type(keywords: &Map<String, Json>, name: &str) -> bool {
    types(keywords).contains(&name)
}

#[cfg(test)]
mod tests;
