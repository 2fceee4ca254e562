//! What is wrong with a file, where, and what was probably meant.
//!
//! Rendering is plain text in the manner of rustc. A diagnostic quotes the file as it was written, so it never shows
//! what a `${secret:…}` or `${env:…}` stood for.

use std::fmt;

use forebay_core::{Error, ErrorKind};

use crate::file::place::SourceText;
use crate::file::{Document, Place, Span};

/// Diagnostics of one file that are kept; what is found after that is only counted.
pub const DIAGNOSTICS_MAX: usize = 100;

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
    /// What an error of [`Document::error`] pointed at, if `error` is one.
    pub fn of(error: &Error) -> Option<&Self> {
        let source = std::error::Error::source(error)?;
        source.downcast_ref::<At>().map(|at| &at.0)
    }

    /// `error` as a diagnostic: at its own place if it has one, else at `document`.
    pub(crate) fn from_error(error: &Error, document: &Document) -> Self {
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

    /// Blanks what stands at `secrets`, if the snippet shows it.
    pub(super) fn hide(&mut self, source: &SourceText, secrets: &[Span]) {
        for secret in secrets {
            if source.place(*secret).line == self.place.line {
                let text = source.slice(*secret).lines().next().unwrap_or_default();
                self.snippet = source.without(&self.snippet, *secret, text.trim());
            }
        }
    }

    /// Without the line of the file, in which a secret may stand: for a log, or for who asks over HTTP.
    pub(crate) fn without_snippet(mut self) -> Self {
        self.snippet = String::new();
        self
    }

    /// A diagnostic about a file as a whole, such as one that cannot be read.
    pub(crate) fn of_file(
        path: &str,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) -> Self {
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
        writeln!(f, "error[{}]: {}", self.code, self.message)?;
        let margin = " ".repeat(self.place.line.to_string().len());
        write!(f, "{margin}--> {}", self.place)?;
        if !self.snippet.is_empty() {
            write!(f, "\n{}", self.snippet)?;
        }
        if let Some(help) = &self.help {
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

    /// Without any line of the file: for a log, or for who asks over HTTP.
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
    pub(crate) fn sorted(mut self) -> Self {
        self.0
            .sort_by_key(|fault| (fault.place.line, fault.place.column));
        self.0.dedup();
        self
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self.0.iter().take(DIAGNOSTICS_MAX) {
            writeln!(f, "{diagnostic}\n")?;
        }
        let count = self.0.len();
        let file = self.0.first().map_or("", |first| first.place.file.as_str());
        write!(
            f,
            "{count} error{} in {file}",
            if count == 1 { "" } else { "s" }
        )?;
        if count > DIAGNOSTICS_MAX {
            write!(f, ", the first {DIAGNOSTICS_MAX} shown")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostics> for Error {
    /// The whole rendering as the message of one `Config` error.
    fn from(diagnostics: Diagnostics) -> Self {
        let code = diagnostics.0.first().map_or("bad_file", |first| first.code);
        Self::new(ErrorKind::Config, code, diagnostics.to_string())
    }
}
