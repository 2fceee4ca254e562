//! `extract: json`: JSON documents, lists of records, records at a path, and NDJSON.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! # How a record becomes rows
//!
//! - A key becomes a column when a first value comes: null, `{}`, `[]` and lists or objects of nothing else are no
//!   values. A key that a record does not have is null.
//! - Types are learned from the first 1,000 records together: whole numbers are `long`, others `double`, and both together
//!   `double` if every integer is exact in one. Strings stay strings; a type is only given in `schema.columns`.
//! - **A key whose values are of several kinds** has a column for each: the kind seen first has the plain name, every other
//!   `<key>__v_<kind>` beside it (`boolean`, `long`, `double`, `string`, `object`, `list`); of whole numbers and doubles the lake
//!   makes one column where it can (see `engine::steps::widen`). A list column
//!   whose elements are of several kinds is one list for each kind, all of the same length: the first plain, the others
//!   `<list>__e_<kind>` (`__e2_` in a list within a list), null where the element is of another kind, and null as a whole where
//!   every element is.
//! - A number is kept exactly or the record is refused: `number_out_of_range` beyond long and double,
//!   `number_not_exact` when a double would round it. `-0` in a long column is 0.
//! - An object with the same key twice, an empty key, or two keys that would be one column are refused.
//!
//! `nested: flatten` (the default) makes `{"a": {"b": 1}}` the column `a__b` and keeps lists as lists; `keep` keeps
//! both; `tables` flattens objects and makes each list, to any depth, a child table: `_fb_id`, `_fb_parent_id`,
//! `_fb_root_id` and `_fb_index`, the columns of its objects, and `value` for elements that are not objects. Keys
//! follow from the payload's identity, the record's place in it and its bytes, so they are the same in every replay.
//!
//! **NDJSON**: `lines: true` reads each line as a document of its own, `lines: false` the payload as one document. Where
//! neither is said, a payload has lines when its name ends with `.ndjson` or `.jsonl` (also before `.gz` or `.zst`), when its
//! media type says so, or when its first line is an object and more text follows.
//!
//! Never builds a document tree, never drops a record: each is a row or a `Rejected`.

mod build;
mod census;
mod column;
mod declared;
pub mod detect;
mod document;
mod emit;
mod excerpt;
mod frame;
mod id;
mod key_bytes;
mod learn;
mod list;
mod messages;
mod number;
mod parse;
mod prune;
mod refuse;
mod required;
mod rows;
mod sample;
mod shape;
mod spans;
#[cfg(test)]
mod tests;
mod untyped_keys;
mod walk;
mod widen;

use forebay_core::unit::Size;
use forebay_core::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::case::NameCase;
use crate::contract::{Contract, ContractPolicy};
use crate::framing::Framing;
use crate::learned::HeldLongs;
use crate::{Extraction, Extractor, ExtractorKind};
use forebay_config::{Component, Document};

pub use frame::IDENTITY_ATTRIBUTE;

pub use crate::wire::Wire;

/// `json` in the table of extractors.
#[derive(Debug)]
pub struct Kind;

/// JSON: documents, lists of records, records at a path, or one record a line.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Path to the records in a document: keys joined with `.`. The value there is a list of records or one record.
    /// Defaults to the source's `records`.
    pub records: Option<String>,
    /// Handling of objects and lists inside a record.
    pub nested: Nested,
    /// Whether each line is a document of its own (NDJSON), instead of the payload as a whole. Detected by the payload's
    /// name (`.ndjson`, `.jsonl`), media type and first line when not set.
    pub lines: Option<bool>,
    /// Handling of keys that differ only in case.
    pub case: NameCase,
    /// The header before the content of each message, for sources of messages.
    pub wire: Wire,
    /// Limits; records beyond them are quarantined.
    pub limits: Limits,
}

/// Handling of objects and lists inside a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nested {
    /// Objects and lists are columns with structure.
    Keep,
    /// The keys of objects are columns `object__key`; lists stay.
    #[default]
    Flatten,
    /// As `flatten`, and every list is a child table with keys to its parent.
    Tables,
}

impl Nested {
    fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Flatten => "flatten",
            Self::Tables => "tables",
        }
    }
}

/// Limits of the input.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Objects and lists within each other, the record itself included; at most 256.
    pub depth: u32,
    /// Bytes of a record.
    pub record: Size,
    /// Bytes of a document, which is held in memory.
    pub document: Size,
    /// List elements of a record at all depths, and records of a document.
    pub children: u32,
}

/// Deepest nesting that can be allowed: the walk over a record is recursive.
const DEPTH_MAX: u32 = 256;
/// Largest record or document that can be allowed: offsets have 32 bits.
const BYTES_MAX: u64 = 1 << 30;
/// Most list elements that can be allowed.
const CHILDREN_MAX: u32 = 1 << 28;

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 64,
            record: Size(16 << 20),
            document: Size(64 << 20),
            children: 1_000_000,
        }
    }
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "json"
    }

    fn summary(&self) -> &'static str {
        "JSON documents, records at a path, and NDJSON; nested data kept, flattened, or as child tables"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }
}

impl ExtractorKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>> {
        let settings: Config = config.parse()?;
        let json =
            Json::new(settings).map_err(|error| config.error(error.code(), error.message()))?;
        Ok(Box::new(json))
    }
}

/// A configured JSON extractor.
#[derive(Debug)]
pub struct Json {
    config: Config,
}

impl Json {
    /// # Errors
    /// `bad_limit` or `bad_records` (a path with an empty key).
    pub fn new(config: Config) -> Result<Self> {
        let Limits {
            depth,
            record,
            document,
            children,
        } = &config.limits;
        if !(1..=DEPTH_MAX).contains(depth) {
            return Err(Error::config(
                "bad_limit",
                format!("`limits.depth` must be 1 to {DEPTH_MAX}"),
            ));
        }
        if !(1..=BYTES_MAX).contains(&record.0) || !(1..=BYTES_MAX).contains(&document.0) {
            return Err(Error::config(
                "bad_limit",
                "`limits.record` and `limits.document` must be 1B to 1GiB",
            ));
        }
        if !(1..=CHILDREN_MAX).contains(children) {
            return Err(Error::config(
                "bad_limit",
                format!("`limits.children` must be 1 to {CHILDREN_MAX}"),
            ));
        }
        keys(config.records.as_deref())?;
        Ok(Self { config })
    }
}

impl Extractor for Json {
    fn framing(&self) -> Framing {
        match self.config.lines {
            Some(true) => Framing::Lines,
            Some(false) => Framing::Whole,
            None => Framing::Detected,
        }
    }

    fn reads_json(&self) -> bool {
        true
    }

    fn takes_messages(&self) -> bool {
        true
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        records: Option<&str>,
    ) -> Result<Box<dyn Extraction>> {
        let Config {
            lines,
            nested,
            wire,
            limits,
            case,
            ..
        } = &self.config;
        case.check(policy)?;
        let frames = frame::Frames {
            lines: *lines,
            wire: *wire,
            path: keys(self.config.records.as_deref().or(records))?,
            record_bytes_max: limits.record.0 as usize,
            document_bytes_max: limits.document.0 as usize,
            records_max: limits.children as usize,
        };
        let rules = rows::Rules {
            nested: *nested,
            case: *case,
            policy: policy.clone(),
            record_bytes_max: limits.record.0 as usize,
            elements_max: limits.children as usize,
            depth_max: limits.depth as usize,
        };
        Ok(Box::new(frame::JsonExtraction::new(
            frames,
            rows::Rows::new(contract, rules)?,
        )))
    }
}

/// The columns of a contract of this extractor, by table and name.
pub(super) fn contract_columns(contract: Contract) -> Result<Vec<(String, String)>> {
    let stored = shape::Stored::read(contract)?;
    let columns = stored.root.columns(stored.nested).into_iter();
    let leaves = columns.filter(|column| column.is_leaf);
    Ok(leaves.map(|column| (column.table, column.name)).collect())
}

/// A contract of this extractor without some of its columns.
pub(super) fn prune_contract(
    contract: Contract,
    unwanted: &dyn Fn(&str, &str) -> bool,
) -> Result<Contract> {
    let mut stored = shape::Stored::read(contract)?;
    prune::prune(&mut stored.root, stored.nested, unwanted);
    Ok(stored.to_contract())
}

/// A contract of this extractor in which columns of whole numbers are doubles; see [`crate::learned::widen`].
pub(super) fn widen_contract(
    contract: Contract,
    widened: &dyn Fn(&str, &str) -> Option<HeldLongs>,
) -> Result<Contract> {
    let mut stored = shape::Stored::read(contract)?;
    widen::widen(&mut stored.root, stored.nested, widened);
    Ok(stored.to_contract())
}

/// A contract of this extractor that has no columns yet, and makes the keys of rows as this one does.
pub(super) fn empty_contract(contract: Contract) -> Result<Contract> {
    let mut stored = shape::Stored::read(contract)?;
    stored.root = shape::Object::default();
    Ok(stored.to_contract())
}

/// The keys of a path.
fn keys(path: Option<&str>) -> Result<Vec<String>> {
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Ok(Vec::new());
    };
    if path.split('.').any(str::is_empty) {
        return Err(Error::config(
            "bad_records",
            format!("`records: {path}` has an empty key: write keys joined with `.`"),
        ));
    }
    Ok(path.split('.').map(str::to_owned).collect())
}
