//! From text to documents, and from documents to typed values.

use forebay_core::Result;
use serde::de::DeserializeOwned;

use crate::document::Document;
use crate::{Diagnostics, toml, typed, yaml};

impl Document {
    /// The value as `T`. Errors point at the very value that does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        typed::read(self)
    }

    /// Reads a document from YAML text without any schema: for tests of components.
    ///
    /// # Panics
    /// Never; a text that is not YAML is an error.
    pub fn from_yaml(text: &str) -> Result<Document> {
        let (document, diagnostics) = yaml::read("text", text);
        document
            .filter(|_| diagnostics.is_empty())
            .ok_or_else(|| diagnostics.into())
    }

    /// Reads a document from TOML text; `path` is only for messages.
    ///
    /// Errors: every fault of the syntax.
    pub fn from_toml(path: &str, text: &str) -> Result<Document, Diagnostics> {
        toml::read(path, text)
    }
}
