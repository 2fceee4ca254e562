//! A parsed record for the builders and the learner: the tape, and its text when that is needed.

use simd_json::{Node, StaticNode};

use super::number::{self, Exact};
use super::refuse::{NumberName, out_of_range};
use super::spans::Span;

/// Why a record did not become a row.
#[derive(Debug)]
pub(super) enum Stop {
    /// It has a key or a kind of value that the builders do not know.
    Grow,
    /// A value's text is needed: parse again with spans.
    Text,
    Refuse(Box<Refusal>),
}

/// The problem of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) reason: String,
    /// Byte in the record.
    pub(super) at: Option<usize>,
}

impl Refusal {
    pub(super) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            at: None,
        }
    }

    pub(super) fn at(code: &'static str, reason: impl Into<String>, at: usize) -> Self {
        Self {
            code,
            reason: reason.into(),
            at: Some(at),
        }
    }
}

impl Stop {
    #[cold]
    pub(super) fn refuse(code: &'static str, reason: impl Into<String>) -> Self {
        Self::Refuse(Box::new(Refusal::new(code, reason)))
    }
}

/// A record on the tape.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) nodes: &'a [Node<'a>],
    /// The record as received.
    pub(super) record: &'a [u8],
    /// Start of each token, from the parser's first pass.
    pub(super) structurals: &'a [u32],
    /// The span of each node in the record; `None` on the fast path.
    pub(super) spans: Option<&'a [Span]>,
    /// Nodes whose number is beyond 64 bits; the tape has zero there.
    pub(super) replaced: &'a [usize],
}

impl<'a> Parsed<'a> {
    /// The text of a node.
    pub(super) fn text(&self, at: usize) -> Option<&'a [u8]> {
        let (start, end) = *self.spans?.get(at)?;
        self.record.get(start as usize..end as usize)
    }

    /// The node after the value at `at`.
    pub(super) fn after(&self, at: usize) -> usize {
        match self.nodes[at] {
            Node::Object { count, .. } | Node::Array { count, .. } => at + 1 + count,
            _ => at + 1,
        }
    }

    /// Whether there is a value at `at`: anything but null and objects and lists without any value.
    pub(super) fn has_value(&self, at: usize) -> bool {
        match self.nodes[at] {
            Node::Static(StaticNode::Null) => false,
            Node::Object { len, .. } => self.any_value(at, len, 1),
            Node::Array { len, .. } => self.any_value(at, len, 0),
            _ => true,
        }
    }

    pub(super) fn is_null(&self, at: usize) -> bool {
        matches!(self.nodes[at], Node::Static(StaticNode::Null))
    }

    fn any_value(&self, at: usize, len: usize, keys: usize) -> bool {
        let mut next = at + 1;
        for _ in 0..len {
            if self.has_value(next + keys) {
                return true;
            }
            next = self.after(next + keys);
        }
        false
    }

    /// Whether every fraction in the record equals the double on the tape. Checks only literals that are long, and with
    /// `tiny` those with an exponent: any other has few digits and is exact.
    pub(super) fn doubles_are_exact(&self, tiny: bool) -> bool {
        // The last token is the record's closing bracket.
        self.structurals.windows(2).all(|pair| {
            if pair[1] - pair[0] <= LITERAL_SAFE && !tiny {
                return true;
            }
            let text = &self.record[pair[0] as usize..pair[1] as usize];
            !matches!(text.first(), Some(b'0'..=b'9' | b'-')) || literal_is_exact(text)
        })
    }

    /// The whole number at `at`, where the tape has `value`, as a long and as a double: those that hold it exactly.
    #[inline]
    pub(super) fn whole_number(&self, at: usize, value: i128) -> (Option<i64>, Option<f64>) {
        if !self.replaced.is_empty() && self.replaced.contains(&at) {
            let literal = self.text(at);
            return (None, literal.and_then(number::whole_double));
        }
        let double = number::is_exact_double(value).then_some(value as f64);
        (i64::try_from(value).ok(), double)
    }

    /// Rejects the double at `at` when its text is another number.
    pub(super) fn check_double(&self, at: usize, name: NumberName<'_>) -> Result<(), Stop> {
        let Some(literal) = self.text(at) else {
            return Err(Stop::Text);
        };
        if self.replaced.contains(&at) {
            return Err(out_of_range(name, at, self));
        }
        if number::is_plain(literal) || is_exact(literal) {
            return Ok(());
        }
        let reason = format!(
            "{} in {name} cannot be held by a double without rounding: {}",
            brief(literal),
            name.remedy()
        );
        Err(Stop::Refuse(Box::new(Refusal {
            code: "number_not_exact",
            reason,
            at: self.start(at),
        })))
    }

    fn start(&self, at: usize) -> Option<usize> {
        Some(self.spans?.get(at)?.0 as usize)
    }
}

/// Characters of a literal that cannot have more digits than a double keeps: the digits and a point.
const LITERAL_SAFE: u32 = number::DIGITS_SAFE as u32 + 1;

/// Whether the number at the start of `text` is an integer, or equals its double.
fn literal_is_exact(text: &[u8]) -> bool {
    let literal = &text[..super::spans::atom_end(text, 0)];
    number::is_plain(literal) || !is_fraction(literal) || is_exact(literal)
}

fn is_fraction(literal: &[u8]) -> bool {
    literal
        .iter()
        .any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

fn is_exact(literal: &[u8]) -> bool {
    let Ok(value) = lexical_core::parse::<f64>(literal) else {
        return false;
    };
    // Most programs write the shortest text, in this very form.
    let mut shortest = [0; lexical_core::BUFFER_SIZE];
    lexical_core::write(value, &mut shortest) == literal
        || Exact::parse(literal).is_some_and(|exact| exact.is(value))
}

/// A literal for a message, cut.
pub(super) fn brief(literal: &[u8]) -> String {
    const SHOWN_MAX: usize = 40;
    let text = String::from_utf8_lossy(&literal[..literal.len().min(SHOWN_MAX)]);
    if literal.len() > SHOWN_MAX {
        format!("{text}… ({} characters)", literal.len())
    } else {
        text.into_owned()
    }
}
