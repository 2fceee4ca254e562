//! YAML to a document.
