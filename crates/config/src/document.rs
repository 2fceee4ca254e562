//! A configuration value that knows its location in the file.

use std::sync::Arc;

use forebay_core::Error;

use crate::diagnostic::At;
use crate::place::SourceText;
use crate::{Diagnostic, Place, Span};

/// One value of a YAML or TOML file with its place; cheap to clone.
#[derive(Debug, Clone)]
pub struct Document {
    pub(crate) source: Arc<SourceText>,
    pub(crate) node: Arc<Node>,
    /// `source.http.paginate`: for messages.
    pub(crate) path: String,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
    /// A string that may be read as a number or a boolean where one is expected: `100_000`, which YAML 1.2 takes for
    /// a string, and resolved references.
    pub(crate) loose: bool,
    /// The value came from a reference; only the text of the reference is ever shown.
    pub(crate) reference: Option<Reference>,
}

/// The kind of reference that a whole scalar was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    Env,
    Secret,
    /// A parameter, a default, or a reference with text around it.
    Text,
}

pub(crate) enum Value {
    Null,
    Bool(bool),
    /// Wide enough for every integer type that a configuration has.
    Integer(i128),
    Float(f64),
    String(String),
    List(Vec<Arc<Node>>),
    /// In file order; keys are unique.
    Map(Vec<(Key, Arc<Node>)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Span,
}

impl std::fmt::Debug for Value {
    /// Shape only: a string may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::String(_) => f.write_str("\"…\""),
            Self::List(nodes) => f.debug_list().entries(nodes).finish(),
            Self::Map(entries) => f
                .debug_map()
                .entries(entries.iter().map(|(k, v)| (&k.name, v)))
                .finish(),
        }
    }
}

impl Value {
    /// For messages: "a string".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    pub(crate) fn new(span: Span, value: Value) -> Self {
        Self {
            span,
            value,
            loose: false,
            reference: None,
        }
    }

    /// The number as written with `_` between digits, when this may be read as one.
    pub(crate) fn as_integer(&self) -> Option<i128> {
        match &self.value {
            Value::Integer(value) => Some(*value),
            Value::String(text) if self.loose => integer(text),
            _ => None,
        }
    }

    pub(crate) fn as_float(&self) -> Option<f64> {
        match &self.value {
            Value::Float(value) => Some(*value),
            Value::String(text) if self.loose && integer(text).is_none() => float(text),
            _ => self.as_integer().map(|value| value as f64),
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Value::Bool(value) => Some(*value),
            Value::String(text) if self.loose => text.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// `[+-]?[0-9][0-9_]*`.
fn integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let starts = digits.bytes().next().is_some_and(|b| b.is_ascii_digit());
    let fits = starts && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    fits.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// A float of the core schema: `1.5`, `-1e3`, `.5`, `.inf`, `.nan`.
pub(crate) fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    match digits {
        ".inf" | ".Inf" | ".INF" => {
            return Some(if text.starts_with('-') {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            });
        }
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let starts = digits
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_digit() || b == b'.');
    let fits = starts
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    fits.then(|| text.parse().ok()).flatten()
}

/// `parent.key`, or `key` at the top.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

impl Document {
    fn at(&self, node: &Arc<Node>, path: String) -> Self {
        Self {
            source: self.source.clone(),
            node: node.clone(),
            path,
        }
    }

    /// The value at `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<Document> {
        let Value::Map(entries) = &self.node.value else {
            return None;
        };
        let (_, node) = entries.iter().find(|(found, _)| found.name == key)?;
        Some(self.at(node, join(&self.path, key)))
    }

    /// The keys of a mapping in file order; empty for anything else.
    pub fn keys(&self) -> Vec<String> {
        let Value::Map(entries) = &self.node.value else {
            return Vec::new();
        };
        entries.iter().map(|(key, _)| key.name.clone()).collect()
    }

    /// The only key of a mapping and its value: how a component is chosen (`http: {…}`).
    pub fn single(&self) -> Option<(String, Document)> {
        let Value::Map(entries) = &self.node.value else {
            return None;
        };
        let [(key, node)] = entries.as_slice() else {
            return None;
        };
        Some((key.name.clone(), self.at(node, join(&self.path, &key.name))))
    }

    /// The elements of a list; empty for anything else.
    pub fn elements(&self) -> Vec<Document> {
        let Value::List(nodes) = &self.node.value else {
            return Vec::new();
        };
        nodes
            .iter()
            .enumerate()
            .map(|(i, node)| self.at(node, format!("{}[{i}]", self.path)))
            .collect()
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        self.node.as_str()
    }

    pub fn place(&self) -> Place {
        self.source.place(self.node.span)
    }

    /// `source.http.rate`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A `Config` error at this place, with the offending line.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Error {
        self.error_at(self.node.span, code, message.into())
    }

    /// An error of the SQL engine about the statement at this location; it includes the place within the statement.
    pub fn sql_error(&self, error: &Error) -> Error {
        let placed = self.error(error.code(), format!("SQL {}", error.message()));
        match error.hint() {
            Some(hint) => placed.with_hint(hint),
            None => placed,
        }
    }

    pub fn error_at(&self, span: Span, code: &'static str, message: String) -> Error {
        let diagnostic = self.diagnostic_at(span, code, message.clone(), None);
        Error::config(code, message).with_source(At(diagnostic))
    }

    pub fn diagnostic(
        &self,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        self.diagnostic_at(self.node.span, code, message, help)
    }

    pub fn diagnostic_at(
        &self,
        span: Span,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        Diagnostic {
            code,
            place: self.source.place(span),
            message,
            help,
            snippet: self.source.snippet(span),
        }
    }
}

impl Diagnostic {
    /// `error` as a diagnostic: at its own place if it has one, else at `document`.
    pub fn from_error(error: &Error, document: &Document) -> Self {
        Self::of(error)
            .map(|found| Self {
                help: error.hint().map(str::to_owned),
                ..found.clone()
            })
            .unwrap_or_else(|| {
                let shown = error.to_string();
                document.diagnostic(error.code(), shown, error.hint().map(str::to_owned))
            })
    }
}
