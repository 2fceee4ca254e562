//! Messages to people, on stderr; data goes to stdout through [`crate::output`]. Where the log is JSON, they are lines
//! of the log.

use std::fmt::Display;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use forebay_core::Error;

use crate::log;
use crate::output::visible::visible_text;

const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// One line to stderr; control characters in it are shown. A closed stderr is nobody's error.
pub(crate) fn line(text: impl Display) {
    if log::is_json() {
        return tracing::info!("{text}");
    }
    print(visible_text(text));
}

/// Text that may contain our own colours.
fn print(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A heading of a step.
pub(crate) fn heading(text: impl Display) {
    if log::is_json() {
        return tracing::info!("{text}");
    }
    print(format_args!("{CYAN}{}{CYAN:#}", visible_text(text)));
}

pub(crate) fn good(text: impl Display) {
    if log::is_json() {
        return tracing::info!("{text}");
    }
    print(format_args!("{GREEN}✓{GREEN:#} {}", visible_text(text)));
}

pub(crate) fn warn(text: impl Display) {
    if log::is_json() {
        return tracing::warn!("{text}");
    }
    print(format_args!(
        "{YELLOW}warning:{YELLOW:#} {}",
        visible_text(text)
    ));
}

/// An error with its code and hint.
pub(crate) fn error(error: &Error) {
    if log::is_json() {
        return tracing::error!(code = error.code(), hint = error.hint(), "{error}");
    }
    print(format_args!(
        "{RED}error[{}]:{RED:#} {}",
        error.code(),
        visible_text(error)
    ));
    if let Some(hint) = error.hint() {
        print(format_args!("  {CYAN}help:{CYAN:#} {}", visible_text(hint)));
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

/// `1 record`, `2 records`: a count with its noun, which takes an `s`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Bytes with a binary unit and one decimal: `1.4 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{number} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `850ms`, `12.3s`, `4m 05s`.
pub(crate) fn duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 1.0 => format!("{}ms", duration.as_millis()),
        s if s < 60.0 => format!("{s:.1}s"),
        _ => format!(
            "{}m {:02}s",
            duration.as_secs() / 60,
            duration.as_secs() % 60
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (count(7), count(1_707), count(1_234_567)),
            ("7".into(), "1,707".into(), "1,234,567".into())
        );
        assert_eq!(
            (bytes(12), bytes(1_500_000)),
            ("12 B".to_owned(), "1.4 MiB".to_owned())
        );
        assert_eq!(
            duration(std::time::Duration::from_millis(245_000)),
            "4m 05s"
        );
    }
}
