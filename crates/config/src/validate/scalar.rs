//! Types, listed values, patterns, units, bounds and secrets.

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::{At, Check, array, has_type, types};
use crate::document::{Node, Reference, Value};
use crate::suggest;

/// Definitions whose text is a number and a unit.
const UNITS: [(&str, &[&str]); 2] = [
    ("Span", &["us", "ms", "s", "m", "h", "d", "w", "y"]),
    ("Size", &["B", "KiB", "MiB", "GiB", "TiB", "kB", "MB", "GB"]),
];

pub(super) fn is_of(node: &Node, kind: &str) -> bool {
    match kind {
        "null" => matches!(node.value, Value::Null),
        "boolean" => node.as_bool().is_some(),
        "integer" => node.as_integer().is_some(),
        "number" => node.as_float().is_some(),
        "string" => node.as_str().is_some(),
        "array" => matches!(node.value, Value::List(_)),
        // A key without a value is an empty mapping.
        "object" => matches!(node.value, Value::Map(_) | Value::Null),
        _ => false,
    }
}

fn with_article(kind: &str) -> &str {
    match kind {
        "boolean" => "`true` or `false`",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "a list",
        "object" => "a mapping",
        other => other,
    }
}

impl<'a> Check<'a> {
    /// Whether the value is of a type that the schema allows; reports when not.
    pub(super) fn kind(
        &mut self,
        keywords: &Map<String, Json>,
        name: Option<&str>,
        at: &At<'_>,
    ) -> bool {
        let kinds = types(keywords);
        let fits =
            |kind: &&str| is_of(at.node, kind) && (*kind != "null" || self.is_written(at.node));
        if kinds.is_empty() || kinds.iter().any(fits) {
            return true;
        }
        if let Some((name, _)) = UNITS.iter().find(|(unit, _)| name == Some(unit)) {
            self.bad_unit(name, at);
            return false;
        }
        let expected: Vec<&str> = kinds
            .iter()
            .filter(|kind| **kind != "null")
            .map(|kind| with_article(kind))
            .collect();
        let expected = expected.join(" or ");
        if matches!(at.node.value, Value::Null) {
            let message = format!("{} has no value: it must be {expected}", at.subject());
            self.report(&at.path, at.key, "missing_value", message, None);
            return false;
        }
        let message = format!(
            "{} must be {expected}, not {}",
            at.subject(),
            at.node.value.kind()
        );
        let help = self.type_help(&kinds, at.node);
        self.report(&at.path, at.node.span, "wrong_type", message, help);
        false
    }

    /// A key with nothing after it was forgotten; `null` and `~` are meant.
    pub(super) fn is_written(&self, node: &Node) -> bool {
        !self.document.source.slice(node.span).trim().is_empty()
    }

    fn type_help(&self, kinds: &[&str], node: &Node) -> Option<String> {
        let scalar = matches!(
            node.value,
            Value::Bool(_) | Value::Integer(_) | Value::Float(_)
        );
        let written = self.written(node);
        match &node.value {
            _ if scalar && kinds.contains(&"string") => {
                Some(format!("write it in quotes: \"{written}\""))
            }
            Value::String(text)
                if !node.loose && kinds.contains(&"integer") && text.parse::<i64>().is_ok() =>
            {
                Some(format!("write it without quotes: {text}"))
            }
            _ if kinds.contains(&"array") && !kinds.contains(&"object") => {
                Some("write a list: `[…]`".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the value is one of `enum` or `const`, if the schema has them; reports when not.
    pub(super) fn listed(&mut self, keywords: &Map<String, Json>, at: &At<'_>) -> bool {
        let allowed: Vec<&Json> = array(keywords, "enum")
            .chain(keywords.get("const"))
            .collect();
        if allowed.is_empty() || allowed.iter().any(|allowed| equals(at.node, allowed)) {
            return true;
        }
        let names: Vec<&str> = allowed
            .iter()
            .filter_map(|allowed| allowed.as_str())
            .collect();
        self.not_listed(&names, at);
        false
    }

    pub(super) fn not_listed(&mut self, names: &[&str], at: &At<'_>) {
        let written = self.written(at.node);
        let typed = at
            .node
            .as_str()
            .filter(|_| at.node.reference.is_none())
            .unwrap_or(&written);
        let help = match suggest::nearest(typed, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("use {}", suggest::list(names.iter().copied())),
        };
        let message = format!("{} cannot be `{written}`", at.subject());
        self.report(&at.path, at.node.span, "bad_choice", message, Some(help));
    }

    pub(super) fn scalar(&mut self, keywords: &Map<String, Json>, name: Option<&str>, at: &At<'_>) {
        if let Some(text) = at.node.as_str().filter(|_| has_type(keywords, "string")) {
            self.text(keywords, name, text, at);
        } else if let Some(number) = at.node.as_float() {
            self.bounds(keywords, number, at);
        }
    }

    fn text(&mut self, keywords: &Map<String, Json>, name: Option<&str>, text: &str, at: &At<'_>) {
        let length = text.chars().count();
        self.count(
            keywords,
            ["minLength", "maxLength"],
            length,
            "character",
            at,
        );
        let Some(pattern) = keywords.get("pattern").and_then(Json::as_str) else {
            return;
        };
        if self.matches(pattern, text) {
            return;
        }
        if let Some((name, _)) = UNITS.iter().find(|(unit, _)| name == Some(unit)) {
            return self.bad_unit(name, at);
        }
        let words = pattern
            .trim_start_matches("^(")
            .split('|')
            .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase()));
        let meant = suggest::nearest(text, words).map(|word| format!("did you mean `{word}`?"));
        let described = keywords.get("description").and_then(Json::as_str);
        let help = meant
            .or_else(|| Some(format!("it must be {}", described?)))
            .unwrap_or_else(|| format!("it must match `{pattern}`"));
        let message = format!("{} cannot be `{}`", at.subject(), self.written(at.node));
        self.report(&at.path, at.node.span, "bad_format", message, Some(help));
    }

    /// An invalid regular expression matches everything: a test of the schema finds it.
    fn matches(&mut self, pattern: &str, text: &str) -> bool {
        let compiled = self
            .patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).ok());
        compiled
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(text))
    }

    fn bad_unit(&mut self, name: &str, at: &At<'_>) {
        let units = UNITS
            .iter()
            .find(|(unit, _)| *unit == name)
            .map_or(&[][..], |(_, units)| units);
        let what = if name == "Span" {
            "a length of time"
        } else {
            "a size"
        };
        let written = self.written(at.node);
        let plain = written.trim_matches(['"', '\'']);
        let help = match with_unit(plain, units) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!(
                "write a number and one of {}",
                suggest::list(units.iter().copied())
            ),
        };
        let message = format!(
            "{} must be {what} with its unit, not `{written}`",
            at.subject()
        );
        self.report(&at.path, at.node.span, "bad_unit", message, Some(help));
    }

    fn bounds(&mut self, keywords: &Map<String, Json>, number: f64, at: &At<'_>) {
        let bound = |key: &str| {
            keywords
                .get(key)
                .and_then(Json::as_f64)
                .map(|bound| (bound, &keywords[key]))
        };
        let broken = [
            bound("minimum")
                .filter(|(bound, _)| number < *bound)
                .map(|(_, shown)| format!("at least {shown}")),
            bound("maximum")
                .filter(|(bound, _)| number > *bound)
                .map(|(_, shown)| format!("at most {shown}")),
            bound("exclusiveMinimum")
                .filter(|(bound, _)| number <= *bound)
                .map(|(_, shown)| format!("more than {shown}")),
            bound("exclusiveMaximum")
                .filter(|(bound, _)| number >= *bound)
                .map(|(_, shown)| format!("less than {shown}")),
            narrow(keywords, number),
        ];
        if let Some(rule) = broken.into_iter().flatten().next() {
            let message = format!(
                "{} must be {rule}, not {}",
                at.subject(),
                self.written(at.node)
            );
            self.report(&at.path, at.node.span, "out_of_range", message, None);
        }
    }

    /// A secret is a reference in the file, or its resolved value.
    pub(super) fn secret(&mut self, keywords: &Map<String, Json>, at: &At<'_>) {
        let pattern = keywords
            .get("pattern")
            .and_then(Json::as_str)
            .unwrap_or_default();
        let referred = match (at.node.reference, at.node.as_str()) {
            (Some(Reference::Secret | Reference::Env), _) => true,
            (None, Some(text)) => text.starts_with("${") && self.matches(pattern, text),
            _ => false,
        };
        if !referred {
            let message = format!(
                "{} is a secret and must not be written inline",
                at.subject()
            );
            let help = "write `${secret:NAME}` or `${env:NAME}` and keep the text out of the file"
                .to_owned();
            self.hidden.push(at.node.span);
            self.report(&at.path, at.node.span, "secret_inline", message, Some(help));
        } else if at.node.as_str().is_some_and(|text| text.trim().is_empty()) {
            let message = format!(
                "{} is empty: its reference resolves to an empty value",
                at.subject()
            );
            self.report(&at.path, at.node.span, "empty_secret", message, None);
        }
    }
}

fn equals(node: &Node, allowed: &Json) -> bool {
    match allowed {
        Json::String(text) => node.as_str() == Some(text),
        Json::Bool(value) => node.as_bool() == Some(*value),
        Json::Number(number) => node.as_float() == number.as_f64(),
        Json::Null => matches!(node.value, Value::Null),
        _ => false,
    }
}

/// The bounds of a type that `schemars` names in `format` only.
fn narrow(keywords: &Map<String, Json>, number: f64) -> Option<String> {
    let max = match keywords.get("format")?.as_str()? {
        "int32" => f64::from(i32::MAX),
        "uint32" => f64::from(u32::MAX),
        "int64" => i64::MAX as f64,
        "uint64" | "uint" => u64::MAX as f64,
        _ => return None,
    };
    (number > max).then(|| format!("at most {max}"))
}

/// `10 sec` was meant to be `10s`, `64mb` to be `64MB`.
fn with_unit(text: &str, units: &[&str]) -> Option<String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let number = &text[..digits];
    let unit = text[digits..].trim();
    let same = units.iter().find(|known| known.eq_ignore_ascii_case(unit));
    let longer = || {
        let words = [
            ("us", "micros"),
            ("ms", "millis"),
            ("s", "sec"),
            ("m", "min"),
            ("h", "hour"),
            ("h", "hr"),
            ("d", "day"),
            ("w", "week"),
            ("y", "year"),
        ];
        let word = words
            .iter()
            .find(|(_, word)| unit.to_lowercase().starts_with(word))?;
        units.iter().find(|known| **known == word.0)
    };
    let unit = same.or_else(longer)?;
    (!number.is_empty()).then(|| format!("{number}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::with_unit;

    #[test]
    fn the_unit_that_was_meant_is_found() {
        let spans = ["us", "ms", "s", "m", "h", "d", "w", "y"];
        assert_eq!(with_unit("10 seconds", &spans).as_deref(), Some("10s"));
        assert_eq!(with_unit("5min", &spans).as_deref(), Some("5m"));
        assert_eq!(
            with_unit("64mb", &["B", "MiB", "MB"]).as_deref(),
            Some("64MB")
        );
        assert_eq!(with_unit("10 parsecs", &spans), None);
        assert_eq!(with_unit("seconds", &spans), None);
    }
}
