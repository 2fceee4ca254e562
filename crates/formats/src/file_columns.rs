//! Columns with the file of a row: its path, and folders such as `date=2025-01-31`.
//!
//! Values come from the payload's name, which the raw zone keeps, so a replay and a rebuild give the same. Never reads a
//! file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Field;
use forebay_config::suggest::nearest;
use forebay_core::{Error, Origins, PayloadHead, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::added_columns::{AddedColumn, ColumnExtraction, ColumnSource, OwnColumn};
use crate::Extraction;
use crate::contract::{ColumnType, ContractPolicy};
use crate::declared_text::read_texts;

/// Files whose rows may be held back in the extractor before it has to release them.
const HELD_MAX: usize = 1 << 14;

/// Columns that folders may add; names of folders are chosen by the writers of the files.
const FOLDER_COLUMNS_MAX: usize = 32;

/// Hive's name for null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The file columns that a pipeline can configure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRules {
    pub columns: FileColumns,
    /// Whether folders `name=value` are columns.
    pub hive: bool,
}

/// Columns of the main table with the file of a row; each is added when it is given a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileColumns {
    /// The path of the file below the project, or its URL.
    pub file: Option<String>,
}

impl FileRules {
    /// Whether any column is wanted.
    pub fn add_columns(&self) -> bool {
        self.hive || self.columns.file.is_some()
    }

    /// Whether a declared column may get its value from the name of the file.
    pub fn may_fill(&self, column: &str) -> bool {
        // A name with the separator may lead into a list or an object.
        self.columns.file.as_deref() == Some(column) || self.hive && !column.contains("__")
    }

    /// The policy for the records alone: what the name of the file brings is not missing in them, and a column with the
    /// path is none of theirs.
    pub fn policy_of_records(&self, policy: &ContractPolicy) -> ContractPolicy {
        let mut policy = policy.clone();
        policy
            .columns
            .retain(|name, _| self.columns.file.as_ref() != Some(name));
        for (name, rule) in &mut policy.columns {
            rule.required &= !self.may_fill(name);
        }
        policy
    }
}

/// What the pipeline says about the columns of files.
#[derive(Debug, Default)]
pub struct ExpectedColumns {
    /// Types of declared columns by name.
    pub declared: BTreeMap<String, ColumnType>,
    /// Columns of folders that every batch has, also when no file has such a folder.
    pub folders: Vec<String>,
}

/// The metadata in the name of a file.
#[derive(Debug)]
struct FileValues {
    ordinal: u64,
    name: String,
    folders: Vec<(String, Option<String>)>,
}

/// An extraction that adds the columns of a row's file.
pub type FileExtraction = ColumnExtraction<FileSource>;

/// The files whose rows are being extracted, with the configured columns.
#[derive(Debug)]
pub struct FileSource {
    rules: FileRules,
    declared: BTreeMap<String, ColumnType>,
    /// Files whose rows may still be held back.
    held: VecDeque<FileValues>,
    /// Columns that the pipeline names, by type or as a partition of the table.
    expected: Vec<String>,
    /// Columns of folders seen so far, in order.
    folder_columns: Vec<String>,
}

impl FileExtraction {
    pub fn new(inner: Box<dyn Extraction>, rules: FileRules, expected: ExpectedColumns) -> Self {
        let names = expected.declared.keys().chain(&expected.folders);
        let source = FileSource {
            rules,
            expected: names.cloned().collect(),
            declared: expected.declared,
            held: VecDeque::new(),
            folder_columns: expected.folders,
        };
        Self::with_source(inner, source, None)
    }
}

impl FileSource {
    fn note_folder_column(&mut self, name: &str, head: &PayloadHead) {
        if self.folder_columns.iter().any(|known| known == name) {
            return;
        }
        if self.folder_columns.len() < FOLDER_COLUMNS_MAX {
            self.folder_columns.push(name.to_owned());
        } else {
            tracing::warn!(file = %head.name, "`{name}=` does not become a column: the limit of {FOLDER_COLUMNS_MAX} folder columns is reached");
        }
    }

    /// A folder of the files, and the column without a value that is probably meant for it.
    fn misspelled(&self, records: &RecordBatch) -> Option<(&str, &str)> {
        let folders = self.held.iter().flat_map(|file| &file.folders);
        let folders: BTreeSet<&str> = folders.map(|(name, _)| name.as_str()).collect();
        let is_expected = |name: &str| self.expected.iter().any(|known| known == name);
        let unexpected = || folders.iter().copied().filter(|name| !is_expected(name));
        let has_value = |name: &str| {
            let column = records.column_by_name(name);
            column.is_some_and(|column| column.logical_null_count() < column.len())
        };
        let is_missing = |name: &&str| {
            let is_path = self.rules.columns.file.as_deref() == Some(*name);
            !is_path && !folders.contains(name) && !has_value(name)
        };
        let missing = self.expected.iter().map(String::as_str).filter(is_missing);
        let mut pairs = missing.filter_map(|name| Some((name, nearest(name, unexpected())?)));
        pairs.next()
    }

    /// For each row, the index of its held file.
    fn files(&self, origins: &Origins) -> Result<UInt32Array> {
        let mut at = 0;
        let mut files = Vec::with_capacity(origins.payloads.len());
        for ordinal in &origins.payloads {
            while self
                .held
                .get(at)
                .is_some_and(|file| file.ordinal < *ordinal)
            {
                at += 1;
            }
            if self
                .held
                .get(at)
                .is_none_or(|file| file.ordinal != *ordinal)
            {
                return Err(Error::bug("no_file", "a row without a file"));
            }
            files.push(at as u32);
        }
        Ok(UInt32Array::from(files))
    }

    /// The values of files for their rows, in the declared type; as text when one of them does not fit it.
    fn column(
        &self,
        name: &str,
        values: Vec<Option<&str>>,
        rows: &UInt32Array,
        own: OwnColumn,
    ) -> Result<AddedColumn> {
        let texts = StringArray::from(values);
        let kind = self.declared.get(name).copied();
        let read = read_texts(&texts, kind.unwrap_or(ColumnType::String));
        let is_misfit = |row: &u32| read.misfits.binary_search(&(*row as usize)).is_ok();
        let values: ArrayRef = match rows.values().iter().any(is_misfit) {
            true => Arc::new(texts),
            false => read.array,
        };
        let values = of_rows(&values, rows)?;
        Ok(AddedColumn {
            field: Field::new(name, values.data_type().clone(), true),
            values,
            own,
            is_declared: kind.is_some(),
        })
    }
}

impl ColumnSource for FileSource {
    fn has_columns(&self) -> bool {
        self.rules.add_columns()
    }

    fn is_full(&self, _: &PayloadHead) -> bool {
        self.held.len() >= HELD_MAX
    }

    fn note(&mut self, head: &PayloadHead) {
        let folders = if self.rules.hive {
            folder_values(&head.name)
        } else {
            Vec::new()
        };
        for (name, _) in &folders {
            self.note_folder_column(name, head);
        }
        self.held.push_back(FileValues {
            ordinal: head.ordinal,
            name: head.name.clone(),
            folders,
        });
    }

    /// Errors: `Config` `folder_misspelled` when a column that the pipeline names would be null in every row, and a folder
    /// has nearly the same name.
    fn check(&self, records: &RecordBatch) -> Result<()> {
        if !self.rules.hive || records.num_rows() == 0 {
            return Ok(());
        }
        let Some((column, folder)) = self.misspelled(records) else {
            return Ok(());
        };
        let what = format!(
            "the column `{column}` has a value neither in the records nor in the names of folders, but there are folders `{folder}=…`"
        );
        let hint = format!(
            "write `{folder}` in place of `{column}` in the pipeline file; if they are two columns, add `{folder}: {{type: string}}` to `schema.columns`"
        );
        Err(Error::config("folder_misspelled", what).with_hint(hint))
    }

    fn columns(&self, origins: &Origins) -> Result<Vec<AddedColumn>> {
        let files = self.files(origins)?;
        let mut added = Vec::new();
        if let Some(name) = &self.rules.columns.file {
            let names = self.held.iter().map(|file| Some(file.name.as_str()));
            added.push(self.column(name, names.collect(), &files, OwnColumn::Renamed)?);
        }
        for name in &self.folder_columns {
            let values = self.held.iter().map(|file| file.folder(name));
            // A record's own value takes precedence.
            added.push(self.column(name, values.collect(), &files, OwnColumn::Counts)?);
        }
        Ok(added)
    }

    fn forget_before(&mut self, ordinal: u64) {
        while self.held.front().is_some_and(|file| file.ordinal < ordinal) {
            self.held.pop_front();
        }
    }
}

impl FileValues {
    fn folder(&self, name: &str) -> Option<&str> {
        let found = self.folders.iter().find(|(folder, _)| folder == name);
        found.and_then(|(_, value)| value.as_deref())
    }
}

fn of_rows(values: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef> {
    take(values, rows, None).map_err(|error| {
        Error::bug("file_columns", "failed to add the columns of files").with_source(error)
    })
}

/// The folders `name=value` of a path. Of two with one name the last counts.
fn folder_values(path: &str) -> Vec<(String, Option<String>)> {
    let mut values: Vec<(String, Option<String>)> = Vec::new();
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    for folder in folders.split('/') {
        let Some((name, value)) = folder.split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            continue;
        };
        let name = decoded(name);
        let value = decoded(value);
        values.retain(|(known, _)| *known != name);
        values.push((name, Some(value).filter(|value| value != HIVE_NULL)));
    }
    values
}

/// Hive writes characters that a path cannot have as `%XX`.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::AsArray;

    use super::*;
    use crate::contract::ContractPolicy;
    use crate::{Extracted, Extractor, Outlet, json};

    fn head(ordinal: u64, name: &str) -> Arc<PayloadHead> {
        Arc::new(PayloadHead {
            ordinal,
            name: name.to_owned(),
            received_at: forebay_core::Timestamp(0),
            content_type: None,
            compression: forebay_core::Compression::None,
            attributes: BTreeMap::new(),
            messages: None,
        })
    }

    fn extraction() -> FileExtraction {
        let json = json::Json::new(json::Config::default()).unwrap();
        let inner = json.start(None, &ContractPolicy::default(), None).unwrap();
        let rules = FileRules {
            columns: FileColumns {
                file: Some("src".to_owned()),
            },
            hive: true,
        };
        FileExtraction::new(inner, rules, ExpectedColumns::default())
    }

    fn names(batch: &forebay_core::Batch) -> Vec<String> {
        let schema = batch.records.schema();
        let fields = schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    #[test]
    fn a_column_of_the_records_of_the_same_name_stops_nothing() {
        let mut extraction = extraction();
        let mut out = Extracted::default();
        let head = head(0, "data/day=1/a.json");
        let bytes = b"[{\"src\": 5, \"day\": 2}]";
        extraction.push(&head, bytes, &mut out).unwrap();
        extraction.end(&head, None, &mut out).unwrap();
        extraction.flush(&mut out).unwrap();
        assert_eq!(names(&out.batches[0]), ["src_2", "day", "src"]);
        let path = out.batches[0].records.column(2).as_string::<i32>();
        assert_eq!(path.value(0), "data/day=1/a.json");
    }

    /// Keeps the column names of the output.
    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<Vec<String>>>);

    impl Outlet for Kept {
        fn take(&self, piece: Extracted) -> Result<()> {
            self.0
                .lock()
                .unwrap()
                .extend(piece.batches.iter().map(names));
            Ok(())
        }
    }

    #[test]
    fn what_is_handed_on_before_a_call_ends_has_the_columns_too() {
        let kept = Arc::new(Kept::default());
        let mut extraction = extraction();
        let mut out = Extracted::into_outlet(kept.clone());
        let head = head(0, "data/a.json");
        let records = vec!["{\"n\": 1}"; 100_000].join(",");
        let bytes = format!("[{records}]");
        extraction.push(&head, bytes.as_bytes(), &mut out).unwrap();
        extraction.end(&head, None, &mut out).unwrap();
        let kept = kept.0.lock().unwrap();
        assert!(kept.len() > 1);
        assert!(kept.iter().all(|names| *names == ["n", "src"]), "{kept:?}");
    }

    #[test]
    fn folders_are_read_as_hive_writes_them() {
        for (path, values) in [
            ("data/x.csv", vec![]),
            (
                "data/date=2025-01-31/region=a%2Fb/x=1.csv",
                vec![("date", Some("2025-01-31")), ("region", Some("a/b"))],
            ),
            (
                "s3://b/a=1/a=2/k=__HIVE_DEFAULT_PARTITION__/=x/f",
                vec![("a", Some("2")), ("k", None)],
            ),
            ("t=%zz%4/f", vec![("t", Some("%zz%4"))]),
        ] {
            let found = folder_values(path);
            let found: Vec<(&str, Option<&str>)> = found
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref()))
                .collect();
            assert_eq!(found, values, "{path}");
        }
    }
}
