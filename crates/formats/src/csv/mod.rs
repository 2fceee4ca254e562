//! CSV and its relatives: one record a line, fields between delimiters, names in a header.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! Columns are matched by header name, so files may order them freely and add new ones. Types are learned from the first
//! rows of a column (at most 8,192) and only when the text can be restored from the value: `007` and a number of 20 digits
//! stay strings. A later text that does not fit a learned type goes to a column `<name>__v_string`, a number that does not
//! fit a column of other numbers to `<name>__v_double` or `<name>__v_long` (the lake merges both into one column where it
//! can, see `engine::steps::widen`); with a declared type, or when `schema.new_columns` is not `evolve`, the record is quarantined.
//! Blank lines are skipped. A record that is torn, too long or has the wrong number of fields is quarantined with its line;
//! the lines after it are read. Cells that look like formulas are stored unchanged. A large file is committed in parts,
//! between records; later parts carry the header along (`carry.rs`). The extractor does no I/O.

mod batch;
mod boundary;
mod carry;
mod columns;
mod dialect;
mod encoding;
mod extraction;
mod formats;
mod header;
mod problems;
mod split;
pub(crate) mod types;

pub(super) use columns::{CARRY, contract_columns, prune_contract, widen_contract};

#[cfg(test)]
mod tests;

use std::sync::Arc;

use forebay_core::Result;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::case::NameCase;
use crate::contract::{Contract, ContractPolicy};
use crate::framing::{FileHeading, Framing};
use crate::{Extraction, Extractor, ExtractorKind};
use forebay_config::{Component, Document};

pub use boundary::{Piece, RecordScan, heading_length, line_end_length};
pub use dialect::Dialect;
pub use encoding::Encoding;

/// `extract: {csv: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads CSV files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvConfig {
    /// Character between fields; `tab` for a tab.
    pub delimiter: String,
    /// Character around fields that hold delimiters or line ends; `""` when there is none.
    pub quote: String,
    /// Character that makes the next one ordinary inside quotes; without it a quote inside quotes is doubled.
    pub escape: Option<String>,
    /// Lines that begin with this character are skipped.
    pub comment: Option<String>,
    /// Whether the first record holds the names of the columns.
    pub header: bool,
    /// Names of the columns by place, instead of those of the header.
    pub columns: Option<Vec<String>>,
    /// Unquoted texts that mean "no value".
    pub null: Vec<String>,
    /// Whether quoted texts may mean "no value" too: for files in which every field has quotes.
    pub quoted_null: bool,
    /// Decimal separator of numbers.
    pub decimal: String,
    /// Thousands separator of numbers, if any.
    pub thousands: Option<String>,
    /// Date formats, such as `%d.%m.%Y` (strftime), instead of `2026-12-31`. A text may have any of the formats.
    pub date_formats: Vec<String>,
    /// Timestamp formats, such as `%d.%m.%Y %H:%M` (strftime), instead of `2026-12-31 23:59:59`; one with `%z` has a zone.
    pub timestamp_formats: Vec<String>,
    /// Type of undeclared number columns.
    pub numbers: NumberType,
    /// Trims blanks around fields.
    pub trim: bool,
    /// Handling of header names that differ only in case.
    pub case: NameCase,
    /// Text encoding.
    pub encoding: Encoding,
    /// Lines to skip before the header (or the first record).
    pub skip_lines: u64,
    /// Handling of a record that has more or fewer fields than the header.
    pub ragged: Ragged,
    /// Meaning of a blank line in a file of one column. In one of more columns it is skipped.
    pub blank_lines: BlankLines,
}

/// Meaning of a blank line in a file of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlankLines {
    /// Skipped.
    #[default]
    Skip,
    /// A record without a value, as `load: file` writes it.
    Record,
}

/// Handling of a record that has more or fewer fields than the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ragged {
    /// Quarantine it.
    #[default]
    Quarantine,
    /// Missing fields are null, further empty fields are ignored; one with further texts is quarantined.
    Fill,
}

/// Type of undeclared number columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberType {
    /// `long` when the first ones are whole, otherwise `double`.
    #[default]
    Learned,
    /// `double`, so that a column of whole numbers takes decimals later.
    Double,
}

impl Default for CsvConfig {
    fn default() -> Self {
        Self {
            delimiter: ",".to_owned(),
            quote: "\"".to_owned(),
            escape: None,
            comment: None,
            header: true,
            columns: None,
            null: vec![String::new()],
            quoted_null: false,
            decimal: ".".to_owned(),
            thousands: None,
            date_formats: Vec::new(),
            timestamp_formats: Vec::new(),
            numbers: NumberType::Learned,
            trim: false,
            case: NameCase::default(),
            encoding: Encoding::Utf8,
            skip_lines: 0,
            ragged: Ragged::Quarantine,
            blank_lines: BlankLines::Skip,
        }
    }
}

/// A checked configuration.
#[derive(Debug)]
struct Options {
    dialect: Dialect,
    header: bool,
    columns: Option<Vec<String>>,
    nulls: Nulls,
    formats: formats::Formats,
    case: NameCase,
    encoding: Encoding,
    skip_lines: u64,
    ragged: Ragged,
}

/// Texts that mean "no value".
#[derive(Debug)]
struct Nulls {
    texts: Vec<String>,
    /// Whether they may have quotes.
    quoted: bool,
}

impl Nulls {
    fn has(&self, text: &str, quoted: bool) -> bool {
        (!quoted || self.quoted) && self.texts.iter().any(|null| null == text)
    }
}

/// A configured CSV extractor.
#[derive(Debug)]
struct Csv(Arc<Options>);

impl Component for Kind {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn summary(&self) -> &'static str {
        "CSV, TSV and other delimited text"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<CsvConfig>()
    }
}

impl ExtractorKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>> {
        let csv: CsvConfig = config.parse()?;
        let options = csv.check().map_err(|(key, what)| {
            let place = config.get(key).unwrap_or_else(|| config.clone());
            place.error("bad_dialect", what)
        })?;
        Ok(Box::new(Csv(Arc::new(options))))
    }
}

impl CsvConfig {
    /// The configuration as options, or the invalid key and the reason.
    fn check(&self) -> Result<Options, (&'static str, String)> {
        let delimiter =
            character(&self.delimiter).ok_or(("delimiter", one_character(&self.delimiter)))?;
        let optional = |key: &'static str, text: Option<&str>| match text {
            None | Some("") => Ok(None),
            Some(text) => character(text).map(Some).ok_or((key, one_character(text))),
        };
        let quote = optional("quote", Some(&self.quote))?;
        let escape =
            optional("escape", self.escape.as_deref())?.filter(|escape| Some(*escape) != quote);
        let comment = optional("comment", self.comment.as_deref())?;
        for (key, other) in [("quote", quote), ("escape", escape), ("comment", comment)] {
            if other == Some(delimiter) {
                return Err((
                    key,
                    format!("`{key}` and `delimiter` are the same character"),
                ));
            }
        }
        if comment.is_some() && (comment == quote || comment == escape) {
            return Err((
                "comment",
                "`comment` is also the quote or escape character".to_owned(),
            ));
        }
        if let Some(names) = &self.columns {
            let unique = header::header_names(names.iter().cloned());
            if let Some((name, _)) = names
                .iter()
                .zip(&unique)
                .find(|(name, unique)| name != unique)
            {
                return Err((
                    "columns",
                    format!("{name:?} is empty or repeats (case does not count)"),
                ));
            }
        }
        Ok(Options {
            dialect: Dialect {
                delimiter,
                quote,
                escape,
                comment,
                trim: self.trim,
                blank_records: self.blank_lines == BlankLines::Record,
            },
            header: self.header,
            columns: self.columns.clone(),
            nulls: Nulls {
                texts: self.null.clone(),
                quoted: self.quoted_null,
            },
            formats: formats::Formats::new(self)?,
            case: self.case,
            encoding: self.encoding,
            skip_lines: self.skip_lines,
            ragged: self.ragged,
        })
    }
}

/// The one ASCII character of a text.
fn character(text: &str) -> Option<u8> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Some(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
        _ => None,
    }
}

fn one_character(text: &str) -> String {
    format!("{text:?} is not one ASCII character (or `tab`)")
}

impl Extractor for Csv {
    /// Not every line end ends a record, see [`Extraction::is_between_records`]. A byte of UTF-16 that looks like a line
    /// end is often half of another character.
    fn framing(&self) -> Framing {
        match self.0.encoding {
            Encoding::Utf16 => Framing::Whole,
            Encoding::Utf8 | Encoding::Latin1 | Encoding::Windows1252 => Framing::Lines,
        }
    }

    fn heading(&self) -> FileHeading {
        FileHeading {
            skipped_lines: self.0.skip_lines,
            has_header: self.0.header,
            may_have_mark: !self.0.encoding.is_single_byte(),
            dialect: Some(self.0.dialect),
        }
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        _records: Option<&str>,
    ) -> Result<Box<dyn Extraction>> {
        self.0.case.check(policy)?;
        let columns = columns::Columns::new(contract, policy, self.0.case)?;
        Ok(Box::new(extraction::CsvExtraction::new(
            Arc::clone(&self.0),
            columns,
        )))
    }
}
