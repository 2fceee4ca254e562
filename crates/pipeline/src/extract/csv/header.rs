//! The header of a file: names for its columns, and why it cannot give them.

use crate::extract::column_name::name_fault;

/// Names for the columns of a header: what is empty is called by its place, what repeats gets a number, and the lines of a name
/// that spreadsheets have broken are joined. Names that differ in
/// case only stay: the table has both, under names that every engine tells apart.
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

/// Why a header cannot name columns, as code and reason, if so. `is_quoted` tells of its first name.
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

/// A line of JSON is no header: of a file in which nothing follows it not a record would be missed.
fn json_line(names: &[String]) -> Option<(&'static str, String)> {
    let first = names.first()?;
    let is_json = ["{", "["].contains(&first.as_str())
        || ["{\"", "[{", "[\""]
            .iter()
            .any(|begin| first.starts_with(begin));
    let reason = "the first line is JSON and no header: set `extract: {json: {}}`";
    is_json.then(|| ("json_header", reason.to_owned()))
}

/// A line such as `sep=;`, by which Excel knows the delimiter, is no header.
fn separator_line(names: &[String]) -> Option<(&'static str, String)> {
    let delimiter = names.first()?.strip_prefix("sep=")?;
    let delimiter = match (names, delimiter) {
        ([_], other) if other.chars().count() == 1 => format!(" and `delimiter: \"{other}\"`"),
        // Split at the delimiter itself.
        ([_, empty], "") if empty == "column_2" => String::new(),
        _ => return None,
    };
    let reason = format!(
        "the first line is no header but tells Excel the delimiter: set `extract.csv.skip_lines: 1`{delimiter}"
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

/// Why the names of a header cannot be those of columns, if so.
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
