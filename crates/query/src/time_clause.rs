//! What the clauses `FOR SYSTEM_TIME …` and `FOR VALID_TIME …` behind a table ask for, written as a part of its name.
//!
//! `prices FOR SYSTEM_TIME AS OF 'a' FOR VALID_TIME FROM 'b' TO 'c'` is the name `prices@a@valid from b to c`. The clauses are those of
//! SQL:2011 (ISO/IEC 9075-2:2011, 7.6), which has the first one only; the second has the same forms.

use std::fmt;

use forebay_core::{Error, Result, Timestamp};

/// Stands between a table's name and its clauses; no identifier of the lake can hold it.
pub(crate) const MARK: char = '@';

/// The time that a clause is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// When the lake believed a row.
    System,
    /// When a row is true in the world.
    Valid,
}

/// Which times a clause asks for, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Span {
    AsOf(String),
    /// The end is exclusive.
    FromTo(String, String),
    /// The end is inclusive.
    Between(String, String),
}

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeClause {
    pub(crate) dimension: Dimension,
    pub(crate) span: Span,
}

impl fmt::Display for TimeClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dimension = match self.dimension {
            Dimension::System => "system",
            Dimension::Valid => "valid",
        };
        match (&self.dimension, &self.span) {
            (Dimension::System, Span::AsOf(at)) => write!(f, "{MARK}{at}"),
            (_, Span::AsOf(at)) => write!(f, "{MARK}{dimension} as of {at}"),
            (_, Span::FromTo(from, to)) => write!(f, "{MARK}{dimension} from {from} to {to}"),
            (_, Span::Between(from, to)) => write!(f, "{MARK}{dimension} between {from} and {to}"),
        }
    }
}

impl TimeClause {
    fn parse(text: &str) -> Self {
        let forms = [(Dimension::System, "system "), (Dimension::Valid, "valid ")];
        for (dimension, word) in forms {
            if let Some(span) = text.strip_prefix(word).and_then(Span::parse) {
                return Self { dimension, span };
            }
        }
        Self {
            dimension: Dimension::System,
            span: Span::AsOf(text.to_owned()),
        }
    }
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let own = str::to_owned;
        if let Some(at) = text.strip_prefix("as of ") {
            return Some(Self::AsOf(own(at)));
        }
        if let Some((from, to)) = text
            .strip_prefix("from ")
            .and_then(|rest| rest.split_once(" to "))
        {
            return Some(Self::FromTo(own(from), own(to)));
        }
        let (from, to) = text.strip_prefix("between ")?.split_once(" and ")?;
        Some(Self::Between(own(from), own(to)))
    }
}

/// A name in a statement: that of a table, and its clauses, at most one for each dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClausedName<'a> {
    pub(crate) name: &'a str,
    pub(crate) system: Option<Span>,
    pub(crate) valid: Option<Span>,
    /// Only rows that are new since the position of a pipeline (`new_rows`).
    pub(crate) is_new: bool,
}

/// The clause that [`ClausedName::is_new`] is written as.
pub(crate) const NEW: &str = "new";

impl<'a> ClausedName<'a> {
    pub(crate) fn parse(name: &'a str) -> Self {
        let mut parts = name.split(MARK);
        let mut parsed = Self {
            name: parts.next().unwrap_or(name),
            system: None,
            valid: None,
            is_new: false,
        };
        for part in parts {
            if part == NEW {
                parsed.is_new = true;
                continue;
            }
            let clause = TimeClause::parse(part);
            *parsed.of(clause.dimension) = Some(clause.span);
        }
        parsed
    }

    pub(crate) fn of(&mut self, dimension: Dimension) -> &mut Option<Span> {
        match dimension {
            Dimension::System => &mut self.system,
            Dimension::Valid => &mut self.valid,
        }
    }
}

/// Errors: `Config` `bad_as_of`.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp> {
    Timestamp::parse(text).ok_or_else(|| {
        Error::config("bad_as_of", format!("{text:?} is not a time"))
            .with_hint("write a time such as '2026-01-31T12:00:00Z'")
    })
}
