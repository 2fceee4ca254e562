//! Payloads of many messages: each message is a document, or lines, of its own.

use forebay_core::Result;
use forebay_core::quarantine::Extent;

use super::detect;
use super::frame::Reader;
use super::walk::Refusal;
use crate::wire;
use crate::wire::Wire;

impl Reader<'_> {
    pub(super) fn message(&mut self, value: &[u8], start: u64) -> Result<()> {
        if self.frames.wire == Wire::Plain {
            return self.content(value, start);
        }
        match wire::split(value) {
            Ok((_, content)) => self.content(content, start + (value.len() - content.len()) as u64),
            Err(unreadable) => {
                let refusal = Refusal::new(unreadable.code, unreadable.reason);
                let extent = Extent::document(start, value.len() as u64);
                self.refuse(refusal, extent, value, None);
                Ok(())
            }
        }
    }

    fn content(&mut self, value: &[u8], start: u64) -> Result<()> {
        let (text, behind_mark) = match value.strip_prefix(b"\xEF\xBB\xBF") {
            Some(text) => (text, start + 3),
            None => (value, start),
        };
        let record = text.trim_ascii();
        if record.is_empty() {
            let refusal = Refusal::new("empty_message", "the message has no content");
            let extent = Extent::document(start, value.len() as u64);
            self.refuse(refusal, extent, value, None);
            return Ok(());
        }
        let has_lines = self.frames.lines;
        let before = (text.len() - text.trim_ascii_start().len()) as u64;
        if has_lines.unwrap_or_else(|| detect::is_lines_text(text)) {
            self.message_lines(text, behind_mark)
        } else if self.is_too_large(record, behind_mark + before, false) {
            Ok(())
        } else if self.frames.path.is_empty() && record[0] == b'{' {
            // The usual message; it is checked to be one object when it is read.
            self.record(record, behind_mark + before, None)
        } else {
            let extent = Extent::document(behind_mark, text.len() as u64);
            self.document(text, behind_mark, extent, None)
        }
    }

    fn message_lines(&mut self, text: &[u8], start: u64) -> Result<()> {
        let mut from = 0;
        for line in text.split(|byte| *byte == b'\n') {
            let blank = line.len() - line.trim_ascii_start().len();
            let offset = start + (from + blank) as u64;
            from += line.len() + 1;
            let record = line.trim_ascii();
            if record.is_empty() || self.is_too_large(record, offset, true) {
                continue;
            }
            if self.frames.path.is_empty() {
                self.record(record, offset, None)?;
            } else {
                let extent = Extent::document(offset, record.len() as u64);
                self.document(record, offset, extent, None)?;
            }
        }
        Ok(())
    }

    fn is_too_large(&mut self, text: &[u8], offset: u64, is_line: bool) -> bool {
        let (max, code, key) = if is_line {
            (
                self.frames.record_bytes_max,
                "record_too_large",
                "limits.record",
            )
        } else {
            (
                self.frames.document_bytes_max,
                "document_too_large",
                "limits.document",
            )
        };
        if text.len() <= max {
            return false;
        }
        let what = format!("the message has more than {max} bytes: raise `{key}`");
        let extent = Extent::document(offset, text.len() as u64);
        self.refuse(Refusal::new(code, what), extent, text, None);
        true
    }
}
