//! One error type whose kind decides how the caller should react.
//!
//! A new kind is added only when a caller would act differently; everything else is a `code` (stable, for people
//! and `forebay explain`, with an explanation in the `codes.md` of a crate that makes it) and a message. This module never logs: an error is logged once, where it is handled.
//!
//! Whatever a message repeats, an error shows at most [`MESSAGE_BYTES_MAX`]. It keeps the whole, in which
//! a secret can still be found.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use crate::text::{MESSAGE_BYTES_MAX, shortened};

/// Most bytes of a message that reports many findings, each with a bound of its own.
pub const REPORT_BYTES_MAX: usize = 256 << 10;

/// How a caller should react to an error. Retry, HTTP status and exit code are decided by this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A file that the user wrote is wrong: fix it, then run again.
    Config,
    /// A record or payload is invalid: quarantine it, continue with the others.
    Data,
    /// Something outside does not answer: try again later.
    Unavailable,
    /// Another writer was first: reload and try again.
    Conflict,
    /// The caller may not do this.
    Denied,
    /// The thing named does not exist.
    NotFound,
    /// A real request for something that Forebay does not do.
    Unsupported,
    /// A broken invariant in Forebay itself.
    Bug,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Conflict)
    }

    /// The exit code of a command that ends with this kind: 1 run or data failure, 2 usage or configuration,
    /// 3 authentication, 4 unreachable.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Config | Self::Unsupported => 2,
            Self::Denied => 3,
            Self::Unavailable => 4,
            Self::Data | Self::Conflict | Self::NotFound | Self::Bug => 1,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Config => "configuration error",
            Self::Data => "data error",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::NotFound => "not found",
            Self::Unsupported => "unsupported",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `Result` with Forebay's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its place, cause and hint.
///
/// The message completes "failed to …" or states the fact; `context` has the place (pipeline, table, object, line);
/// `hint` is the next step for the user.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    code: &'static str,
    message: BoundedText,
    context: Vec<(&'static str, BoundedText)>,
    hint: Option<BoundedText>,
    /// Most bytes that are shown of it.
    bytes_max: usize,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A text with the part of it that is shown.
struct BoundedText {
    whole: String,
    /// `None` for the whole.
    shown: Option<String>,
}

impl BoundedText {
    fn new(whole: String, bytes_max: usize) -> Self {
        let shown = match shortened(&whole, bytes_max) {
            Cow::Borrowed(_) => None,
            Cow::Owned(shown) => Some(shown),
        };
        Self { whole, shown }
    }

    fn as_str(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.whole)
    }
}

impl Error {
    /// An error of `kind`; `code` is a stable snake_case word such as `stale_epoch`.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            code,
            message: BoundedText::new(message.into(), MESSAGE_BYTES_MAX),
            context: Vec::new(),
            hint: None,
            bytes_max: MESSAGE_BYTES_MAX,
            source: None,
        }))
    }

    /// An error whose message is a list of findings, with the larger bound [`REPORT_BYTES_MAX`].
    pub fn report(kind: ErrorKind, code: &'static str, findings: impl Into<String>) -> Self {
        let mut error = Self::new(kind, code, String::new());
        error.0.message = BoundedText::new(findings.into(), REPORT_BYTES_MAX);
        error.0.bytes_max = REPORT_BYTES_MAX;
        error
    }

    pub fn config(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, code, message)
    }

    pub fn data(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, code, message)
    }

    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, code, message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, code, message)
    }

    pub fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, code, message)
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, code, message)
    }

    pub fn unsupported(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, code, message)
    }

    pub fn bug(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, code, message)
    }

    /// Adds where it happened; the outermost caller is printed first.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        let value = BoundedText::new(value.to_string(), MESSAGE_BYTES_MAX);
        self.0.context.push((key, value));
        self
    }

    /// Adds the next step for the user, as a sentence or a command.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(BoundedText::new(hint.into(), MESSAGE_BYTES_MAX));
        self
    }

    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn code(&self) -> &'static str {
        self.0.code
    }

    pub fn message(&self) -> &str {
        self.0.message.as_str()
    }

    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let context = self.0.context.iter();
        context.map(|(key, value)| (*key, value.as_str()))
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_ref().map(BoundedText::as_str)
    }

    /// Message, hint and context as they were given, without a bound: to search them.
    pub fn whole_texts(&self) -> impl Iterator<Item = &str> {
        let hint = self.0.hint.iter();
        let context = self.0.context.iter().map(|(_, value)| value);
        let texts = std::iter::once(&self.0.message).chain(hint).chain(context);
        texts.map(|text| text.whole.as_str())
    }

    /// The error with these texts replaced before they are cut.
    #[must_use]
    pub fn map_texts(mut self, replace: impl Fn(&str) -> String) -> Self {
        let bytes_max = self.0.bytes_max;
        let replaced =
            |text: &BoundedText, bytes_max| BoundedText::new(replace(&text.whole), bytes_max);
        self.0.message = replaced(&self.0.message, bytes_max);
        if let Some(hint) = &mut self.0.hint {
            *hint = replaced(hint, MESSAGE_BYTES_MAX);
        }
        for (_, value) in &mut self.0.context {
            *value = replaced(value, MESSAGE_BYTES_MAX);
        }
        self
    }

    /// The error with another message.
    #[must_use]
    pub fn map_message(mut self, replace: impl FnOnce(&str) -> String) -> Self {
        let message = replace(&self.0.message.whole);
        self.0.message = BoundedText::new(message, self.0.bytes_max);
        self
    }

    /// Message, then each cause, then where, of any length.
    fn rendered(&self) -> String {
        let mut text = self.message().to_owned();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            // Our own errors print their causes themselves.
            cause = if error.is::<Error>() {
                None
            } else {
                error.source()
            };
        }
        for (i, (key, value)) in self.0.context.iter().rev().enumerate() {
            let separator = if i == 0 { " (" } else { ", " };
            text.push_str(&format!("{separator}{key} {}", value.as_str()));
        }
        if !self.0.context.is_empty() {
            text.push(')');
        }
        text
    }
}

impl fmt::Display for Error {
    /// One line: message, then each cause, then where.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shortened(&self.rendered(), self.0.bytes_max))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] {self}", self.0.kind, self.0.code)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// Adds where an error happened on the way up.
pub trait Context<T> {
    fn context(self, key: &'static str, value: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, key: &'static str, value: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.with_context(key, value))
    }
}

/// Characters of a panic's message that are kept: it may hold a value.
const PANIC_CHARS_MAX: usize = 200;

/// The first line of a panic's message, shortened.
pub fn panic_message(panic: &dyn Any) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let line = text.and_then(|text| text.lines().next());
    let line = line.unwrap_or("no message");
    line.chars().take(PANIC_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_message_cause_and_place() {
        let io = std::io::Error::other("disk on fire");
        let error = Error::unavailable("write_failed", "failed to write the object")
            .with_source(io)
            .with_context("object", "a.parquet")
            .with_context("pipeline", "quakes");
        assert_eq!(
            error.to_string(),
            "failed to write the object: disk on fire (pipeline quakes, object a.parquet)"
        );
        assert!(error.kind().is_retryable());
        assert_eq!(error.kind().exit_code(), 4);
    }

    #[test]
    fn a_panic_is_one_short_line() {
        let long = "x".repeat(1_000) + "\nmore";
        assert_eq!(panic_message(&long).len(), PANIC_CHARS_MAX);
        assert_eq!(panic_message(&"a\nb"), "a");
        assert_eq!(panic_message(&7), "no message");
    }

    #[test]
    fn no_error_shows_a_megabyte() {
        let value = "x".repeat(1 << 20);
        let error = Error::data("bad", format!("failed to parse {value} as a number"))
            .with_source(std::io::Error::other(value.clone()))
            .with_hint(value.clone())
            .with_context("file", &value)
            .with_context("line", 7);
        let shown = error.to_string();
        assert!(shown.starts_with("failed to parse xxx"));
        assert!(shown.ends_with("x)"), "{shown}");
        for text in [&shown, error.message(), error.hint().unwrap()] {
            assert!(text.len() <= MESSAGE_BYTES_MAX);
        }
        assert!(error.message().ends_with("x as a number"));
        let outer = Error::bug("outer", "failed").with_source(error);
        assert!(outer.to_string().len() <= MESSAGE_BYTES_MAX);
    }

    #[test]
    fn a_text_is_replaced_before_it_is_cut() {
        let long = "x".repeat(MESSAGE_BYTES_MAX);
        let error = Error::data("bad", format!("{long}secret{long}")).with_context("at", "secret");
        assert!(error.whole_texts().all(|text| text.contains("secret")));
        let replaced = error.map_texts(|text| text.replace("secret", "***"));
        assert!(!replaced.whole_texts().any(|text| text.contains("secret")));
        assert!(replaced.to_string().len() <= MESSAGE_BYTES_MAX);
    }
}
