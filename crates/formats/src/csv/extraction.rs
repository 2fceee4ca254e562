//! One split being extracted: payloads in, batches and refused records out.

mod refuse;

use std::ops::Range;
use std::sync::Arc;

use forebay_core::{Error, PayloadHead, Result};

use super::batch::{self, Row, Texts};
use super::carry::{self, Carry};
use super::columns::{Columns, Mapping};
use super::dialect::unescape;
use super::encoding::{Encoding, Utf16};
use super::header::{broken_header_fault, header_fault, header_names, marked_as_utf8, not_utf8};
use super::problems;
use super::split::{Field, Scan, Splitter};
use super::{Options, Ragged};
use refuse::{Reach, Refusal};

use crate::contract::Contract;
use crate::{Extracted, Extraction};

/// Rows of one batch, unless they are large.
const BATCH_ROWS: usize = 8_192;

/// Bytes of rows that make a batch, however few rows they are.
const BATCH_BYTES: usize = 8 << 20;

/// Cells of one batch, empty ones too: a short line may have many.
const BATCH_CELLS: usize = 2 << 20;

/// Bytes taken at once, so that positions in the buffer stay small.
const PUSH_BYTES_MAX: usize = 4 << 20;

/// Largest part of the preamble before the first record that is kept with a rejected record.
const PREAMBLE_BYTES_MAX: usize = 64 << 10;

const BOM: &[u8] = "\u{feff}".as_bytes();

/// Rows of one batch with this number of columns.
fn batch_rows(columns: usize) -> usize {
    (BATCH_CELLS / columns.max(1)).clamp(1, BATCH_ROWS)
}

pub(super) struct CsvExtraction {
    options: Arc<Options>,
    columns: Columns,
    /// Buffered text: rows of the batch, then bytes that are not split yet.
    raw: Vec<u8>,
    fields: Vec<Field>,
    rows: Vec<Row>,
    /// Of all rows held.
    mapping: Mapping,
    payload: Option<Payload>,
}

/// The payload that is being read.
struct Payload {
    ordinal: u64,
    splitter: Splitter,
    utf16: Utf16,
    stage: Stage,
    /// A position in `raw` and the position in the payload that it came from.
    mark: (usize, u64),
    /// The text before the first record, so that a rejected record can be replayed on its own.
    preamble: Vec<u8>,
    file: String,
    names: Vec<String>,
    width: usize,
    /// Data records so far.
    records: u64,
    skips: Vec<Range<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Too few bytes to detect a byte order mark.
    Begin,
    Header,
    Rows,
    /// The header cannot be used; the rest is skipped.
    Dead,
}

impl CsvExtraction {
    pub(super) fn new(options: Arc<Options>, columns: Columns) -> Self {
        let raw = Vec::new();
        let fields = Vec::new();
        let rows = Vec::new();
        Self {
            options,
            columns,
            raw,
            fields,
            rows,
            mapping: Mapping::new(),
            payload: None,
        }
    }

    fn open(&mut self, head: &PayloadHead) -> Result<Payload> {
        let at = self.raw.len();
        Ok(Payload {
            ordinal: head.ordinal,
            splitter: Splitter::new(self.options.dialect, self.options.skip_lines, at),
            utf16: Utf16::default(),
            stage: Stage::Begin,
            mark: (at, 0),
            preamble: Vec::new(),
            file: head.name.clone(),
            names: Vec::new(),
            width: 0,
            records: 0,
            skips: head.skips()?,
        })
    }

    fn take(
        &mut self,
        head: &Arc<PayloadHead>,
        bytes: &[u8],
        last: bool,
        out: &mut Extracted,
    ) -> Result<()> {
        let mut payload = match self.payload.take() {
            Some(payload) if payload.ordinal == head.ordinal => payload,
            _ => {
                let mut payload = self.open(head)?;
                if carry::goes_on(head) {
                    self.go_on(&mut payload, Carry::of(head)?, out)?;
                }
                payload
            }
        };
        if payload.stage != Stage::Dead {
            self.append(&mut payload, bytes, last);
            self.split(&mut payload, last, out)?;
        }
        if !last {
            self.payload = Some(payload);
        } else if self.raw.len() >= BATCH_BYTES || self.is_learning() {
            self.build(None, out)?;
        }
        Ok(())
    }

    /// Resumes a file in its middle, where there is no header and no byte order mark.
    fn go_on(
        &mut self,
        payload: &mut Payload,
        carry: Option<Carry>,
        out: &mut Extracted,
    ) -> Result<()> {
        let begin = payload.mark.0;
        let Some(carry) = carry else {
            if self.options.header {
                let reason = "the payload is the second part of a file whose header is unknown";
                let place = (begin, begin, 1);
                self.refuse_payload(payload, place, "header_lost", reason.to_owned(), out);
            }
            return Ok(());
        };
        let mapping = self.columns.map(&carry.names)?;
        self.switch(mapping, out)?;
        payload.splitter = Splitter::new(self.options.dialect, 0, begin).on_line(carry.line);
        payload.preamble = self.header_line();
        payload.stage = Stage::Rows;
        payload.width = carry.names.len();
        payload.names = carry.names;
        Ok(())
    }

    /// The state for the next part of the open file, if any.
    fn carry(&self) -> Option<Carry> {
        let payload = self.payload.as_ref()?;
        (payload.stage == Stage::Rows).then(|| Carry {
            file: payload.file.clone(),
            names: payload.names.clone(),
            line: payload.splitter.line(),
        })
    }

    fn append(&mut self, payload: &mut Payload, bytes: &[u8], last: bool) {
        if self.options.encoding == Encoding::Utf16 {
            payload.utf16.push(bytes, &mut self.raw);
            if last {
                payload.utf16.finish(&mut self.raw);
            }
        } else {
            self.raw.extend_from_slice(bytes);
        }
        let begin = payload.mark.0;
        if payload.stage == Stage::Begin && (last || self.raw.len() - begin >= BOM.len()) {
            payload.stage = Stage::Header;
            if !self.options.encoding.is_single_byte() && self.raw[begin..].starts_with(BOM) {
                payload.splitter = Splitter::new(
                    self.options.dialect,
                    self.options.skip_lines,
                    begin + BOM.len(),
                );
            }
        }
    }

    fn split(&mut self, payload: &mut Payload, last: bool, out: &mut Extracted) -> Result<()> {
        if payload.stage == Stage::Begin {
            return Ok(());
        }
        loop {
            match payload.splitter.next(&self.raw, &mut self.fields, last) {
                Scan::More => break,
                Scan::Record { start, end, line } => {
                    self.record(payload, (start, end, line), out)?;
                }
                Scan::Bad {
                    start,
                    end,
                    line,
                    code,
                    reason,
                } => {
                    let is_header = payload.stage == Stage::Header && self.options.header;
                    let fault = broken_header_fault(&self.raw[start..end]).filter(|_| is_header);
                    let (code, reason) = fault.unwrap_or((code, reason));
                    let reason = format!("line {line}: {reason}");
                    if is_header {
                        self.refuse_payload(payload, (start, end, line), code, reason, out);
                    } else {
                        payload.records += 1;
                        let refusal = Refusal::of_piece(code, reason);
                        self.refuse(payload, (start, end, line), refusal, out);
                    }
                }
            }
            if payload.stage == Stage::Dead {
                return self.give_up(payload, out);
            }
            let held = payload.splitter.keep_from();
            if self.rows.len() >= batch_rows(payload.width) || held >= BATCH_BYTES {
                self.build(Some(payload), out)?;
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        payload: &mut Payload,
        place: (usize, usize, u64),
        out: &mut Extracted,
    ) -> Result<()> {
        let is_blank = place.0 == place.1;
        if is_blank && (payload.stage == Stage::Header || payload.width != 1) {
            self.fields.truncate(payload.splitter.first_field());
            return Ok(());
        }
        if payload.stage == Stage::Header {
            let is_header = self.header(payload, place, out)?;
            if is_header || payload.stage == Stage::Dead {
                return Ok(());
            }
        }
        self.row(payload, place, out);
        Ok(())
    }

    /// Reads the header, or makes one up; returns whether the record was the header.
    fn header(
        &mut self,
        payload: &mut Payload,
        (start, end, line): (usize, usize, u64),
        out: &mut Extracted,
    ) -> Result<bool> {
        let options = Arc::clone(&self.options);
        let first = payload.splitter.first_field();
        let count = self.fields.len() - first;
        let names = if count > self.columns.count_max() {
            let max = self.columns.count_max();
            Err((
                "too_many_columns",
                format!("line {line}: the header has {count} columns, more than the {max} allowed"),
            ))
        } else {
            self.names(first, line)
        };
        let names = match names {
            Ok(names) => names,
            Err((code, reason)) => {
                self.refuse_payload(payload, (start, end, line), code, reason, out);
                return Ok(false);
            }
        };
        let mapping = match self.columns.map(&names) {
            Err(error) if error.code() == "too_many_columns" => {
                let reason = error.message().to_owned();
                self.refuse_payload(payload, (start, end, line), "too_many_columns", reason, out);
                return Ok(false);
            }
            mapping => mapping?,
        };
        payload.stage = Stage::Rows;
        payload.width = names.len();
        payload.names = names;
        if options.header {
            let end = end.min(start + PREAMBLE_BYTES_MAX);
            let blank_lines = "\n".repeat(
                usize::try_from(options.skip_lines)
                    .unwrap_or(0)
                    .min(PREAMBLE_BYTES_MAX),
            );
            payload.preamble = [blank_lines.as_bytes(), &self.raw[start..end], b"\n"].concat();
        }
        self.switch(mapping, out)?;
        if options.header {
            self.fields.truncate(payload.splitter.first_field());
        }
        Ok(options.header)
    }

    /// Whether a column of the rows held has no type yet. Types are learned from one payload at a time: the type of a
    /// column must not depend on which payloads happen to be read together, or a rebuilt table would have others.
    fn is_learning(&self) -> bool {
        self.has_untyped(&self.mapping)
    }

    fn has_untyped(&self, mapping: &[usize]) -> bool {
        mapping.iter().any(|column| {
            let column = &self.columns.list[*column];
            column.kind.is_none() && !column.refused
        })
    }

    /// Rows of another mapping are returned first.
    fn switch(&mut self, mapping: Mapping, out: &mut Extracted) -> Result<()> {
        let is_other = mapping != self.mapping || self.has_untyped(&mapping);
        if is_other && !self.rows.is_empty() {
            // The record in progress keeps its position: only the rows go.
            self.batch(out)?;
        }
        self.mapping = mapping;
        Ok(())
    }

    /// Names of the columns of this file.
    fn names(&self, first: usize, line: u64) -> Result<Vec<String>, (&'static str, String)> {
        let options = &self.options;
        let fields = &self.fields[first..];
        let begin = fields.first().map_or(0, |field| field.start as usize);
        if options.encoding.is_single_byte() && self.raw[begin..].starts_with(BOM) {
            return Err(marked_as_utf8(line));
        }
        if let Some(names) = &options.columns {
            if options.header && names.len() != fields.len() {
                let reason = format!(
                    "line {line}: the header has {} columns, `columns` has {}",
                    fields.len(),
                    names.len()
                );
                return Err(("header_mismatch", reason));
            }
            return Ok(names.clone());
        }
        if !options.header {
            return Ok((1..=fields.len()).map(|n| format!("column_{n}")).collect());
        }
        let texts: Option<Vec<String>> = fields.iter().map(|field| self.text(field)).collect();
        let folded = |text: String| options.case.apply(&text).into_owned();
        let texts = texts.map(|texts| texts.into_iter().map(folded));
        let names = header_names(texts.ok_or_else(|| not_utf8(&self.raw[begin..], line))?);
        let is_quoted = fields.first().is_some_and(|field| field.quoted);
        match header_fault(&names, is_quoted, options.dialect.delimiter) {
            None => Ok(names),
            Some((code, reason)) => Err((code, format!("line {line}: {reason}"))),
        }
    }

    fn text(&self, field: &Field) -> Option<String> {
        let bytes = &self.raw[field.start as usize..field.end as usize];
        let text = match self.options.encoding {
            encoding if encoding.is_single_byte() => encoding.decode(bytes),
            _ => std::str::from_utf8(bytes).ok()?.to_owned(),
        };
        if !field.escaped {
            return Some(text);
        }
        let mut meant = String::new();
        unescape(&text, &self.options.dialect, &mut meant);
        Some(meant)
    }

    fn row(
        &mut self,
        payload: &mut Payload,
        (start, end, line): (usize, usize, u64),
        out: &mut Extracted,
    ) {
        let ordinal = payload.records;
        payload.records += 1;
        let first = payload.splitter.first_field();
        if payload.skips.iter().any(|range| range.contains(&ordinal)) {
            self.fields.truncate(first);
            return;
        }
        if let Some(count) = self.count(payload, first) {
            let small = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
            let offset = self.offset(payload, start);
            let length = self.options.encoding.source_bytes(&self.raw[start..end]);
            self.rows.push(Row {
                first: small(first),
                count: small(count),
                start: small(start),
                end: small(end),
                payload: payload.ordinal,
                offset,
                length: u32::try_from(length).unwrap_or(u32::MAX),
                line,
            });
            return;
        }
        let count = self.fields.len() - first;
        let reason = format!(
            "line {line}: the record has {count} fields, the header {}",
            payload.width
        );
        self.fields.truncate(first);
        let refusal = Refusal::of_piece("ragged_row", reason);
        self.refuse(payload, (start, end, line), refusal, out);
    }

    /// The number of fields of the record that count; `None` when it is ragged.
    fn count(&self, payload: &Payload, first: usize) -> Option<usize> {
        let fields = &self.fields[first..];
        match self.options.ragged {
            _ if fields.len() == payload.width => Some(payload.width),
            Ragged::Quarantine => None,
            Ragged::Fill if fields.len() < payload.width => Some(fields.len()),
            // Empty fields at the end of a line.
            Ragged::Fill => fields[payload.width..]
                .iter()
                .all(|field| field.start == field.end)
                .then_some(payload.width),
        }
    }

    /// The position in the payload of a position in the buffer, which never goes back.
    fn offset(&self, payload: &mut Payload, at: usize) -> u64 {
        let (from, offset) = payload.mark;
        let encoding = self.options.encoding;
        let offset = match at.checked_sub(from) {
            Some(_) => offset + encoding.source_bytes(&self.raw[from..at]),
            None => return offset.saturating_sub(encoding.source_bytes(&self.raw[at..from])),
        };
        payload.mark = (at, offset);
        offset
    }

    /// Hands on the rows of earlier payloads and drops the text of this one; the rest of it is not read.
    fn give_up(&mut self, payload: &mut Payload, out: &mut Extracted) -> Result<()> {
        self.build(None, out)?;
        payload.mark.0 = 0;
        Ok(())
    }

    /// Returns the rows that are held and releases their text.
    fn build(&mut self, payload: Option<&mut Payload>, out: &mut Extracted) -> Result<()> {
        self.batch(out)?;
        let Some(payload) = payload else {
            self.raw.clear();
            self.fields.clear();
            return Ok(());
        };
        let keep = payload.splitter.keep_from();
        let offset = self.offset(payload, keep);
        self.raw.drain(..keep);
        let settled = payload.splitter.settled_fields(self.fields.len());
        self.fields.drain(..settled);
        for field in &mut self.fields {
            field.start -= u32::try_from(keep).unwrap_or(0);
            field.end -= u32::try_from(keep).unwrap_or(0);
        }
        payload.mark = (0, offset);
        payload.splitter.shift(keep);
        Ok(())
    }

    /// Turns the rows into a batch; their text and fields stay.
    fn batch(&mut self, out: &mut Extracted) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let end = rows.last().map_or(0, |row| row.end as usize);
        let pristine = self.originals(&rows);
        let mut problems = problems::invalid(&mut self.raw[..end], &rows, self.options.encoding);
        let options = &self.options;
        let place = (&self.raw[..end], self.fields.as_slice(), rows.as_slice());
        let texts = Texts::new(place, options);
        let learned = self.columns.list.clone();
        let mut built = batch::build(&texts, &self.mapping, &mut self.columns, &mut problems)?;
        while !problems.is_empty() && self.columns.list != learned {
            // Nothing is learned from rejected rows: the types are learned again from the remaining ones.
            self.columns.list.clone_from(&learned);
            let known = problems.len();
            built = batch::build_without(&texts, &self.mapping, &mut self.columns, &mut problems)?;
            if problems.len() == known {
                break;
            }
        }
        out.batches.extend(built);
        self.refuse_rows(&rows, problems, pristine, out);
        Ok(())
    }

    /// A copy of the text of all rows, when some of it is invalid and will be blanked.
    fn originals(&self, rows: &[Row]) -> Option<Vec<u8>> {
        let end = rows.last().map_or(0, |row| row.end as usize);
        let raw = &self.raw[..end];
        let blanked = !self.options.encoding.is_single_byte() && std::str::from_utf8(raw).is_err();
        blanked.then(|| raw.to_vec())
    }
}

impl Extraction for CsvExtraction {
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        for piece in bytes.chunks(PUSH_BYTES_MAX) {
            self.take(head, piece, false, out)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        broken: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()> {
        let Some(error) = broken else {
            return self.take(head, &[], true, out);
        };
        // The record at the break is incomplete; it is rejected with the break.
        let mut payload = match self.payload.take() {
            Some(payload) if payload.ordinal == head.ordinal => payload,
            _ => self.open(head)?,
        };
        // Its header was rejected, and with it the whole payload.
        if payload.stage == Stage::Dead {
            return Ok(());
        }
        let settled = payload.splitter.settled_fields(self.fields.len());
        self.fields.truncate(settled);
        let start = payload.splitter.keep_from();
        let end = self.raw.len();
        let line = payload.splitter.line();
        let place = (start.min(end), end, line);
        let reason = error.to_string();
        let refusal = Refusal {
            reach: Reach::Rest,
            code: error.code(),
            reason,
        };
        self.refuse(&mut payload, place, refusal, out);
        Ok(())
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        let mut payload = self.payload.take();
        let read = payload
            .as_mut()
            .filter(|payload| payload.stage != Stage::Dead);
        self.build(read, out)?;
        self.payload = payload;
        Ok(())
    }

    fn is_between_records(&self) -> bool {
        let open = |payload: &Payload| {
            payload.stage == Stage::Rows && payload.splitter.is_between_records(self.raw.len())
        };
        self.payload.as_ref().is_none_or(open)
    }

    fn carried(&mut self, head: &PayloadHead) -> Option<(String, String)> {
        let attribute = self.columns.carry.as_ref()?.attribute_for(head)?;
        self.columns.carry = None;
        Some(attribute)
    }

    fn pending_rows(&self) -> u64 {
        self.rows.len() as u64
    }

    fn contract(&self) -> Contract {
        let carry = self.carry().or_else(|| self.columns.carry.clone());
        self.columns.contract(carry)
    }
}
