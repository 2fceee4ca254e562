//! The log for people.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::output::visible::is_hidden;

pub(super) fn layer<S>(target: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(target)
        .with_ansi(std::io::stderr().is_terminal())
        .fmt_fields(debug_fn(field).delimited(" "))
}

fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaping(writer), "{value:?}")
}

/// Passes text on with control characters escaped; a further line is indented, so that it cannot look like one of the log's own.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_hidden) {
            match part.char_indices().next_back() {
                Some((at, '\n')) => write!(self.0, "{}\n    ", &part[..at])?,
                Some((at, last)) if is_hidden(last) => {
                    self.0.write_str(&part[..at])?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        let mut text = String::new();
        write!(Escaping(&mut text), "a\r\n2026 ERROR b\u{1b}[31m\0ü").unwrap();
        write!(Escaping(&mut text), "\u{9b}31m\u{202e}\u{2066}x").unwrap();
        let (text, more) = text.split_at(text.len() - "\\u{9b}31m\\u{202e}\\u{2066}x".len());
        assert_eq!(more, "\\u{9b}31m\\u{202e}\\u{2066}x");
        assert_eq!(text, "a\\r\n    2026 ERROR b\\u{1b}[31m\\u{0}ü");
    }
}
