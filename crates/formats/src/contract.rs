//! The contract: the columns of a pipeline's records, and the handling of records with other columns.
//!
//! It is learned from the first records, then held. It travels as JSON in a table property of the main table
//! (`forebay.contract`), so it moves in the same commit as the rows that made it grow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use forebay_core::{Error, Result, TableName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Handling of a record that has a column, or a kind of value, that the contract does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewColumns {
    /// Add the column; a value of another kind gets a variant column `name__v_kind`.
    #[default]
    Evolve,
    /// Fail the run and name the new column.
    Freeze,
    /// Quarantine the record.
    Quarantine,
}

/// `schema:` in a pipeline file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", default)]
pub struct ContractPolicy {
    /// Handling of a column that is not in the contract.
    pub new_columns: NewColumns,
    /// Columns by name, as they are after flattening (`properties__mag`). One with a `type` is in the table from the
    /// first commit, also when no record has it; inside kept objects and lists it comes with its first value.
    pub columns: BTreeMap<String, ColumnRule>,
    /// The most columns a table may have, at all depths, 2,000 when not given; a record that would add more is quarantined.
    pub columns_max: Option<u32>,
    /// Tables that a list of the records may not become: they belong to another pipeline. Set by the run.
    #[serde(skip)]
    pub taken: Option<Arc<TakenTables>>,
}

/// Tables of other pipelines with names of possible child tables.
#[derive(Debug, PartialEq)]
pub struct TakenTables {
    main: TableName,
    names: BTreeSet<TableName>,
}

impl TakenTables {
    pub fn new(main: TableName, names: BTreeSet<TableName>) -> Self {
        Self { main, names }
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The table that the child at `path` would be.
    pub(crate) fn find(&self, path: &str) -> Option<&TableName> {
        self.names.get(&self.main.child(path).ok()?)
    }
}

impl ContractPolicy {
    /// The most columns a table may have.
    pub fn columns_max(&self) -> usize {
        self.columns_max.unwrap_or(COLUMNS_MAX) as usize
    }

    /// The type that the file declares for a column.
    pub(crate) fn declared(&self, column: &str) -> Option<ColumnType> {
        self.columns.get(column)?.r#type
    }

    /// Columns with a declared type, by name: they are in the table whether or not a record has shown them.
    pub fn declared_columns(&self) -> impl Iterator<Item = (&str, ColumnType)> {
        let columns = self.columns.iter();
        columns.filter_map(|(name, rule)| Some((name.as_str(), rule.r#type?)))
    }
}

/// Columns a table may have unless `columns_max` is set.
pub const COLUMNS_MAX: u32 = 2_000;

/// The rules of a pipeline file for one column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", default)]
pub struct ColumnRule {
    /// The type; learned from the data when it is not given. That of a table that is there may be widened: `int` to
    /// `long`, `float` to `double`, a `decimal` to more digits.
    pub r#type: Option<ColumnType>,
    /// A record without it is quarantined.
    pub required: bool,
    /// An SQL condition over `value`; a record for which it is false is quarantined.
    pub check: Option<String>,
}

/// A column type as people write it: `string`, `long`, `double`, `boolean`, `date`, `timestamp`, `timestamptz`,
/// `binary`, `json` (any value, kept as its JSON text), `decimal(20, 4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ColumnType {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Decimal(u8, i8),
    String,
    Date,
    Timestamp,
    Timestamptz,
    Binary,
    Json,
}

/// The learned contract: an Arrow schema in JSON, private to the extractor that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// The extractor that wrote it: `json`, `csv`, `parquet`.
    pub extractor: String,
    /// Version of `shape`'s meaning.
    pub version: u32,
    pub shape: serde_json::Value,
}

/// Code of the error for a contract of another extractor.
pub const CONTRACT_MISMATCH: &str = "contract_mismatch";

impl Contract {
    /// The shape, when this extractor wrote it.
    ///
    /// Errors: `Config` `contract_mismatch` when another extractor, or another version of it, made the table.
    pub(crate) fn shape_by(self, extractor: &str, version: u32) -> Result<serde_json::Value> {
        if self.extractor == extractor && self.version == version {
            return Ok(self.shape);
        }
        let what = format!(
            "the table was made by extractor `{}` (contract version {}), not by `{extractor}` version {version}",
            self.extractor, self.version
        );
        Err(Error::config(CONTRACT_MISMATCH, what).with_hint(
            "load into another table, go back to the extractor that made it, or reset the pipeline with its tables and kept payloads: `forebay pipeline reset`",
        ))
    }
}

/// A contract that its own extractor cannot read.
pub(crate) fn contract_broken() -> Error {
    Error::data("contract_broken", "the table's contract cannot be read")
}

impl ColumnType {
    const NAMES: [(&'static str, Self); 11] = [
        ("boolean", Self::Boolean),
        ("int", Self::Int),
        ("long", Self::Long),
        ("float", Self::Float),
        ("double", Self::Double),
        ("string", Self::String),
        ("date", Self::Date),
        ("timestamp", Self::Timestamp),
        ("timestamptz", Self::Timestamptz),
        ("binary", Self::Binary),
        ("json", Self::Json),
    ];

    /// The Arrow type that holds it in a table.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            Self::String | Self::Json => DataType::Utf8,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            Self::Binary => DataType::Binary,
        }
    }

    /// Fails unless `column`, which has this type in the table, may have the newly declared type. Only schema changes that
    /// Iceberg supports without rewriting files are allowed: nothing is narrowed and no value changes its meaning.
    ///
    /// Errors: `Config` `column_type_changed`.
    pub(crate) fn may_become(self, declared: Self, column: &str) -> Result<()> {
        let may = match (self, declared) {
            (Self::String | Self::Json, Self::String | Self::Json)
            | (Self::Int, Self::Long)
            | (Self::Float, Self::Double) => true,
            (Self::Decimal(held, scale), Self::Decimal(digits, other)) => {
                scale == other && held <= digits
            }
            (held, declared) => held == declared,
        };
        if may {
            return Ok(());
        }
        Err(type_changed(column, &String::from(self), declared))
    }

    fn parse(text: &str) -> Option<Self> {
        let found = Self::NAMES
            .iter()
            .find(|(name, _)| *name == text.trim())
            .map(|(_, kind)| *kind);
        found.or_else(|| {
            let inner = text.trim().strip_prefix("decimal(")?.strip_suffix(')')?;
            let (precision, scale) = inner.split_once(',')?;
            let precision = precision.trim().parse().ok()?;
            let scale = scale.trim().parse().ok()?;
            let fits = (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale);
            fits.then_some(Self::Decimal(precision, scale))
        })
    }
}

/// The declared type is one that the column of the table, which is `held`, cannot become.
pub(crate) fn type_changed(column: &str, held: &str, declared: ColumnType) -> Error {
    let declared = String::from(declared);
    Error::config(
        "column_type_changed",
        format!("column `{column}` is {held} in the table, but declared as {declared}"),
    )
    .with_hint(format!(
        "an existing column can only widen (int to long, float to double, decimal to more digits): rebuild a table of the lake with this type by `forebay rebuild TABLE --adopt`; or declare `{column}` as {held} and cast it to {declared} under another name in `transform`; or load into another table"
    ))
}

impl TryFrom<String> for ColumnType {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            Error::config(
                "bad_type",
                format!(
                    "{text:?} is not a column type: use one of {} or decimal(precision, scale)",
                    names.join(", ")
                ),
            )
        })
    }
}

impl From<ColumnType> for String {
    fn from(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Decimal(precision, scale) => format!("decimal({precision}, {scale})"),
            kind => ColumnType::NAMES
                .iter()
                .find(|(_, named)| *named == kind)
                .map(|(name, _)| (*name).to_owned())
                .unwrap_or_default(),
        }
    }
}

impl JsonSchema for ColumnType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "boolean, int, long, float, double, string, date, timestamp, timestamptz, binary, json or decimal(precision, scale)",
            "pattern": r"^(boolean|int|long|float|double|string|date|timestamp|timestamptz|binary|json|decimal\(\s*[0-9]+\s*,\s*[0-9]+\s*\))$"
        })
    }
}
