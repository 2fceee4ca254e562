//! A configuration value that knows where it stands.

use std::sync::Arc;

use forebay_core::{Error, Result};
use serde::de::DeserializeOwned;

/// The text of a file, for snippets.
#[derive(Debug)]
pub struct SourceText {
    /// As the user wrote it on the command line, or found below the project.
    pub path: String,
    pub text: String,
}

/// Byte range in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// `file:line:column`, 1-based.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

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
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    List(Vec<Arc<Node>>),
    /// In file order; keys are unique.
    Map(Vec<(Key, Arc<Node>)>),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Span,
}

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
impl Document {
    /// The value at `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<Document> {
        unimplemented!()
    }

    /// The only key of a mapping and its value: how a component is chosen (`http: {…}`).
    pub fn single(&self) -> Option<(String, Document)> {
        unimplemented!()
    }

    pub fn elements(&self) -> Vec<Document> {
        unimplemented!()
    }

    pub fn place(&self) -> Place {
        unimplemented!()
    }

    /// `source.http.rate`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value as `T`. Errors point at the very value that does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        unimplemented!()
    }

    /// A `Config` error at this place, with the offending line.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Error {
        unimplemented!()
    }

    /// Reads a document from YAML text without any schema: for tests of components.
    ///
    /// # Panics
    /// Never; a text that is not YAML is an error.
    pub fn from_yaml(text: &str) -> Result<Document> {
        unimplemented!()
    }
}
