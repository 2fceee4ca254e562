//! `oneOf` and `anyOf`: a component by its key, a name from a list, an optional value, or one of several types.

use serde_json::Value as Json;

use super::scalar::is_of;
use super::{At, Check, has_type, types};
use crate::document::{Key, Node, Value, join};
use crate::suggest;

/// The ways that a choice offers.
#[derive(Default)]
struct Ways<'a> {
    /// Mappings of exactly one known key: the key chooses.
    tags: Vec<(&'a str, &'a Json)>,
    /// Strings that choose.
    names: Vec<&'a str>,
    /// All else.
    others: Vec<&'a Json>,
    null: bool,
    /// The branches besides null; a single one means an optional value, not a choice.
    branches: Vec<&'a Json>,
}

impl<'a> Check<'a> {
    pub(super) fn choice(&mut self, schema: &'a Json, at: &At<'_>) {
        let mut ways = Ways::default();
        self.collect(schema, &mut ways);
        match &at.node.value {
            Value::Null if ways.null && self.is_written(at.node) => {}
            _ if ways.branches.len() == 1 => self.value(ways.branches[0], at),
            Value::Map(entries) if !ways.tags.is_empty() => self.tagged(&ways, entries, at),
            Value::String(text) if ways.names.contains(&text.as_str()) => {}
            _ if ways.tags.is_empty() && ways.names.is_empty() => self.other(&ways, at),
            _ if ways.others.iter().any(|other| self.accepts(other, at.node)) => {
                self.other(&ways, at);
            }
            _ => self.no_choice(&ways, at),
        }
    }

    fn collect(&self, schema: &'a Json, ways: &mut Ways<'a>) {
        let branches = ["oneOf", "anyOf"]
            .iter()
            .filter_map(|key| schema.get(key)?.as_array())
            .flatten();
        for branch in branches {
            let (followed, _) = self.follow(branch);
            if followed.get("oneOf").is_some() || followed.get("anyOf").is_some() {
                self.collect(followed, ways);
            } else if followed.get("type").and_then(Json::as_str) == Some("null") {
                ways.null = true;
                continue;
            } else if let Some(tag) = tag(followed) {
                ways.tags.push(tag);
            } else if let Some(names) = names(followed) {
                ways.names.extend(names);
                ways.null |= followed
                    .as_object()
                    .is_some_and(|keywords| has_type(keywords, "null"));
            } else {
                ways.others.push(branch);
            }
            ways.branches.push(branch);
        }
    }

    fn accepts(&self, schema: &'a Json, node: &Node) -> bool {
        let kinds = self
            .follow(schema)
            .0
            .as_object()
            .map(types)
            .unwrap_or_default();
        kinds.is_empty() || kinds.iter().any(|kind| is_of(node, kind))
    }

    /// A mapping whose key chooses. A second choice is one error, whatever is below it.
    fn tagged(&mut self, ways: &Ways<'a>, entries: &[(Key, std::sync::Arc<Node>)], at: &At<'_>) {
        let mut chosen: Option<&Key> = None;
        for (key, node) in entries {
            let known = ways.tags.iter().find(|(name, _)| *name == key.name);
            if let (Some(first), Some(_)) = (chosen, known) {
                self.two(first, key, at);
                continue;
            }
            let meant = known
                .copied()
                .or_else(|| self.unknown_choice(ways, key, at));
            if let Some((_, schema)) = meant {
                chosen = chosen.or(Some(key));
                let path = join(&at.path, &key.name);
                self.value(
                    schema,
                    &At {
                        node,
                        path,
                        key: key.span,
                    },
                );
            }
        }
        if entries.is_empty() {
            self.no_choice(ways, at);
        }
    }

    fn unknown_choice(
        &mut self,
        ways: &Ways<'a>,
        key: &Key,
        at: &At<'_>,
    ) -> Option<(&'a str, &'a Json)> {
        if OTHER_BUILDS.contains(&key.name.as_str()) {
            self.report(
                &join(&at.path, &key.name),
                key.span,
                "not_in_this_build",
                format!("this build of Forebay lacks `{}`", key.name),
                Some("build it with `cargo build --profile quick --features kafka`".to_owned()),
            );
            return None;
        }
        let names = ways.tags.iter().map(|(name, _)| *name);
        let meant = suggest::nearest(&key.name, names.clone());
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("choose {}", suggest::list(names)),
        };
        let message = format!("unknown choice `{}` for {}", key.name, at.subject());
        self.report(
            &join(&at.path, &key.name),
            key.span,
            "unknown_choice",
            message,
            Some(help),
        );
        ways.tags
            .iter()
            .find(|(name, _)| Some(*name) == meant)
            .copied()
    }

    fn two(&mut self, first: &Key, second: &Key, at: &At<'_>) {
        let message = format!(
            "{} takes one choice and has two, `{}` and `{}`",
            at.subject(),
            first.name,
            second.name
        );
        let help = "remove one, or mind the indentation".to_owned();
        self.report(&at.path, second.span, "two_choices", message, Some(help));
    }

    /// Nothing that can be chosen is there.
    fn no_choice(&mut self, ways: &Ways<'a>, at: &At<'_>) {
        let tags = ways.tags.iter().map(|(name, _)| *name);
        let text = at.node.as_str();
        if let Some(name) = text.and_then(|text| tags.clone().find(|tag| *tag == text)) {
            let message = format!(
                "{} must be a mapping: `{name}` takes a configuration",
                at.subject()
            );
            let help = Some(format!("write `{name}: …` in place of `{name}`"));
            return self.report(&at.path, at.node.span, "wrong_type", message, help);
        }
        let all: Vec<&str> = ways.names.iter().copied().chain(tags).collect();
        if text.is_some() {
            return self.not_listed(&all, at);
        }
        let empty = matches!(&at.node.value, Value::Null)
            || matches!(&at.node.value, Value::Map(entries) if entries.is_empty());
        let (code, span) = if empty {
            ("missing_value", at.key)
        } else {
            ("wrong_type", at.node.span)
        };
        let what = if empty {
            "is empty".to_owned()
        } else {
            format!("cannot be {}", at.node.value.kind())
        };
        let message = format!("{} {what}", at.subject());
        self.report(
            &at.path,
            span,
            code,
            message,
            Some(format!("choose {}", suggest::list(all))),
        );
    }

    /// One of several types: the one that fits the value, or the one with the fewest errors.
    fn other(&mut self, ways: &Ways<'a>, at: &At<'_>) {
        let fitting: Vec<&Json> = ways
            .others
            .iter()
            .copied()
            .filter(|other| self.accepts(other, at.node))
            .collect();
        let tried = if fitting.is_empty() {
            &ways.others
        } else {
            &fitting
        };
        let mut best: Option<Vec<super::Finding>> = None;
        for schema in tried {
            let before = std::mem::take(&mut self.found);
            self.value(schema, at);
            let found = std::mem::replace(&mut self.found, before);
            if best.as_ref().is_none_or(|best| found.len() < best.len()) {
                best = Some(found);
            }
        }
        self.found.extend(best.unwrap_or_default());
    }
}

/// Components that only a build with the feature `kafka` has.
#[cfg(not(feature = "kafka"))]
const OTHER_BUILDS: &[&str] = &["kafka", "avro", "protobuf"];
#[cfg(feature = "kafka")]
const OTHER_BUILDS: &[&str] = &[];

/// The key and the schema of a mapping that has exactly one, required key.
fn tag(schema: &Json) -> Option<(&str, &Json)> {
    let properties = schema.get("properties")?.as_object()?;
    let required = schema.get("required")?.as_array()?;
    let closed = schema.get("additionalProperties").and_then(Json::as_bool) == Some(false);
    let (name, inner) = properties.iter().next()?;
    let single = properties.len() == 1 && required.len() == 1 && required[0].as_str() == Some(name);
    (single && closed).then_some((name.as_str(), inner))
}

/// The strings of a `const` or an `enum`.
fn names(schema: &Json) -> Option<Vec<&str>> {
    if let Some(name) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![name]);
    }
    let listed = schema.get("enum")?.as_array()?;
    Some(listed.iter().filter_map(Json::as_str).collect())
}
