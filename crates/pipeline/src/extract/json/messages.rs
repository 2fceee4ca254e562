//! Payloads of many messages: each message is a document, or lines, of its own.

use forebay_core::Result;

use super::frame::Reader;
use super::walk::Refusal;
use crate::extract::wire::{self, Wire};

impl Reader<'_> {
    pub(super) fn message(&mut self, value: &[u8], start: u64) -> Result<()> {
        self.payload.start = start;
        if self.frames.wire == Wire::Plain {
            return self.content(value, start);
        }
        match wire::split(value) {
            Ok((_, content)) => self.content(content, start + (value.len() - content.len()) as u64),
            Err(unreadable) => {
                self.refuse(
                    Refusal::new(unreadable.code, unreadable.reason),
                    value,
                    None,
                );
                Ok(())
            }
        }
    }

    fn content(&mut self, value: &[u8], start: u64) -> Result<()> {
        self.payload.start = start;
        let (text, behind_mark) = match value.strip_prefix(b"\xEF\xBB\xBF") {
            Some(text) => (text, start + 3),
            None => (value, start),
        };
        let record = text.trim_ascii();
        if record.is_empty() {
            let refusal = Refusal::new("empty_message", "the message has no content");
            self.refuse(refusal, value, None);
            return Ok(());
        }
        if self.frames.lines {
            self.message_lines(text, behind_mark)
        } else if self.is_too_large(record) {
            Ok(())
        } else if self.frames.path.is_empty() && record[0] == b'{' {
            // The usual message; that it is one object shows when it is read.
            let before = text.len() - text.trim_ascii_start().len();
            self.record(record, behind_mark + before as u64, None)
        } else {
            self.document(text, behind_mark, None)
        }
    }

    fn message_lines(&mut self, text: &[u8], start: u64) -> Result<()> {
        let mut from = 0;
        for line in text.split(|byte| *byte == b'\n') {
            self.payload.start = start + from as u64;
            from += line.len() + 1;
            let record = line.trim_ascii();
            if record.is_empty() || self.is_too_large(record) {
                continue;
            }
            let offset = self.payload.start + (line.len() - line.trim_ascii_start().len()) as u64;
            if self.frames.path.is_empty() {
                self.record(record, offset, None)?;
            } else {
                self.document(record, offset, None)?;
            }
        }
        Ok(())
    }

    fn is_too_large(&mut self, record: &[u8]) -> bool {
        let is = record.len() > self.frames.bytes_max;
        if is {
            let (code, key) = if self.frames.lines {
                ("record_too_large", "limits.record")
            } else {
                ("document_too_large", "limits.document")
            };
            let what = format!(
                "the message has more than {} bytes: raise `{key}`",
                self.frames.bytes_max
            );
            self.refuse(Refusal::new(code, what), record, None);
        }
        is
    }
}
