//! Errors in a file, with their place and a suggestion.
//!
//! Rendering is plain text in the manner of rustc. A diagnostic quotes the file as it was written, so it never shows
//! the value of a `${secret:…}` or `${env:…}`.

use std::fmt;

use forebay_core::text::MESSAGE_BYTES_MAX;
use forebay_core::{Error, ErrorKind, shortened};

use crate::place::SourceText;
use crate::{Place, Span};

/// Diagnostics of one file that are kept; later ones are only counted.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Bytes after which a list of diagnostics shows no further one.
const SHOWN_BYTES_MAX: usize = 64 << 10;

/// One error in a file.
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

impl Diagnostic {
    /// The diagnostic behind an error of [`Document::error`](crate::Document::error), if `error` is one.
    pub fn of(error: &Error) -> Option<&Self> {
        let source = std::error::Error::source(error)?;
        source.downcast_ref::<At>().map(|at| &at.0)
    }

    /// Blanks the text at `secrets`, if the snippet shows it.
    pub(super) fn hide(&mut self, source: &SourceText, secrets: &[Span]) {
        for secret in secrets {
            if source.place(*secret).line == self.place.line {
                let text = source.slice(*secret).lines().next().unwrap_or_default();
                self.snippet = source.without(&self.snippet, *secret, text.trim());
            }
        }
    }

    /// Without the line of the file, which may contain a secret: for logs and HTTP responses.
    pub fn without_snippet(mut self) -> Self {
        self.snippet = String::new();
        self
    }

    /// A diagnostic about a file as a whole, such as one that cannot be read.
    pub fn of_file(path: &str, code: &'static str, message: String, help: Option<String>) -> Self {
        let place = Place {
            file: path.to_owned(),
            line: 1,
            column: 1,
        };
        Self {
            code,
            place,
            message,
            help,
            snippet: String::new(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = shortened(&self.message, MESSAGE_BYTES_MAX);
        writeln!(f, "error[{}]: {message}", self.code)?;
        let margin = " ".repeat(self.place.line.to_string().len());
        write!(f, "{margin}--> {}", self.place)?;
        if !self.snippet.is_empty() {
            write!(f, "\n{}", self.snippet)?;
        }
        if let Some(help) = &self.help {
            let help = shortened(help, MESSAGE_BYTES_MAX);
            write!(f, "\n{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// A diagnostic as the source of an [`Error`]: prints the place only, because the error prints the message.
#[derive(Debug)]
pub(crate) struct At(pub(crate) Diagnostic);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.place)
    }
}

impl std::error::Error for At {}

/// Every error of a file, in file order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Without any line of the file: for logs and HTTP responses.
    #[must_use]
    pub fn without_snippets(self) -> Self {
        Self(
            self.0
                .into_iter()
                .map(Diagnostic::without_snippet)
                .collect(),
        )
    }

    /// File order, each once.
    pub fn sorted(mut self) -> Self {
        self.0
            .sort_by_key(|fault| (fault.place.line, fault.place.column));
        self.0.dedup();
        self
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = 0;
        let mut bytes = 0;
        for diagnostic in self.0.iter().take(DIAGNOSTICS_MAX) {
            let text = diagnostic.to_string();
            bytes += text.len();
            if shown > 0 && bytes > SHOWN_BYTES_MAX {
                break;
            }
            writeln!(f, "{text}\n")?;
            shown += 1;
        }
        let count = self.0.len();
        let file = self.0.first().map_or("", |first| first.place.file.as_str());
        write!(
            f,
            "{count} error{} in {file}",
            if count == 1 { "" } else { "s" }
        )?;
        if count > shown {
            write!(f, ", the first {shown} shown")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostics> for Error {
    /// The whole rendering as the message of one `Config` error.
    fn from(diagnostics: Diagnostics) -> Self {
        let code = diagnostics.0.first().map_or("bad_file", |first| first.code);
        Self::report(ErrorKind::Config, code, diagnostics.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_makes_no_long_diagnostics() {
        let value = "x".repeat(1 << 20);
        let one = Diagnostic::of_file("a.yaml", "bad", value.clone(), Some(value));
        let all = Diagnostics(vec![one; DIAGNOSTICS_MAX]);
        let shown = Error::from(all).to_string();
        assert!(shown.len() < 2 * SHOWN_BYTES_MAX, "{}", shown.len());
        assert!(
            shown.contains("\n100 errors in a.yaml, the first "),
            "{shown}"
        );
    }
}
