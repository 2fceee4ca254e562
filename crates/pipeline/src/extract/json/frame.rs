//! Cuts payloads into records: lines, or documents.
//!
//! Holds at most one unfinished line or document, within its limit. How the bytes were cut into chunks changes nothing
//! of what comes out.

use std::ops::Range;
use std::sync::Arc;

use forebay_core::{Error, PayloadHead, Result};

use super::document;
use super::id;
use super::rows::{Place, Rows};
use super::walk::Refusal;
use crate::extract::contract::Contract;
use crate::extract::wire::Wire;
use crate::extract::{Extracted, Extraction, Value};

/// The attribute of a payload that identifies it better than its name does.
pub const IDENTITY_ATTRIBUTE: &str = "fb.identity";

/// What decides the framing.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    pub(super) lines: bool,
    /// What stands before the content of each message.
    pub(super) wire: Wire,
    /// Keys that lead to the records of a document.
    pub(super) path: Vec<String>,
    /// Largest line or document.
    pub(super) bytes_max: usize,
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
    skips: Vec<Range<u64>>,
    /// Records so far.
    records: u64,
    /// Where the unfinished line or document begins, and which line it is.
    pub(super) start: u64,
    line: u64,
    /// Bytes taken.
    end: u64,
    unfinished: Vec<u8>,
    /// What comes up to the next line (or the end of the document) belongs to something refused already.
    skipping: bool,
    /// Nothing of the payload can be read.
    refused: bool,
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
            _ => Payload::new(head),
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
        if self.frames.lines {
            reader.push_lines(bytes)?;
        } else {
            reader.push_document(bytes);
        }
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
        let mut payload = Payload::new(head)?;
        let mut reader = Reader {
            frames: &self.frames,
            rows: &mut self.rows,
            payload: &mut payload,
            out,
        };
        for value in values {
            reader.message(&bytes[value.bytes.clone()], value.at)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        self.rows.flush(out)
    }

    fn contract(&self) -> Contract {
        self.rows.contract()
    }
}

impl Payload {
    fn new(head: &PayloadHead) -> Result<Self> {
        let identity = head
            .attributes
            .get(IDENTITY_ATTRIBUTE)
            .unwrap_or(&head.name);
        Ok(Self {
            ordinal: head.ordinal,
            identity: id::hash(0, identity.as_bytes()),
            skips: head.skips()?,
            records: 0,
            start: 0,
            line: 1,
            end: 0,
            unfinished: Vec::new(),
            skipping: false,
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

    /// Counts a record; whether it is to be left out.
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

    /// A line, or a piece of one; `ends` when its line feed came.
    fn line_part(&mut self, part: &[u8], ends: bool) -> Result<()> {
        let payload = &mut *self.payload;
        payload.end += part.len() as u64 + u64::from(ends);
        let length = payload.unfinished.len() + part.len();
        if !payload.skipping && length > self.frames.bytes_max {
            let room = self.frames.bytes_max - payload.unfinished.len();
            payload.unfinished.extend_from_slice(&part[..room]);
            self.refuse_long("record_too_large", "line", "limits.record");
        } else if !payload.skipping && ends && payload.unfinished.is_empty() {
            self.line(part)?;
        } else if !payload.skipping {
            payload.unfinished.extend_from_slice(part);
            if ends {
                self.unfinished_line()?;
            }
        }
        if ends {
            self.payload.skipping = false;
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
            self.document(record, offset, number)
        }
    }

    pub(super) fn record(&mut self, record: &[u8], offset: u64, line: Option<u64>) -> Result<()> {
        let place = self.payload.place(offset, line);
        if self.payload.is_skipped() {
            return Ok(());
        }
        self.rows.record(place, record, self.out)
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
            let refusal = Refusal::at("not_utf8", "the payload is UTF-16 or UTF-32, not UTF-8", 0);
            self.refuse(
                refusal,
                text,
                Some(self.payload.line).filter(|_| self.frames.lines),
            );
            return None;
        }
        Some(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text))
    }

    pub(super) fn refuse(&mut self, refusal: Refusal, text: &[u8], line: Option<u64>) {
        let place = self.payload.place(self.payload.start, line);
        self.out.rejected.push(place.reject(refusal, text));
    }

    /// Refuses the unfinished line or document, which is as long as it may be, and skips the rest of it.
    fn refuse_long(&mut self, code: &'static str, what: &str, key: &str) {
        let text = std::mem::take(&mut self.payload.unfinished);
        let line = Some(self.payload.line).filter(|_| self.frames.lines);
        let refusal = Refusal::new(
            code,
            format!(
                "the {what} has more than {} bytes: raise `{key}`",
                text.len()
            ),
        );
        let place = self.payload.place(self.payload.start, line);
        if !self.payload.is_skipped() {
            self.out.rejected.push(place.reject(refusal, &text));
        }
        self.payload.skipping = true;
    }

    fn push_document(&mut self, bytes: &[u8]) {
        if self.payload.skipping {
            return;
        }
        let room = self.frames.bytes_max - self.payload.unfinished.len();
        self.payload
            .unfinished
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            self.refuse_long("document_too_large", "document", "limits.document");
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.payload.skipping || self.payload.refused {
            return Ok(());
        }
        if self.frames.lines {
            return self.unfinished_line();
        }
        let text = std::mem::take(&mut self.payload.unfinished);
        let Some(document) = self.decode(&text) else {
            return Ok(());
        };
        self.document(document, (text.len() - document.len()) as u64, None)
    }

    pub(super) fn document(
        &mut self,
        document: &[u8],
        offset: u64,
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
                self.out.rejected.push(place.reject(refusal, document));
            }
        }
        Ok(())
    }

    /// The records of a document whose envelope is good JSON.
    fn find(&mut self, document: &[u8]) -> Result<Vec<Range<usize>>, Refusal> {
        let found = document::find(document, &self.frames.path, self.frames.records_max)?;
        if !self.frames.path.is_empty() {
            let (before, after) = (
                &document[..found.holder.start],
                &document[found.holder.end..],
            );
            let envelope = [before, b"[]", after].concat();
            self.rows.check(&envelope)?;
        }
        Ok(found.records)
    }

    /// The bytes could not be decompressed to the end.
    fn broken(&mut self, error: &Error) {
        let text = std::mem::take(&mut self.payload.unfinished);
        let reason = format!(
            "the payload is broken behind byte {}: {error}",
            self.payload.start + text.len() as u64
        );
        self.refuse(
            Refusal::new(error.code(), reason),
            &text,
            Some(self.payload.line).filter(|_| self.frames.lines),
        );
    }
}
