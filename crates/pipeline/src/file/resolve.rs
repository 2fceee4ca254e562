//! References in scalars: `${env:NAME}`, `${secret:NAME}`, `${param:name:-default}`, resolved after parsing.

/// Where references are looked up.
pub trait Variables: Send + Sync {
    fn env(&self, name: &str) -> Option<String>;
    fn secret(&self, name: &str) -> Option<String>;
    fn param(&self, name: &str) -> Option<String>;
}

/// Replaces references in a document.
#[derive(Debug)]
pub struct Resolver;
