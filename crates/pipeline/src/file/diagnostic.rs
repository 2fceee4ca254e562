//! What is wrong with a file, where, and what was probably meant.

use std::fmt;

use crate::file::Place;

/// One error or warning in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: &'static str,
    pub place: Place,
    pub message: String,
    /// "did you mean `paginate`?"
    pub help: Option<String>,
    /// The offending line and a marker below it, ready to print.
    pub snippet: String,
}

/// Every error of a file, in file order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
