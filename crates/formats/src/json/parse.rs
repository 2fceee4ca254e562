//! From the bytes of one record to a tape, with buffers that live as long as the extraction.
//!
//! A record that simd-json rejects only because a number is beyond 64 bits is parsed again with that number taken out; all
//! other rejects are reported here, with a position. Never copies a record more than once on the way.

use serde::Deserialize;
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape};

use super::document::{LOOKS_LIKE_CSV, looks_like_csv};
use super::number;
use super::spans::{self, Span};
use super::walk::{Parsed, Refusal};

/// Buffers of one extraction.
pub(super) struct Parser {
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Option<Tape<'static>>,
    spans: Vec<Span>,
    depth_max: usize,
    /// Records with more tokens than this are rejected before they take memory.
    tokens_max: usize,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser")
            .field("scratch", &self.scratch.capacity())
            .finish_non_exhaustive()
    }
}

/// Records up to this many bytes are not counted: their tape is small in any case.
const COUNTED_BYTES_MIN: usize = 1 << 20;

impl Parser {
    pub(super) fn new(depth_max: usize, tokens_max: usize) -> Self {
        Self {
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(0, depth_max),
            tape: None,
            spans: Vec::new(),
            depth_max,
            tokens_max,
        }
    }

    /// Parses `record` and passes the tape to `read`. With `text`, the text of each value is available.
    pub(super) fn with<R>(
        &mut self,
        record: &[u8],
        text: bool,
        read: impl FnOnce(&Parsed<'_>) -> R,
    ) -> Result<R, Refusal> {
        if record.len() > COUNTED_BYTES_MIN {
            self.check_tokens(record)?;
        }
        self.load(record);
        let mut tape = self.tape.take().unwrap_or_else(|| Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(
            &mut self.scratch,
            record.len(),
            &mut self.buffers,
            &mut tape,
        );
        match parsed {
            Ok(()) => {
                if text {
                    spans::scan(record, &mut self.spans);
                }
                let spans = text.then_some(self.spans.as_slice());
                let structurals = self.buffers.structural_indexes();
                let result = read(&Parsed {
                    nodes: &tape.0,
                    record,
                    structurals,
                    spans,
                    replaced: &[],
                });
                self.tape = Some(tape.reset());
                Ok(result)
            }
            Err(error) => {
                let refusal = diagnose(record, &error, self.depth_max);
                self.with_long_numbers(record, refusal, read)
            }
        }
    }

    /// A second try for a record that has numbers beyond 64 bits and nothing else wrong.
    #[cold]
    fn with_long_numbers<R>(
        &mut self,
        record: &[u8],
        refusal: Refusal,
        read: impl FnOnce(&Parsed<'_>) -> R,
    ) -> Result<R, Refusal> {
        if refusal.code != "bad_json" {
            return Err(refusal);
        }
        spans::scan(record, &mut self.spans);
        self.load(record);
        let mut replaced = Vec::new();
        for (node, (start, end)) in self.spans.iter().enumerate() {
            let place = *start as usize..*end as usize;
            let literal = &record[place.clone()];
            if literal.len() > 4
                && number::Exact::parse(literal).is_some()
                && number::is_beyond_64_bits(literal)
            {
                self.scratch[place.clone()].fill(b' ');
                self.scratch[place.start] = b'0';
                replaced.push(node);
            }
        }
        let mut tape = Tape(Vec::new());
        let parsed = simd_json::fill_tape_padded(
            &mut self.scratch,
            record.len(),
            &mut self.buffers,
            &mut tape,
        );
        if replaced.is_empty() || parsed.is_err() {
            return Err(refusal);
        }
        let structurals = self.buffers.structural_indexes();
        Ok(read(&Parsed {
            nodes: &tape.0,
            record,
            structurals,
            spans: Some(&self.spans),
            replaced: &replaced,
        }))
    }

    fn load(&mut self, record: &[u8]) {
        self.scratch.clear();
        self.scratch.extend_from_slice(record);
        self.scratch.resize(record.len() + INPUT_PADDING, b' ');
    }

    fn check_tokens(&self, record: &[u8]) -> Result<(), Refusal> {
        let mut tokens = 0;
        let mut at = 0;
        while at < record.len() {
            at = match record[at] {
                b'"' => spans::string_end(record, at),
                byte => {
                    tokens += usize::from(matches!(byte, b',' | b'[' | b'{'));
                    at + 1
                }
            };
        }
        if tokens > self.tokens_max {
            return Err(Refusal::new(
                "too_many_elements",
                format!(
                    "the record has {tokens} values, more than {}",
                    self.tokens_max
                ),
            ));
        }
        Ok(())
    }
}

/// The problem and its position.
#[cold]
fn diagnose(record: &[u8], error: &simd_json::Error, depth_max: usize) -> Refusal {
    if let Err(error) = std::str::from_utf8(record) {
        return Refusal::at(
            "not_utf8",
            "the text is not valid UTF-8, which JSON must be: convert it before it is loaded, as with `iconv -f windows-1252 -t UTF-8`",
            error.valid_up_to(),
        );
    }
    if matches!(error.error(), ErrorType::DepthLimitExceeded) {
        return Refusal::at(
            "too_deep",
            format!("values are nested more than {depth_max} deep: raise `limits.depth`"),
            error.index(),
        );
    }
    match read_to_end(record) {
        Err((error, true)) if looks_like_csv(record) => {
            Refusal::at("trailing_data", LOOKS_LIKE_CSV, offset(record, &error))
        }
        Err((error, true)) => Refusal::at(
            "trailing_data",
            "trailing text after the JSON value: write one value per line, with `lines: true`",
            offset(record, &error),
        ),
        Err((error, false)) => {
            let at = offset(record, &error);
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            let hint = if is_opening_line(record) {
                OPENING_LINE
            } else {
                ""
            };
            Refusal::at("bad_json", format!("not JSON: {text}{hint}"), at)
        }
        Ok(()) => Refusal::at(
            "bad_json",
            format!("not JSON: {}", malformation(error.error())),
            error.index(),
        ),
    }
}

/// Why a line that only opens a value is none.
const OPENING_LINE: &str = "; if the values go over several lines (pretty-printed), remove `lines: true` for a single document, or write one value per line, as with `jq -c .`";

/// Whether a record is the first line of a pretty-printed value.
fn is_opening_line(record: &[u8]) -> bool {
    let text = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
    matches!(text.trim_ascii(), b"{" | b"[" | b"[{")
}

/// What simd-json refuses where a lenient reader goes on.
fn malformation(error: &ErrorType) -> &'static str {
    match error {
        ErrorType::InvalidUnicodeCodepoint | ErrorType::InvalidUnicodeEscape => {
            "an escape `\\u` is half of a character (a lone surrogate)"
        }
        ErrorType::InvalidEscape => "a text has an unknown escape",
        ErrorType::InvalidNumber | ErrorType::InvalidExponent => "a number is malformed",
        ErrorType::InvalidUtf8 => "a text is not valid UTF-8",
        _ => "the text is malformed",
    }
}

/// Reads a text to its end; the flag is set when the first value was valid.
fn read_to_end(record: &[u8]) -> Result<(), (serde_json::Error, bool)> {
    let mut reader = serde_json::Deserializer::from_slice(record);
    serde::de::IgnoredAny::deserialize(&mut reader).map_err(|error| (error, false))?;
    reader.end().map_err(|error| (error, true))
}

/// Byte offset of a serde_json error, whose line and column are 1-based.
fn offset(record: &[u8], error: &serde_json::Error) -> usize {
    let before = match error.line() {
        0 | 1 => 0,
        line => memchr::memchr_iter(b'\n', record)
            .nth(line - 2)
            .map_or(0, |at| at + 1),
    };
    (before + error.column())
        .saturating_sub(1)
        .min(record.len())
}
