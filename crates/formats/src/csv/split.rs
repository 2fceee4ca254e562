//! Bytes to records and fields: the CSV grammar, pushed.
//!
//! Works on a growing buffer; nothing is copied and no byte is read twice, however small the pieces are. Stricter than most
//! readers, because a guess loses data: a quote that never closes and text after a closing quote are [`Scan::Bad`]. Then
//! the first line of the corrupt record is skipped and reading resumes at the line after it, so that one stray quote costs
//! one line and not the rest of the file.

use memchr::memchr2;

use super::dialect::Dialect;

/// Longest record; a longer one is rejected. Bounds the memory of a quote that never closes.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// Most fields of one record; beyond it the line is rejected.
pub(super) const FIELDS_MAX: usize = 20_000;

/// Place of a field in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) quoted: bool,
    /// Holds doubled quotes or escapes.
    pub(super) escaped: bool,
}

/// The result of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scan {
    /// The buffer is used up.
    More,
    /// A record, without its line end; its fields were added.
    Record { start: usize, end: usize, line: u64 },
    /// A piece that is not a record; no fields were added.
    Bad {
        start: usize,
        end: usize,
        line: u64,
        code: &'static str,
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RecordStart,
    /// To the end of the line: a comment, or the rest of a rejected line.
    Skip,
    FieldStart,
    Plain,
    Quoted,
    AfterQuote,
    /// To the end of the first line of a rejected record.
    Bad,
}

/// The position of the scan in the buffer.
#[derive(Debug)]
pub(super) struct Splitter {
    dialect: Dialect,
    /// Bytes at which an unquoted field may end.
    ends: [bool; 256],
    state: State,
    pos: usize,
    record_start: usize,
    /// Fields that were in the list before this record.
    fields_before: usize,
    field_start: usize,
    quote_end: usize,
    escaped: bool,
    /// 1-based line that the record begins on.
    line: u64,
    /// The byte before was a carriage return that ended a line.
    after_return: bool,
    /// The line end of the last record is still to come.
    owes_line_end: bool,
    /// Lines to skip before the first record.
    skip_lines: u64,
    /// Why the record in [`State::Bad`] is rejected.
    problem: (&'static str, String),
}

impl Splitter {
    /// Begins at `pos` of the buffer.
    pub(super) fn new(dialect: Dialect, skip_lines: u64, pos: usize) -> Self {
        let mut ends = [false; 256];
        for byte in [dialect.delimiter, b'\n', b'\r'] {
            ends[usize::from(byte)] = true;
        }
        let state = if skip_lines > 0 {
            State::Skip
        } else {
            State::RecordStart
        };
        Self {
            dialect,
            ends,
            state,
            pos,
            record_start: pos,
            fields_before: 0,
            field_start: pos,
            quote_end: pos,
            escaped: false,
            line: 1,
            after_return: false,
            owes_line_end: false,
            skip_lines: skip_lines.saturating_sub(1),
            problem: ("", String::new()),
        }
    }

    /// Starts in the middle of an input, on this line.
    pub(super) fn on_line(self, line: u64) -> Self {
        Self { line, ..self }
    }

    /// Whether the `length` bytes of the buffer end between two records.
    pub(super) fn is_between_records(&self, length: usize) -> bool {
        self.state == State::RecordStart && self.pos == length
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Where the record or comment in progress begins; between records, the position of the scan.
    pub(super) fn boundary(&self) -> usize {
        match self.state {
            State::RecordStart => self.pos,
            _ => self.record_start,
        }
    }

    /// First byte of the buffer that is still needed.
    pub(super) fn keep_from(&self) -> usize {
        if matches!(self.state, State::RecordStart | State::Skip) {
            self.pos
        } else {
            self.record_start
        }
    }

    /// Line that the next record begins on.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The first `bytes` of the buffer are gone; `fields` now holds only those of the record in progress.
    pub(super) fn shift(&mut self, bytes: usize) {
        self.pos -= bytes;
        for place in [
            &mut self.record_start,
            &mut self.field_start,
            &mut self.quote_end,
        ] {
            *place = place.saturating_sub(bytes);
        }
        self.fields_before = 0;
    }

    /// Where the fields of the record that was just found begin in the list.
    pub(super) fn first_field(&self) -> usize {
        self.fields_before
    }

    /// The number of `count` fields that belong to records found before, not to the one in progress.
    pub(super) fn settled_fields(&self, count: usize) -> usize {
        if matches!(self.state, State::RecordStart | State::Skip) {
            count
        } else {
            self.fields_before
        }
    }

    /// The next record of `raw`; `last`: nothing follows.
    pub(super) fn next(&mut self, raw: &[u8], fields: &mut Vec<Field>, last: bool) -> Scan {
        loop {
            let Some(&byte) = raw.get(self.pos) else {
                return self.exhausted(raw, fields, last);
            };
            match self.state {
                State::Bad => match self.bad(raw, last) {
                    Some(scan) => return scan,
                    None => return Scan::More,
                },
                State::RecordStart => {
                    if let Some(blank) = self.record_start(byte, fields) {
                        return blank;
                    }
                }
                State::Skip => self.skip(raw),
                State::FieldStart => self.begin_field(byte),
                State::Plain => {
                    let rest = &raw[self.pos..];
                    let length = rest.iter().position(|byte| self.ends[usize::from(*byte)]);
                    self.pos += length.unwrap_or(rest.len());
                    if length.is_some() && self.field(raw, self.pos, false, fields) {
                        return self.record(raw, fields);
                    }
                }
                State::Quoted => {
                    if !self.quoted(raw, last) {
                        return self.exhausted(raw, fields, last);
                    }
                }
                State::AfterQuote => match self.after_quote(byte) {
                    AfterQuote::GoOn => {}
                    AfterQuote::End => {
                        if self.field(raw, self.quote_end, true, fields) {
                            return self.record(raw, fields);
                        }
                    }
                    AfterQuote::Text => {
                        let reason = "text follows a closing quote".to_owned();
                        self.give_up(fields, "text_after_quote", reason);
                    }
                },
            }
            let open = self.state == State::FieldStart;
            if open && fields.len() - self.fields_before > FIELDS_MAX {
                let reason = format!("the record has more than {FIELDS_MAX} fields");
                self.give_up(fields, "too_many_fields", reason);
            }
        }
    }

    /// Starts a record; returns one for a blank line, where those are records.
    fn record_start(&mut self, byte: u8, fields: &mut Vec<Field>) -> Option<Scan> {
        match byte {
            b'\n' | b'\r' => {
                let is_second_half = byte == b'\n' && self.after_return;
                let ends_record = std::mem::take(&mut self.owes_line_end) || is_second_half;
                let is_record = self.dialect.blank_records && !ends_record;
                let blank = is_record.then(|| self.blank_record(fields));
                self.line_end(byte);
                return blank;
            }
            byte => {
                self.after_return = false;
                self.record_start = self.pos;
                self.fields_before = fields.len();
                let comment = Some(byte) == self.dialect.comment;
                self.state = if comment {
                    State::Skip
                } else {
                    State::FieldStart
                };
            }
        }
        None
    }

    fn blank_record(&mut self, fields: &mut Vec<Field>) -> Scan {
        self.record_start = self.pos;
        self.fields_before = fields.len();
        let at = u32::try_from(self.pos).unwrap_or(u32::MAX);
        fields.push(Field {
            start: at,
            end: at,
            quoted: false,
            escaped: false,
        });
        Scan::Record {
            start: self.pos,
            end: self.pos,
            line: self.line,
        }
    }

    /// Skips one `
    /// `, `\r` or the second half of `\r
    /// `.
    fn line_end(&mut self, byte: u8) {
        self.pos += 1;
        if byte == b'\r' || !self.after_return {
            self.line += 1;
        }
        self.after_return = byte == b'\r';
    }

    fn skip(&mut self, raw: &[u8]) {
        let rest = &raw[self.pos..];
        if self.after_return && rest[0] == b'\n' {
            // The line feed of a line that ended with the byte before.
            self.line_end(b'\n');
            return;
        }
        self.after_return = false;
        match memchr2(b'\n', b'\r', rest) {
            None => self.pos = raw.len(),
            Some(length) => {
                self.pos += length;
                self.line_end(raw[self.pos]);
                if self.skip_lines > 0 {
                    self.skip_lines -= 1;
                } else {
                    self.state = State::RecordStart;
                }
            }
        }
    }

    fn begin_field(&mut self, byte: u8) {
        self.escaped = false;
        if Some(byte) == self.dialect.quote {
            self.pos += 1;
            self.field_start = self.pos;
            self.state = State::Quoted;
        } else if self.dialect.trim && is_blank(byte) && byte != self.dialect.delimiter {
            self.pos += 1;
        } else {
            self.field_start = self.pos;
            self.state = State::Plain;
        }
    }

    /// Continues inside quotes; `false` when the buffer ends before it is clear how.
    fn quoted(&mut self, raw: &[u8], last: bool) -> bool {
        let quote = self.dialect.quote.unwrap_or(b'"');
        let escape = self.dialect.escape.unwrap_or(quote);
        let Some(length) = memchr2(quote, escape, &raw[self.pos..]) else {
            self.pos = raw.len();
            return true;
        };
        self.pos += length;
        if raw[self.pos] == quote {
            self.quote_end = self.pos;
            self.pos += 1;
            self.state = State::AfterQuote;
        } else if self.pos + 1 < raw.len() {
            self.escaped = true;
            self.pos += 2;
        } else if last {
            self.pos += 1;
        } else {
            return false;
        }
        true
    }

    fn after_quote(&mut self, byte: u8) -> AfterQuote {
        if byte == self.dialect.delimiter || byte == b'\n' || byte == b'\r' {
            AfterQuote::End
        } else if Some(byte) == self.dialect.quote && self.dialect.escape.is_none() {
            self.escaped = true;
            self.pos += 1;
            self.state = State::Quoted;
            AfterQuote::GoOn
        } else if self.dialect.trim && is_blank(byte) {
            self.pos += 1;
            AfterQuote::GoOn
        } else {
            AfterQuote::Text
        }
    }

    /// A field ends at `end`, and its delimiter or line end is at `pos`. Returns whether the record ends too.
    fn field(&mut self, raw: &[u8], end: usize, quoted: bool, fields: &mut Vec<Field>) -> bool {
        self.push_field(raw, end, quoted, fields);
        if raw[self.pos] != self.dialect.delimiter {
            return true;
        }
        self.pos += 1;
        self.state = State::FieldStart;
        // A delimiter as the last byte of the input still leaves an empty field.
        self.field_start = self.pos;
        false
    }

    fn push_field(&self, raw: &[u8], end: usize, quoted: bool, fields: &mut Vec<Field>) {
        let mut end = end;
        if self.dialect.trim && !quoted {
            end -= raw[self.field_start..end]
                .iter()
                .rev()
                .take_while(|byte| is_blank(**byte))
                .count();
        }
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let start = place(self.field_start);
        let end = place(end);
        fields.push(Field {
            start,
            end,
            quoted,
            escaped: quoted && self.escaped,
        });
    }

    /// The record ends at `pos`, at a line end or the end of the input.
    fn record(&mut self, raw: &[u8], fields: &mut Vec<Field>) -> Scan {
        let start = self.record_start;
        let end = self.pos;
        let line = self.line;
        if fields[self.fields_before..]
            .iter()
            .any(|field| field.quoted)
        {
            self.line += memchr::memchr_iter(b'\n', &raw[start..end]).count() as u64;
        }
        self.state = State::RecordStart;
        self.owes_line_end = true;
        if end - start > RECORD_BYTES_MAX {
            fields.truncate(self.fields_before);
            return Scan::Bad {
                start,
                end,
                line,
                code: "record_too_long",
                reason: too_long_reason(),
            };
        }
        Scan::Record { start, end, line }
    }

    fn exhausted(&mut self, raw: &[u8], fields: &mut Vec<Field>, last: bool) -> Scan {
        let open = !matches!(self.state, State::RecordStart | State::Skip);
        let too_long = open && self.pos - self.record_start > RECORD_BYTES_MAX;
        if too_long && self.state != State::Bad {
            self.give_up(fields, "record_too_long", too_long_reason());
        }
        if !open || !(last || too_long) {
            return Scan::More;
        }
        if self.state == State::Quoted {
            self.give_up(
                fields,
                "unbalanced_quote",
                "a quote is never closed".to_owned(),
            );
        }
        match self.state {
            State::Bad => return self.bad(raw, last).unwrap_or(Scan::More),
            State::AfterQuote => self.push_field(raw, self.quote_end, true, fields),
            _ => {
                self.field_start = self.field_start.max(self.record_start);
                self.push_field(raw, self.pos.max(self.field_start), false, fields);
            }
        }
        self.record(raw, fields)
    }

    /// Rejects the first line of the record.
    fn give_up(&mut self, fields: &mut Vec<Field>, code: &'static str, reason: String) {
        fields.truncate(self.fields_before);
        self.problem = (code, reason);
        self.state = State::Bad;
        self.pos = self.record_start;
    }

    /// Continues after the rejected line, once its end is in the buffer.
    fn bad(&mut self, raw: &[u8], last: bool) -> Option<Scan> {
        let found = memchr2(b'\n', b'\r', &raw[self.pos..]);
        self.pos += found.unwrap_or(raw.len() - self.pos);
        let start = self.record_start;
        let end = self.pos;
        let line = self.line;
        if found.is_none() && !last && end - start <= RECORD_BYTES_MAX {
            return None;
        }
        self.after_return = false;
        self.state = State::Skip;
        let (code, reason) = std::mem::take(&mut self.problem);
        Some(Scan::Bad {
            start,
            end,
            line,
            code,
            reason,
        })
    }
}

enum AfterQuote {
    GoOn,
    End,
    Text,
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn too_long_reason() -> String {
    format!(
        "the record is longer than {} MiB; is a quote never closed?",
        RECORD_BYTES_MAX >> 20
    )
}
