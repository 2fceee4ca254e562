//! `forebay init --from`: a pipeline file for a file or URL that is at hand. The guess is written into the file, where it can
//! be corrected; a run never guesses.

use std::path::Path;

use forebay_core::{Compression, Error, Result};
use forebay_formats::magic::foreign_format;
use serde::de::IgnoredAny;

use super::csv_layout::CsvLayout;
use super::records;
use super::sample::Sample;

/// A pipeline file with its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GeneratedPipeline {
    pub(super) name: String,
    pub(super) yaml: String,
}

/// Whether `from` is a URL.
pub(super) fn is_url(from: &str) -> bool {
    from.starts_with("http://") || from.starts_with("https://")
}

/// A pipeline that reads `from`: a URL, or a file or pattern relative to the working folder. `sample` is the beginning of
/// the data.
///
/// # Errors
/// `Config` `unknown_format` with the formats there are, `not_utf8`, `several_documents`; `Data` `foreign_format`.
pub(super) fn generate(from: &str, project: &Path, sample: &Sample) -> Result<GeneratedPipeline> {
    let name = pipeline_name(from);
    let text = Text::of(&sample.bytes);
    let format = Format::of_content(&sample.bytes).transpose()?;
    let separator = text.separator_line();
    let below = &text.bytes[separator..];
    let format = format.or_else(|| Format::guess(from, below, is_url(from)));
    let format = format.ok_or_else(|| {
        Error::config("unknown_format", format!("unknown format of {from}"))
            .with_hint("name it .csv, .json, .ndjson, .parquet or .avro, or write the pipeline file by hand: `forebay init`")
    })?;
    format.check_encoding(from, text.encoding)?;
    format.check_documents(from, &text.bytes)?;
    let records = match format {
        Format::Json => records::path(&text.bytes),
        _ => None,
    };
    // Of an API the source looks for the list too, to know an error in its place.
    let (source, records) = match is_url(from) {
        true => (url_source(from, sample, records.as_deref()), None),
        false => (
            format!("file: {{path: {}}}", quoted(&pattern_of(from, project))),
            records,
        ),
    };
    let yaml = format!(
        "# yaml-language-server: $schema=../pipeline.schema.json\npipeline: {name}\nsource:\n  {source}\nextract:\n  {}\nload:\n  iceberg: {{table: main.{name}}}\n",
        format.extractor(text.encoding, records.as_deref(), separator > 0)
    );
    Ok(GeneratedPipeline { name, yaml })
}

fn url_source(url: &str, sample: &Sample, records: Option<&str>) -> String {
    let mut options = vec![format!("url: {}", quoted(url))];
    options.extend(records.map(|path| format!("records: {}", quoted(path))));
    if sample.is_private {
        options.push("allow_private: true".to_owned());
    }
    let Some(paginate) = &sample.paginate else {
        return format!("http: {{{}}}", options.join(", "));
    };
    options.push(format!("paginate: {paginate}"));
    format!(
        "http: {{{}}}                      # `paginate` by the first response: compare it with the API's manual",
        options.join(", ")
    )
}

/// A sample as UTF-8, and its encoding if it has another one.
struct Text {
    bytes: Vec<u8>,
    encoding: Option<&'static str>,
}

/// UTF-16 that no setting reads.
const UTF_16_BE: &str = "utf-16be";

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of UTF-16 that show the order of bytes.
const UNITS_BYTES: usize = 4_096;

/// One in so many units of UTF-16 is a character of ASCII, such as a delimiter.
const ZERO_UNITS: usize = 16;

/// The line in which Excel writes the delimiter.
const SEPARATOR_LINE: &[u8] = b"sep=";

impl Text {
    /// Bytes of Excel's line for the delimiter, which is not the header; 0 without one.
    fn separator_line(&self) -> usize {
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        match self.bytes.starts_with(SEPARATOR_LINE) {
            true => end.map_or(0, |end| end + 1),
            false => 0,
        }
    }

    fn of(sample: &[u8]) -> Self {
        if let [0xff, 0xfe, units @ ..] = sample {
            return Self::of_utf16(units, u16::from_le_bytes);
        }
        if let [0xfe, 0xff, units @ ..] = sample {
            return Self::of_utf16(units, u16::from_be_bytes);
        }
        match zero_halves(sample) {
            [false, true] => return Self::of_utf16(sample, u16::from_le_bytes),
            [true, false] => {
                return Self {
                    encoding: Some(UTF_16_BE),
                    ..Self::of_utf16(sample, u16::from_be_bytes)
                };
            }
            _ => {}
        }
        // The sample may end within a character.
        let is_utf8 =
            std::str::from_utf8(sample).map_or_else(|error| error.error_len().is_none(), |_| true);
        Self {
            bytes: sample
                .strip_prefix(BYTE_ORDER_MARK)
                .unwrap_or(sample)
                .to_vec(),
            encoding: (!is_utf8).then_some("windows-1252"),
        }
    }

    fn of_utf16(units: &[u8], unit: fn([u8; 2]) -> u16) -> Self {
        let (units, _) = units.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|bytes| unit(*bytes)).collect();
        Self {
            bytes: String::from_utf16_lossy(&units).into_bytes(),
            encoding: Some("utf-16"),
        }
    }
}

/// Whether the first and whether the second halves of units of two bytes are often zero: those of text in UTF-16 are, in one of
/// them.
fn zero_halves(sample: &[u8]) -> [bool; 2] {
    let (units, _) = sample[..sample.len().min(UNITS_BYTES)].as_chunks::<2>();
    let are_zero = |half: usize| {
        let count = units.iter().filter(|unit| unit[half] == 0).count();
        count > 0 && count * ZERO_UNITS >= units.len()
    };
    [are_zero(0), are_zero(1)]
}

/// How a pipeline file names the file: below the project relative to it, so that the folder can be moved as a whole.
fn pattern_of(from: &str, project: &Path) -> String {
    let path = Path::new(from);
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let below = project
        .canonicalize()
        .ok()
        .and_then(|project| absolute.strip_prefix(project).ok().map(Path::to_owned));
    below.unwrap_or(absolute).to_string_lossy().into_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv(CsvLayout),
    Json,
    Lines,
    Parquet,
    Avro,
}

impl Format {
    /// By the first bytes, where they leave no doubt.
    ///
    /// Errors: `Data` `foreign_format` for a format that no extractor reads.
    fn of_content(sample: &[u8]) -> Option<Result<Self>> {
        match sample {
            [b'P', b'A', b'R', b'1', ..] => Some(Ok(Self::Parquet)),
            [b'O', b'b', b'j', 1, ..] => Some(Ok(Self::Avro)),
            _ => foreign_format(sample, Compression::None).map(Err),
        }
    }

    fn csv(sample: &[u8], delimiter: char) -> Option<Self> {
        let layout = CsvLayout::of(sample, None);
        layout
            .or_else(|| CsvLayout::of(sample, Some(delimiter)))
            .map(Self::Csv)
    }

    /// By the name, else by the first bytes; an API returns JSON.
    fn guess(from: &str, sample: &[u8], is_url: bool) -> Option<Self> {
        let path = from.split(['?', '#']).next().unwrap_or(from);
        let path = [".gz", ".zst"]
            .iter()
            .find_map(|suffix| path.strip_suffix(suffix))
            .unwrap_or(path);
        let extension = Path::new(path)
            .extension()
            .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("csv" | "txt") => Self::csv(sample, ','),
            Some("tsv" | "tab") => CsvLayout::of(sample, Some('\t')).map(Self::Csv),
            Some("ndjson" | "jsonl") => Some(Self::Lines),
            Some("json" | "geojson") => Some(json_layout(sample)),
            Some("parquet") => Some(Self::Parquet),
            Some("avro") => Some(Self::Avro),
            _ if is_url && sample.is_empty() => Some(Self::Json),
            _ => match sample.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{' | b'[') => Some(json_layout(sample)),
                _ => CsvLayout::of(sample, None).map(Self::Csv),
            },
        }
    }

    /// JSON has one encoding, and CSV all but one.
    fn check_encoding(self, from: &str, encoding: Option<&str>) -> Result<()> {
        let (encoding, what) = match (self, encoding) {
            (Self::Json | Self::Lines, Some(encoding)) => {
                (encoding, format!("{from} is not UTF-8, which JSON must be"))
            }
            (Self::Csv(_), Some(UTF_16_BE)) => (
                UTF_16_BE,
                format!("{from} is UTF-16, big-endian and without a byte order mark"),
            ),
            _ => return Ok(()),
        };
        Err(Error::config("not_utf8", what)
            .with_hint(format!("convert it: iconv -f {encoding} -t UTF-8 {from}")))
    }

    /// A document is one value: several in one file are refused when they are loaded.
    fn check_documents(self, from: &str, sample: &[u8]) -> Result<()> {
        let mut values = serde_json::Deserializer::from_slice(sample).into_iter::<IgnoredAny>();
        let is_first = self == Self::Json && matches!(values.next(), Some(Ok(_)));
        let rest = sample.get(values.byte_offset()..).unwrap_or_default();
        if !is_first || !matches!(rest.trim_ascii_start(), [b'{' | b'[', ..]) {
            return Ok(());
        }
        let what = format!("{from} has several JSON documents, which are not one on each line");
        let name = pipeline_name(from);
        Err(Error::config("several_documents", what).with_hint(format!(
            "write one on each line: jq -c . {from} > {name}.ndjson"
        )))
    }

    fn extractor(self, encoding: Option<&str>, records: Option<&str>, skips_line: bool) -> String {
        let mut options: Vec<String> = encoding
            .map(|encoding| format!("encoding: {encoding}"))
            .into_iter()
            .collect();
        match (self, records) {
            (Self::Csv(layout), _) => {
                let skipped = layout.skip_lines + usize::from(skips_line);
                options.extend((skipped > 0).then(|| format!("skip_lines: {skipped}")));
                csv_extractor(layout, options)
            }
            (Self::Json, Some(records)) => format!(
                "json: {{records: {}}}                      # the list of records in the document",
                quoted(records)
            ),
            (Self::Json, None) => "json: {}".to_owned(),
            (Self::Lines, _) => "json: {lines: true}".to_owned(),
            (Self::Parquet, _) => "parquet: {}".to_owned(),
            (Self::Avro, _) => "avro: {}".to_owned(),
        }
    }
}

fn csv_extractor(layout: CsvLayout, mut options: Vec<String>) -> String {
    if layout.is_single_quoted {
        options.insert(0, "quote: \"'\"".to_owned());
    }
    match layout.delimiter {
        ',' => {}
        '\t' => options.insert(0, "delimiter: \"\\t\"".to_owned()),
        delimiter => options.insert(0, format!("delimiter: \"{delimiter}\"")),
    }
    if layout.header {
        return format!("csv: {{{}}}", options.join(", "));
    }
    options.push("header: false".to_owned());
    format!(
        "csv: {{{}}}                      # the first line looks like data; name the columns with `columns: [a, b, …]`",
        options.join(", ")
    )
}

/// Lines of objects, or one document.
fn json_layout(sample: &[u8]) -> Format {
    let text = String::from_utf8_lossy(sample);
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().map(str::trim).unwrap_or_default();
    let second = lines.next().map(str::trim).unwrap_or_default();
    if first.starts_with('{') && first.ends_with('}') && second.starts_with('{') {
        Format::Lines
    } else {
        Format::Json
    }
}

/// The file's name without its extensions, as an identifier.
fn pipeline_name(from: &str) -> String {
    let path = from.split(['?', '#']).next().unwrap_or(from);
    let last = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path);
    let stem = last
        .split('.')
        .find(|part| !part.is_empty())
        .unwrap_or(last);
    let mut name = String::new();
    for c in stem.chars() {
        let c = c.to_ascii_lowercase();
        let is_allowed = c.is_ascii_lowercase() || c.is_ascii_digit();
        if is_allowed {
            name.push(c);
        } else if !name.ends_with('_') && !name.is_empty() {
            name.push('_');
        }
    }
    let name = name.trim_matches('_');
    match name.chars().next() {
        Some(first) if first.is_ascii_lowercase() => name.to_owned(),
        Some(_) => format!("data_{name}"),
        None => "data".to_owned(),
    }
}

/// A double-quoted scalar of YAML.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::sample::decompressed;
    use super::*;

    fn extractor(from: &str, sample: &[u8]) -> String {
        let sample = Sample {
            bytes: sample.to_vec(),
            ..Sample::default()
        };
        let generated = generate(from, Path::new("."), &sample).unwrap();
        let lines: Vec<&str> = generated.yaml.lines().collect();
        let at = lines.iter().position(|line| *line == "extract:").unwrap();
        let line = lines[at + 1].split(" #").next().unwrap();
        line.trim().to_owned()
    }

    #[test]
    fn records_and_encodings_are_proposed() {
        let utf16: Vec<u8> = "\u{feff}a;b\nä;1\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        for (from, sample, expected) in [
            (
                "a.json",
                &b"{\"data\": [{\"a\": 1}]}"[..],
                "json: {records: \"data\"}",
            ),
            ("https://x/y", b"{\"rows\": [{\"a\": 1}]}", "json: {}"),
            ("https://x/y", b"a;b\n1;2\n", "csv: {delimiter: \";\"}"),
            ("https://x/y", b"", "json: {}"),
            (
                "a.csv",
                b"a,b\nM\xfcller,1\n",
                "csv: {encoding: windows-1252}",
            ),
            (
                "a.csv",
                b"sep=;\r\na;b\n1;2\n",
                "csv: {delimiter: \";\", skip_lines: 1}",
            ),
            ("a.csv", b"a,b\nM\xc3\xbcller,\xc3", "csv: {}"),
            (
                "a.csv",
                b"\xef\xbb\xbfsep=;\nSales\n\na;b\n1;2\n3;4\n",
                "csv: {delimiter: \";\", skip_lines: 3}",
            ),
            ("a.csv", b"'a','b'\n'1','2'\n", "csv: {quote: \"'\"}"),
            (
                "https://x/y",
                b"\xef\xbb\xbf{\"rows\": [{\"a\": 1}]}",
                "json: {}",
            ),
            (
                "https://x/y",
                b"\xef\xbb\xbf{\"a\":1}\n{\"a\":2}\n",
                "json: {lines: true}",
            ),
            (
                "a.csv",
                &utf16[2..],
                "csv: {delimiter: \";\", encoding: utf-16}",
            ),
            ("a.csv", &utf16, "csv: {delimiter: \";\", encoding: utf-16}"),
        ] {
            assert_eq!(extractor(from, sample), expected, "{from}");
        }
        let latin = Sample {
            bytes: b"{\"a\": \"M\xfcller\"}".to_vec(),
            ..Sample::default()
        };
        let big_endian: Vec<u8> = "a;b\n1;2\n"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        let pretty = b"{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n".to_vec();
        for (from, bytes, code) in [
            ("a.json", latin.bytes, "not_utf8"),
            ("a.json", utf16, "not_utf8"),
            ("a.csv", big_endian, "not_utf8"),
            ("a.json", pretty.clone(), "several_documents"),
            ("https://x/y", pretty, "several_documents"),
        ] {
            let sample = Sample {
                bytes,
                ..Sample::default()
            };
            let error = generate(from, Path::new("."), &sample).unwrap_err();
            assert_eq!(error.code(), code, "{from}");
        }
    }

    #[test]
    fn the_sample_of_a_compressed_file_is_its_text() {
        let text = "timestamp,value\n".repeat(20_000);
        let gzip = forebay_testkit::gzip(text.as_bytes());
        let zstd = forebay_testkit::zstd(text.as_bytes());
        for compressed in [&gzip[..], &zstd, &gzip[..gzip.len() / 2]] {
            let layout = CsvLayout::of(&decompressed(compressed.to_vec()), None);
            assert_eq!(layout.map(|layout| layout.delimiter), Some(','));
        }
        assert_eq!(decompressed(b"a|b".to_vec()), b"a|b");
    }

    #[test]
    fn names_become_identifiers() {
        for (from, name) in [
            ("data/Orders 2024.csv", "orders_2024"),
            ("https://example.org/api/v1/items?page=1", "items"),
            ("2024-01.ndjson.gz", "data_2024_01"),
            ("/x/.csv", "csv"),
            ("???", "data"),
        ] {
            assert_eq!(pipeline_name(from), name, "{from}");
        }
    }

    #[test]
    fn a_file_below_the_project_is_named_relative_to_it() {
        let project = tempfile::tempdir().unwrap();
        let file = project.path().join("a.csv");
        File::create(&file).unwrap();
        let from = file.to_string_lossy().into_owned();
        assert_eq!(pattern_of(&from, project.path()), "a.csv");
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(Path::new(&pattern_of(&from, elsewhere.path())).is_absolute());
    }

    #[test]
    fn formats_are_guessed_from_name_and_content() {
        let guess = |from: &str, sample: &str| Format::guess(from, sample.as_bytes(), false);
        let csv = |delimiter, header| {
            Some(Format::Csv(CsvLayout {
                delimiter,
                is_single_quoted: false,
                skip_lines: 0,
                header,
            }))
        };
        assert_eq!(guess("a.csv", "a;b;c\n1;2,5;3"), csv(';', true));
        assert_eq!(guess("a.csv.gz", ""), csv(',', true));
        assert_eq!(guess("a.csv", "country,2019,2020\nFR,1,2"), csv(',', true));
        for data in [
            "1,2024-01-01,5\n2,2024-01-02,6\n",
            "42",
            "x,2024-01-01\n",
            "\"7\",a\n",
        ] {
            assert_eq!(guess("a.csv", data), csv(',', false), "{data}");
        }
        assert_eq!(
            guess("a.json", "{\"a\":1}\n{\"a\":2}\n"),
            Some(Format::Lines)
        );
        assert_eq!(guess("a.json", "[{\"a\":1}]"), Some(Format::Json));
        let content = |sample: &[u8]| {
            Format::of_content(sample).map(|format| format.map_err(|error| error.code()))
        };
        assert_eq!(content(b"PAR1..."), Some(Ok(Format::Parquet)));
        assert_eq!(content(b"Obj\x01..."), Some(Ok(Format::Avro)));
        assert_eq!(content(b"PK\x03\x04..."), Some(Err("foreign_format")));
        assert_eq!(
            content(b"<?xml version=\"1.0\"?>"),
            Some(Err("foreign_format"))
        );
        assert_eq!(content(b"a,b\n1,2\n"), None);
        assert_eq!(guess("a", "plain text"), None);
        assert_eq!(Format::guess("https://x/y", b"", true), Some(Format::Json));
    }
}
