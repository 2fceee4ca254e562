//! The layout of a CSV text, by its beginning: delimiter, quote, lines above the header, and whether there is one.
//!
//! A guess that is written into a pipeline file. Lines are those of the text: a line end inside of quotes is taken for one.

/// Delimiters that are tried.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// Lines that are read.
const LINES_MAX: usize = 500;

/// Most lines above the header.
const TITLE_LINES_MAX: usize = 30;

/// Lines of the table, in percent, that have as many fields as the header.
const EVEN_LINES_MIN: usize = 90;

/// How a CSV text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CsvLayout {
    pub(super) delimiter: char,
    /// Whether fields are in single quotes.
    pub(super) is_single_quoted: bool,
    /// Lines above the header.
    pub(super) skip_lines: usize,
    pub(super) header: bool,
}

impl CsvLayout {
    /// The layout of a text with this delimiter, or the most likely one; `None` for a single column.
    pub(super) fn of(sample: &[u8], delimiter: Option<char>) -> Option<Self> {
        let text = String::from_utf8_lossy(sample);
        let mut lines: Vec<&str> = text.lines().take(LINES_MAX).collect();
        // The sample may end within a line.
        if lines.len() > 3 && !text.ends_with('\n') {
            lines.pop();
        }
        let tried = delimiter.map_or(DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
        let is_single_quoted = tried.iter().any(|tried| are_single_quoted(&lines, *tried));
        let quote = if is_single_quoted { '\'' } else { '"' };
        let counted = |delimiter: &char| CountedLines::new(&lines, *delimiter, quote);
        let counted: Vec<CountedLines<'_>> = tried.iter().map(counted).collect();
        let first = counted
            .iter()
            .filter(|lines| lines.first() > 0)
            .max_by_key(|lines| lines.first());
        let is_even = |lines: &&CountedLines<'_>| lines.begins_with_header();
        let table = match first.filter(is_even) {
            Some(even) => Some((0, even)),
            None => {
                let titled = counted
                    .iter()
                    .filter_map(|lines| Some((lines.header()?, lines)));
                let titled = titled.max_by_key(|(_, lines)| lines.usual());
                titled.or_else(|| first.map(|first| (0, first)))
            }
        };
        let alone = delimiter.and(counted.first()).map(|lines| (0, lines));
        let (skip_lines, table) = table.or(alone)?;
        Some(Self {
            delimiter: table.delimiter,
            is_single_quoted,
            skip_lines,
            header: has_header(&lines[skip_lines.min(lines.len())..], table.delimiter),
        })
    }
}

/// The lines of a text with the number of delimiters in each.
struct CountedLines<'a> {
    lines: &'a [&'a str],
    delimiter: char,
    counts: Vec<usize>,
}

impl<'a> CountedLines<'a> {
    fn new(lines: &'a [&'a str], delimiter: char, quote: char) -> Self {
        let count = |line: &&str| {
            let mut is_quoted = false;
            let mut is_outside = |c: &char| {
                is_quoted ^= *c == quote;
                *c == delimiter && !is_quoted
            };
            line.chars().filter(|c| is_outside(c)).count()
        };
        Self {
            lines,
            delimiter,
            counts: lines.iter().map(count).collect(),
        }
    }

    /// The count of the first line.
    fn first(&self) -> usize {
        self.filled(0).first().map_or(0, |line| self.counts[*line])
    }

    fn begins_with_header(&self) -> bool {
        let filled = self.filled(0);
        let is_header = |line: &usize| self.counts[*line] == self.usual() && !self.is_title(*line);
        filled.first().is_some_and(is_header) && self.are_even(&filled)
    }

    /// Whether most of these lines have as many fields.
    fn are_even(&self, lines: &[usize]) -> bool {
        let usual = self.usual();
        let even = lines.iter().filter(|n| self.counts[**n] == usual).count();
        even * 100 >= lines.len() * EVEN_LINES_MIN
    }

    /// The count that most lines have.
    fn usual(&self) -> usize {
        let filled = self.filled(0);
        let frequency =
            |count: &usize| filled.iter().filter(|n| self.counts[**n] == *count).count();
        let counts = filled.iter().map(|n| self.counts[*n]);
        counts
            .max_by_key(|count| (frequency(count), *count))
            .unwrap_or(0)
    }

    /// The lines from this one on that are not blank.
    fn filled(&self, from: usize) -> Vec<usize> {
        let lines = from..self.lines.len();
        lines
            .filter(|n| !self.lines[*n].trim().is_empty())
            .collect()
    }

    /// The line of the header, where titles are above it.
    fn header(&self) -> Option<usize> {
        let usual = self.usual();
        let filled = self.filled(0);
        let header = filled
            .iter()
            .position(|n| self.counts[*n] == usual && !self.is_title(*n))?;
        let (titles, table) = filled.split_at(header);
        let is_table = usual > 0 && table.len() >= 2 && self.are_even(table);
        let are_titles = !titles.is_empty() && titles.iter().all(|n| self.is_title(*n));
        let at = table[0];
        (is_table && are_titles && at <= TITLE_LINES_MAX).then_some(at)
    }

    /// Whether a line has a single text, or few fields beside those of the table.
    fn is_title(&self, line: usize) -> bool {
        let fields = self.lines[line].split(self.delimiter);
        let texts = fields.filter(|field| !field.trim().trim_matches('"').is_empty());
        let usual = self.usual();
        let is_alone = texts.count() <= 1 && (usual > 1 || self.counts[line] < usual);
        is_alone || self.counts[line] * 2 < usual
    }
}

/// Whether single quotes are around fields of most lines, and double ones are not.
fn are_single_quoted(lines: &[&str], delimiter: char) -> bool {
    let between = |quote: char| format!("{quote}{delimiter}{quote}");
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    let filled = lines.iter().filter(|line| !line.trim().is_empty()).count();
    let single = count(&between('\''));
    single > 0 && single * 2 >= filled && count(&between('"')) == 0
}

/// Whether the first line holds names: not when one of its fields is a number or a date, unless all of those are years.
fn has_header(lines: &[&str], delimiter: char) -> bool {
    let Some(first) = lines.iter().find(|line| !line.trim().is_empty()) else {
        return true;
    };
    let fields = first
        .split(delimiter)
        .map(|field| field.trim().trim_matches(['"', '\'']));
    let is_value = |field: &&str| field.parse::<f64>().is_ok_and(f64::is_finite) || is_date(field);
    let values: Vec<&str> = fields.filter(is_value).collect();
    let is_year = |field: &&str| {
        field
            .parse()
            .is_ok_and(|year: u32| (1800..=2200).contains(&year))
    };
    values.is_empty() || values.len() > 1 && values.iter().all(is_year)
}

fn is_date(field: &str) -> bool {
    let date = field.get(..10).unwrap_or_default();
    date.bytes().enumerate().all(|(i, byte)| match i {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    }) && date.len() == 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(text: &str) -> Option<(char, usize, bool, bool)> {
        let layout = CsvLayout::of(text.as_bytes(), None)?;
        let CsvLayout {
            delimiter,
            is_single_quoted,
            skip_lines,
            header,
        } = layout;
        Some((delimiter, skip_lines, header, is_single_quoted))
    }

    #[test]
    fn lines_above_the_header_are_skipped() {
        for (text, expected) in [
            ("id,name\n1,a\n2,b\n", (',', 0, true, false)),
            (
                "Report of 2024\n\nid;name\n1;a\n2;b\n",
                (';', 2, true, false),
            ),
            (
                "Sales, by region\nMay\nid;name;price\n1;a;1,5\n2;b;2,5\n",
                (';', 2, true, false),
            ),
            (
                "Sales 2024;;;\n;;;\nid;name;price;note\n1;a;5;x\n",
                (';', 2, true, false),
            ),
            ("# made by x\nid\tname\n1\ta\n", ('\t', 1, true, false)),
            (
                "Report\n1,2024-01-01,5\n2,2024-01-02,6\n",
                (',', 1, false, false),
            ),
            // A header without the name of the first column, as of R, and lines of unequal length.
            ("a,b\n1,x,y\n2,x,y\n", (',', 0, true, false)),
            ("a,b,c\n1,x\n2,x\n", (',', 0, true, false)),
            (
                "id,text\n1,\"a, b\"\n2,\"c, d, e\"\n",
                (',', 0, true, false),
            ),
            ("\n\nid,name\n1,a\n", (',', 0, true, false)),
        ] {
            assert_eq!(layout(text), Some(expected), "{text}");
        }
        assert_eq!(layout("one column\nof text\n"), None);
    }

    #[test]
    fn single_quotes_are_known() {
        for (text, is_single_quoted) in [
            ("'id','name'\n'1','O, b'\n'2','c'\n", true),
            ("id;name\n'1';'a'\n'2';'b'\n", true),
            ("id,name\n1,it's\n2,'so' it is\n", false),
            ("\"id\",\"name\"\n\"1\",\"','\"\n", false),
        ] {
            let layout = CsvLayout::of(text.as_bytes(), None).unwrap();
            assert_eq!(layout.is_single_quoted, is_single_quoted, "{text}");
            assert!(layout.header, "{text}");
        }
    }
}
