//! One error type whose kind says what the caller should do.
//!
//! A new kind is added only when a caller would act differently; everything else is a `code` (stable, for people
//! and `forebay explain`) and a message. This module never logs: an error is logged once, where it is handled.

use std::error::Error as StdError;
use std::fmt;

/// What a caller should do about an error. Retry, HTTP status and exit code are decided by this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A file that the user wrote is wrong: fix it, then run again.
    Config,
    /// A record or payload is wrong: quarantine it, go on with the others.
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

/// What failed, where, why, and what to do next.
///
/// The message completes "failed to …" or states the fact; `context` says where (pipeline, table, object, line);
/// `hint` says what to do next.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `code` is a stable snake_case word such as `stale_epoch`.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            code,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            source: None,
        }))
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
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Says what to do next, as a sentence or a command.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
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
        &self.0.message
    }

    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    /// One line: message, then each cause, then where.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            // Our own errors print their causes themselves.
            cause = if error.is::<Error>() {
                None
            } else {
                error.source()
            };
        }
        for (i, (key, value)) in self.0.context.iter().rev().enumerate() {
            write!(f, "{}{key} {value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
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
}
