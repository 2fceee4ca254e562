//! Cuts payloads into records: lines, or documents.
//!
//! Holds at most one unfinished line or document, within its limit; also the start of a payload that may have lines or be a
//! document (see [`super::detect`]). The output does not depend on how the bytes were cut into chunks.

use std::ops::Range;
use std::sync::Arc;

use forebay_core::quarantine::Extent;
use forebay_core::{Error, PayloadHead, Rejected, Result};

use super::detect::{self, Detection};
use super::document;
use super::id;
use super::rows::{Place, Rows};
use super::walk::Refusal;
use crate::contract::Contract;
use crate::wire::Wire;
use crate::{Extracted, Extraction, Value};

const NOT_UTF8: &str = "the payload is UTF-16 or UTF-32, but JSON must be UTF-8: convert it before it is loaded, as with `iconv -f UTF-16 -t UTF-8`";

/// The attribute of a payload that identifies it better than its name does.
pub const IDENTITY_ATTRIBUTE: &str = "fb.identity";

/// The framing settings.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    /// Whether each line is a document; detected for each payload when not set.
    pub(super) lines: Option<bool>,
    /// The header before the content of each message.
    pub(super) wire: Wire,
    /// Keys that lead to the records of a document.
    pub(super) path: Vec<String>,
    /// Largest line.
    pub(super) record_bytes_max: usize,
    /// Largest document.
    pub(super) document_bytes_max: usize,
    /// Most records of a document.
    pub(super) records_max: usize,
}

/// The JSON extraction of one split.
#[derive(Debug)]
pub(super) struct JsonExtraction {
    frames: Arc<Frames>,
    rows: Rows,
    payload: Option<Payload>,
}

/// The payload that is being read.
#[derive(Debug)]
pub(super) struct Payload {
    ordinal: u64,
    identity: u128,
    cut: Cut,
    skips: Vec<Range<u64>>,
    /// Records so far.
    records: u64,
    /// Start of the unfinished line or document, and its line number.
    start: u64,
    line: u64,
    /// Bytes taken.
    end: u64,
    unfinished: Vec<u8>,
    /// The line (or document) whose rest is skipped; its length is known at its end.
    too_long: Option<Rejected>,
    /// Nothing of the payload can be read.
    refused: bool,
}

/// How a payload is cut.
#[derive(Debug)]
enum Cut {
    Lines,
    Document,
    /// Not known yet.
    Either(Detection),
}

impl Cut {
    fn new(head: &PayloadHead, lines: Option<bool>) -> Self {
        let media_type = head.content_type.as_deref().unwrap_or_default();
        match lines {
            Some(true) => Self::Lines,
            Some(false) => Self::Document,
            None if detect::is_lines_name(&head.name) => Self::Lines,
            None if detect::is_lines_type(media_type) => Self::Lines,
            None => Self::Either(Detection::default()),
        }
    }

    fn is_lines(&self) -> bool {
        matches!(self, Self::Lines)
    }
}

impl JsonExtraction {
    pub(super) fn new(frames: Frames, rows: Rows) -> Self {
        Self {
            frames: Arc::new(frames),
            rows,
            payload: None,
        }
    }

    fn open(&mut self, head: &PayloadHead) -> Result<Payload> {
        match self.payload.take() {
            Some(payload) if payload.ordinal == head.ordinal => Ok(payload),
            _ => Payload::new(head, self.frames.lines),
        }
    }
}

impl Extraction for JsonExtraction {
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        let mut payload = self.open(head)?;
        let mut reader = Reader {
            frames: &self.frames,
            rows: &mut self.rows,
            payload: &mut payload,
            out,
        };
        reader.push(bytes)?;
        self.payload = Some(payload);
        Ok(())
    }

    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        broken: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()> {
        let mut payload = self.open(head)?;
        let frames = Arc::clone(&self.frames);
        let mut reader = Reader {
            frames: &frames,
            rows: &mut self.rows,
            payload: &mut payload,
            out,
        };
        match broken {
            Some(error) => reader.broken(&error),
            None => reader.end()?,
        }
        Ok(())
    }

    fn messages(
        &mut self,
        head: &Arc<PayloadHead>,
        bytes: &[u8],
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        let mut payload = Payload::new(head, self.frames.lines)?;
        let mut reader = Reader {
            frames: &self.frames,
            rows: &mut self.rows,
            payload: &mut payload,
            out,
        };
        for value in values {
            reader.message(&bytes[value.bytes.clone()], value.at)?;
            reader.out.relieve()?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        self.rows.flush(out)
    }

    fn pending_rows(&self) -> u64 {
        self.rows.pending()
    }

    fn contract(&self) -> Contract {
        self.rows.contract()
    }
}

impl Payload {
    fn new(head: &PayloadHead, lines: Option<bool>) -> Result<Self> {
        let identity = head
            .attributes
            .get(IDENTITY_ATTRIBUTE)
            .unwrap_or(&head.name);
        Ok(Self {
            ordinal: head.ordinal,
            identity: id::hash(0, identity.as_bytes()),
            cut: Cut::new(head, lines),
            skips: head.skips()?,
            records: 0,
            start: 0,
            line: 1,
            end: 0,
            unfinished: Vec::new(),
            too_long: None,
            refused: false,
        })
    }

    fn place(&self, offset: u64, line: Option<u64>) -> Place {
        Place {
            payload: self.ordinal,
            identity: self.identity,
            offset,
            line,
            ordinal: self.records,
        }
    }

    /// Counts a record; returns whether to leave it out.
    fn is_skipped(&mut self) -> bool {
        let ordinal = self.records;
        self.records += 1;
        let behind = self.skips.partition_point(|range| range.end <= ordinal);
        self.skips
            .get(behind)
            .is_some_and(|range| range.contains(&ordinal))
    }
}

/// One call's view of everything.
pub(super) struct Reader<'a> {
    pub(super) frames: &'a Frames,
    rows: &'a mut Rows,
    pub(super) payload: &'a mut Payload,
    out: &'a mut Extracted,
}

impl Reader<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.payload.cut {
            Cut::Lines => self.push_lines(bytes),
            Cut::Document => {
                self.push_document(bytes);
                Ok(())
            }
            Cut::Either(detection) => {
                let payload = &mut self.payload.unfinished;
                let room = self.frames.document_bytes_max - payload.len();
                let (taken, rest) = bytes.split_at(bytes.len().min(room));
                payload.extend_from_slice(taken);
                match detection.next(payload) {
                    None if rest.is_empty() => return Ok(()),
                    Some(true) => {
                        self.payload.cut = Cut::Lines;
                        let begin = std::mem::take(&mut self.payload.unfinished);
                        self.push_lines(&begin)?;
                    }
                    None | Some(false) => self.payload.cut = Cut::Document,
                }
                self.push(rest)
            }
        }
    }

    fn push_lines(&mut self, bytes: &[u8]) -> Result<()> {
        let mut from = 0;
        while from < bytes.len() && !self.payload.refused {
            let newline = memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at);
            let to = newline.unwrap_or(bytes.len());
            self.line_part(&bytes[from..to], newline.is_some())?;
            from = to + 1;
        }
        Ok(())
    }

    /// A line, or a piece of one; `ends` when it has its line feed.
    fn line_part(&mut self, part: &[u8], ends: bool) -> Result<()> {
        let payload = &mut *self.payload;
        payload.end += part.len() as u64 + u64::from(ends);
        let length = payload.unfinished.len() + part.len();
        let is_passed_over = payload.too_long.is_some();
        if !is_passed_over && length > self.frames.record_bytes_max {
            let room = self.frames.record_bytes_max - payload.unfinished.len();
            payload.unfinished.extend_from_slice(&part[..room]);
            self.refuse_long("record_too_large", "line", "limits.record");
        } else if !is_passed_over && ends && payload.unfinished.is_empty() {
            self.line(part)?;
        } else if !is_passed_over {
            payload.unfinished.extend_from_slice(part);
            if ends {
                self.unfinished_line()?;
            }
        }
        if ends {
            self.end_long();
            self.payload.start = self.payload.end;
            self.payload.line += 1;
        }
        Ok(())
    }

    fn unfinished_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.payload.unfinished);
        let result = self.line(&line);
        self.payload.unfinished = line;
        self.payload.unfinished.clear();
        result
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        let Some(text) = self.decode(line) else {
            return Ok(());
        };
        let record = text.trim_ascii();
        let offset = self.payload.start
            + (text.as_ptr().addr() - line.as_ptr().addr()) as u64
            + (text.len() - text.trim_ascii_start().len()) as u64;
        if record.is_empty() {
            return Ok(());
        }
        let number = Some(self.payload.line);
        if self.frames.path.is_empty() {
            self.record(record, offset, number)
        } else {
            let extent = Extent::document(offset, record.len() as u64);
            self.document(record, offset, extent, number)
        }
    }

    pub(super) fn record(&mut self, record: &[u8], offset: u64, line: Option<u64>) -> Result<()> {
        let place = self.payload.place(offset, line);
        if self.payload.is_skipped() {
            return Ok(());
        }
        self.rows.record(place, record, self.out)?;
        self.out.relieve()
    }

    /// The text without its byte-order mark; `None` (and a refusal) when it is UTF-16.
    fn decode<'t>(&mut self, text: &'t [u8]) -> Option<&'t [u8]> {
        if self.payload.start > 0 {
            return Some(text);
        }
        let is_utf16 = matches!(
            text,
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, ..] | [_, 0, ..]
        );
        if is_utf16 {
            self.payload.refused = true;
            let refusal = Refusal::at("not_utf8", NOT_UTF8, 0);
            let line = self.line_number();
            self.refuse(refusal, Extent::PAYLOAD, text, line);
            return None;
        }
        Some(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text))
    }

    /// The number of the line, of payloads that have lines.
    fn line_number(&self) -> Option<u64> {
        Some(self.payload.line).filter(|_| self.payload.cut.is_lines())
    }

    pub(super) fn refuse(
        &mut self,
        refusal: Refusal,
        extent: Extent,
        text: &[u8],
        line: Option<u64>,
    ) {
        let place = self.payload.place(extent.start, line);
        let rejected = place.reject_extent(extent, refusal, text);
        self.out.rejected.push(rejected);
    }

    /// Rejects the unfinished line or document, which has reached the limit, and skips the rest of it.
    fn refuse_long(&mut self, code: &'static str, what: &str, key: &str) {
        let text = std::mem::take(&mut self.payload.unfinished);
        let refusal = Refusal::new(
            code,
            format!(
                "the {what} has more than {} bytes: raise `{key}`",
                text.len()
            ),
        );
        let place = self.payload.place(self.payload.start, self.line_number());
        let rejected = place.reject_extent(Extent::PAYLOAD, refusal, &text);
        self.payload.too_long = Some(rejected);
    }

    /// The oversized line or document has ended.
    fn end_long(&mut self) {
        let Some(mut rejected) = self.payload.too_long.take() else {
            return;
        };
        if self.payload.cut.is_lines() {
            let length = self.payload.end - self.payload.start;
            rejected.extent = Some(Extent::document(self.payload.start, length));
        }
        if !self.payload.is_skipped() {
            self.out.rejected.push(rejected);
        }
    }

    fn push_document(&mut self, bytes: &[u8]) {
        if self.payload.too_long.is_some() {
            return;
        }
        let room = self.frames.document_bytes_max - self.payload.unfinished.len();
        let taken = bytes.len().min(room);
        self.payload.unfinished.extend_from_slice(&bytes[..taken]);
        if bytes.len() > room {
            self.refuse_long("document_too_large", "document", "limits.document");
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.payload.too_long.is_some() {
            self.end_long();
            return Ok(());
        }
        if self.payload.refused {
            return Ok(());
        }
        if self.payload.cut.is_lines() {
            return self.unfinished_line();
        }
        let text = std::mem::take(&mut self.payload.unfinished);
        let Some(document) = self.decode(&text) else {
            return Ok(());
        };
        let offset = (text.len() - document.len()) as u64;
        self.document(document, offset, Extent::PAYLOAD, None)
    }

    /// Reads a document at `offset`; `extent` is rejected with it.
    pub(super) fn document(
        &mut self,
        document: &[u8],
        offset: u64,
        extent: Extent,
        line: Option<u64>,
    ) -> Result<()> {
        match self.find(document) {
            Ok(records) => {
                for place in records {
                    let start = offset + place.start as u64;
                    self.record(&document[place], start, line)?;
                }
            }
            Err(refusal) => {
                let place = self.payload.place(offset, line);
                let rejected = place.reject_extent(extent, refusal, document);
                self.out.rejected.push(rejected);
            }
        }
        Ok(())
    }

    /// The records of a document whose envelope is valid JSON.
    fn find(&mut self, document: &[u8]) -> Result<Vec<Range<usize>>, Refusal> {
        let found = document::find(document, &self.frames.path, self.frames.records_max)?;
        if !self.frames.path.is_empty() {
            let before = &document[..found.holder.start];
            let after = &document[found.holder.end..];
            let envelope = [before, b"[]", after].concat();
            self.rows.check(&envelope)?;
        }
        Ok(found.records)
    }

    /// The bytes could not be decompressed to the end.
    fn broken(&mut self, error: &Error) {
        self.end_long();
        let text = std::mem::take(&mut self.payload.unfinished);
        let reason = format!(
            "the payload is corrupt after byte {}: {error}",
            self.payload.start + text.len() as u64
        );
        let extent = match self.payload.start {
            0 => Extent::PAYLOAD,
            start => Extent::rest(start),
        };
        let line = self.line_number();
        self.refuse(Refusal::new(error.code(), reason), extent, &text, line);
    }
}
