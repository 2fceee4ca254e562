//! The header of a file: names for its columns, and why it may be invalid.

use crate::column_name::name_fault;

/// Why the header of a file whose text is UTF-8 has none: code and reason.
pub(super) fn not_utf8(header: &[u8], line: u64) -> (&'static str, String) {
    let what = match header {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            "the file is UTF-16: set `extract.csv.encoding: utf-16`"
        }
        _ => "the header is not UTF-8: set `extract.csv.encoding`, such as windows-1252",
    };
    ("invalid_utf8", format!("line {line}: {what}"))
}

/// Why a file with a byte order mark of UTF-8 is not read in an encoding of single bytes: code and reason.
pub(super) fn marked_as_utf8(line: u64) -> (&'static str, String) {
    let what = "the file begins with a UTF-8 byte order mark: set `extract.csv.encoding: utf-8`";
    ("wrong_encoding", format!("line {line}: {what}"))
}

/// Names for the columns of a header: an empty name becomes its position, a repeated one gets a number, and the lines of a
/// name broken by a spreadsheet are joined. Names that differ only in case stay: the table has both, under names that every
/// engine distinguishes.
pub(super) fn header_names(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken = std::collections::HashSet::new();
    texts
        .enumerate()
        .map(|(i, text)| {
            let lines = text.split(['\r', '\n']).map(str::trim);
            let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
            let text = lines.join(" ");
            let base = match text.trim() {
                "" => format!("column_{}", i + 1),
                text => text.to_owned(),
            };
            let numbered = (2..).map(|n| format!("{base}_{n}"));
            let mut names = std::iter::once(base.clone()).chain(numbered);
            names
                .find(|name| taken.insert(name.clone()))
                .unwrap_or(base)
        })
        .collect()
}

/// Characters of a bad name that are shown.
const NAME_SHOWN: usize = 40;

/// Delimiters that a file may have in place of the configured one.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// Why a header cannot name columns, as code and reason, if so. `is_quoted` is about its first name.
pub(super) fn header_fault(
    names: &[String],
    is_quoted: bool,
    delimiter: u8,
) -> Option<(&'static str, String)> {
    let other = || other_delimiter(names, is_quoted, delimiter);
    let bad = || bad_name(names).map(|reason| ("bad_column_name", reason));
    let json = || json_line(names).filter(|_| !is_quoted);
    let foreign = separator_line(names).or_else(json);
    foreign.or_else(other).or_else(bad)
}

/// A line of JSON is not a header: without this check a file with that single line would lose its record.
fn json_line(names: &[String]) -> Option<(&'static str, String)> {
    let first = names.first()?;
    let is_json = ["{", "["].contains(&first.as_str()) || begins_json(first.as_bytes());
    is_json.then(json_header)
}

fn begins_json(text: &[u8]) -> bool {
    let begins: [&[u8]; 3] = [b"{\"", b"[{", b"[\""];
    begins.iter().any(|begin| text.starts_with(begin))
}

fn json_header() -> (&'static str, String) {
    let reason = "the first line is JSON, not a header: set `extract: {json: {}}`";
    ("json_header", reason.to_owned())
}

/// Why the first line of a file, which is not of fields, is no header: code and reason, if its text tells.
pub(super) fn broken_header_fault(line: &[u8]) -> Option<(&'static str, String)> {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    begins_json(line.trim_ascii_start()).then(json_header)
}

/// A line such as `sep=;`, which sets Excel's delimiter, is not a header.
fn separator_line(names: &[String]) -> Option<(&'static str, String)> {
    let delimiter = names.first()?.strip_prefix("sep=")?;
    let delimiter = match (names, delimiter) {
        ([_], other) if other.chars().count() == 1 => format!(" and `delimiter: \"{other}\"`"),
        // Split at the delimiter itself.
        ([_, empty], "") if empty == "column_2" => String::new(),
        _ => return None,
    };
    let reason = format!(
        "the first line is not a header but sets Excel's delimiter: set `extract.csv.skip_lines: 1`{delimiter}"
    );
    Some(("separator_line", reason))
}

/// A file of one column whose name holds a delimiter is rather a file of that delimiter.
fn other_delimiter(
    names: &[String],
    is_quoted: bool,
    delimiter: u8,
) -> Option<(&'static str, String)> {
    let [name] = names else { return None };
    let is_other = |other: &char| *other != char::from(delimiter) && name.contains(*other);
    let other = DELIMITERS
        .into_iter()
        .find(is_other)
        .filter(|_| !is_quoted)?;
    let shown = if other == '\t' {
        "tab".to_owned()
    } else {
        other.to_string()
    };
    let begin: String = name.chars().take(NAME_SHOWN).collect();
    let reason = format!(
        "the header is one name, {begin:?}: set `extract.csv.delimiter: \"{shown}\"`, or name the column with `extract.csv.columns` if it is one"
    );
    Some(("other_delimiter", reason))
}

/// Why the names of a header are not valid column names, if so.
fn bad_name(names: &[String]) -> Option<String> {
    let faults = names.iter().map(|name| name_fault(name));
    let (at, why) = faults.enumerate().find_map(|(at, why)| Some((at, why?)))?;
    Some(format!(
        "the header's name of column {} {why}; name the columns with `extract.csv.columns`",
        at + 1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_unique() {
        let names = header_names(
            ["a", "A", "", " b ", "b", "a_2", ""]
                .map(str::to_owned)
                .into_iter(),
        );
        assert_eq!(names, ["a", "A", "column_3", "b", "b_2", "a_2", "column_7"]);
    }

    #[test]
    fn lines_of_a_name_are_joined() {
        let names = header_names(["Total\r\n Amount", "\n"].map(str::to_owned).into_iter());
        assert_eq!(names, ["Total Amount", "column_2"]);
    }

    #[test]
    fn the_line_that_tells_excel_the_delimiter_is_no_header() {
        let fault = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            header_fault(&names, false, b',')
        };
        for names in [&["sep=;"][..], &["sep=", "column_2"]] {
            let (code, reason) = fault(names).unwrap();
            assert_eq!(code, "separator_line");
            assert!(reason.contains("skip_lines: 1"), "{reason}");
        }
        assert_eq!(fault(&["sep=", "b"]), None);
    }

    #[test]
    fn a_line_of_json_is_no_header() {
        for first in ["{", "[{\"a\": 1}]", "{\"a\": 1"] {
            let names = [first.to_owned(), "b".to_owned()];
            let fault = |is_quoted| header_fault(&names, is_quoted, b',');
            assert_eq!(fault(false).map(|(code, _)| code), Some("json_header"));
            assert_eq!(fault(true), None);
        }
        assert_eq!(header_fault(&["[id]".to_owned()], false, b','), None);
    }

    #[test]
    fn a_header_of_another_delimiter_is_named() {
        let fault = |name: &str, is_quoted| header_fault(&[name.to_owned()], is_quoted, b',');
        let (code, reason) = fault("id;name", false).unwrap();
        assert_eq!(code, "other_delimiter");
        assert!(reason.contains("delimiter: \";\""), "{reason}");
        assert!(fault("id\tname", false).unwrap().1.contains("\"tab\""));
        assert_eq!(fault("id;name", true), None);
        assert_eq!(fault("name", false), None);
        let two = ["a;b", "c"].map(str::to_owned);
        assert_eq!(header_fault(&two, false, b','), None);
    }
}
