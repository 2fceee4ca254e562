//! Columns that say which file a row came from: its path, and folders such as `date=2025-01-31`.
//!
//! Wraps an extraction and adds the columns to the main rows of its records. Values come from the payload's name, which the raw
//! zone keeps, so a replay and a rebuild give the same. Never looks into a file.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use forebay_core::{Batch, Error, Origins, PayloadHead, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::extract::contract::Contract;
use crate::extract::{Extracted, Extraction, ObjectInput};

/// Files whose rows may be held back in the extractor before it has to give them up.
const HELD_MAX: usize = 1 << 14;

/// Columns that folders may make; names of folders come from whoever writes the files.
const FOLDER_COLUMNS_MAX: usize = 32;

/// What Hive writes for no value.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What a source of files lets a pipeline say of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRules {
    pub columns: FileColumns,
    /// Whether folders `name=value` are columns.
    pub hive: bool,
}

/// Columns of the main table that say where a row came from; each is there when it is given a name.
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
}

/// What is known of a file by its name.
#[derive(Debug)]
struct FileValues {
    ordinal: u64,
    name: String,
    folders: Vec<(String, Option<String>)>,
}

/// An extraction that knows which file its rows came from.
pub struct FileExtraction {
    inner: Box<dyn Extraction>,
    rules: FileRules,
    /// Files whose rows may still be held back.
    held: VecDeque<FileValues>,
    /// Columns of folders that have been met, in the order of their coming.
    folder_columns: Vec<String>,
}

impl FileExtraction {
    pub fn new(inner: Box<dyn Extraction>, rules: FileRules) -> Self {
        Self {
            inner,
            rules,
            held: VecDeque::new(),
            folder_columns: Vec::new(),
        }
    }

    /// Remembers the file that comes, unless it has come already.
    fn note(&mut self, head: &PayloadHead, out: &mut Extracted) -> Result<()> {
        if self
            .held
            .back()
            .is_some_and(|file| file.ordinal == head.ordinal)
        {
            return Ok(());
        }
        if self.held.len() >= HELD_MAX {
            self.flush(out)?;
        }
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
        Ok(())
    }

    fn note_folder_column(&mut self, name: &str, head: &PayloadHead) {
        if self.folder_columns.iter().any(|known| known == name) {
            return;
        }
        if self.folder_columns.len() < FOLDER_COLUMNS_MAX {
            self.folder_columns.push(name.to_owned());
        } else {
            tracing::warn!(file = %head.name, "`{name}=` is not made a column: {FOLDER_COLUMNS_MAX} names of folders are known");
        }
    }

    /// Adds the columns to the main batches from `from` on.
    fn complete(&mut self, from: usize, out: &mut Extracted) -> Result<()> {
        let added = out.batches.iter_mut().skip(from);
        for batch in added.filter(|batch| batch.child.is_empty()) {
            let Some(origins) = batch.origins.take() else {
                return Err(Error::bug(
                    "no_origins",
                    "extracted rows without their places",
                ));
            };
            *batch = self.with_columns(batch.records.clone(), origins)?;
        }
        Ok(())
    }

    fn with_columns(&mut self, records: RecordBatch, origins: Origins) -> Result<Batch> {
        let files = self.files(&origins)?;
        let (schema, mut columns, _) = records.into_parts();
        let mut fields = schema.fields().to_vec();
        if let Some(name) = &self.rules.columns.file {
            if schema.column_with_name(name).is_some() {
                let what = format!(
                    "records have a column `{name}` themselves, which `columns.file` would add"
                );
                return Err(Error::data("column_clash", what)
                    .with_hint("give the column of the file another name"));
            }
            let names = self.held.iter().map(|file| Some(file.name.as_str()));
            fields.push(field(name));
            columns.push(spread(names.collect(), &files)?);
        }
        for name in &self.folder_columns {
            // What a record says itself counts.
            if fields.iter().any(|field| field.name() == name) {
                continue;
            }
            let values = self.held.iter().map(|file| file.folder(name));
            fields.push(field(name));
            columns.push(spread(values.collect(), &files)?);
        }
        if let Some(last) = origins.payloads.last().copied() {
            while self.held.front().is_some_and(|file| file.ordinal < last) {
                self.held.pop_front();
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let records = RecordBatch::try_new(schema, columns).map_err(broken)?;
        Ok(Batch::main(records, Some(origins)))
    }

    /// For each row, which of the held files it came from.
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
                return Err(Error::bug("no_file", "a row came from no file"));
            }
            files.push(at as u32);
        }
        Ok(UInt32Array::from(files))
    }
}

impl FileValues {
    fn folder(&self, name: &str) -> Option<&str> {
        let found = self.folders.iter().find(|(folder, _)| folder == name);
        found.and_then(|(_, value)| value.as_deref())
    }
}

fn field(name: &str) -> Arc<Field> {
    Arc::new(Field::new(name, DataType::Utf8, true))
}

fn spread(values: Vec<Option<&str>>, rows: &UInt32Array) -> Result<ArrayRef> {
    let values: StringArray = values.into_iter().collect();
    take(&values as &dyn Array, rows, None).map_err(broken)
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
        let (name, value) = (decoded(name), decoded(value));
        values.retain(|(known, _)| *known != name);
        values.push((name, Some(value).filter(|value| value != HIVE_NULL)));
    }
    values
}

/// Hive writes characters that a path cannot have as `%XX`.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
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

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::bug("file_columns", "failed to add the columns of files").with_source(error)
}

impl Extraction for FileExtraction {
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        self.note(head, out)?;
        let from = out.batches.len();
        self.inner.push(head, bytes, out)?;
        self.complete(from, out)
    }

    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        broken: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()> {
        self.note(head, out)?;
        let from = out.batches.len();
        self.inner.end(head, broken, out)?;
        self.complete(from, out)
    }

    fn packed(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        self.note(head, out)?;
        let from = out.batches.len();
        self.inner.packed(head, bytes, out)?;
        self.complete(from, out)
    }

    fn object(
        &mut self,
        head: &Arc<PayloadHead>,
        object: ObjectInput<'_>,
        out: &mut Extracted,
    ) -> Result<()> {
        self.note(head, out)?;
        let from = out.batches.len();
        self.inner.object(head, object, out)?;
        self.complete(from, out)
    }

    fn more(&mut self, out: &mut Extracted) -> Result<bool> {
        let from = out.batches.len();
        let has_more = self.inner.more(out)?;
        self.complete(from, out)?;
        Ok(has_more)
    }

    fn wants_object(&self) -> bool {
        self.inner.wants_object()
    }

    fn is_between_records(&self) -> bool {
        self.inner.is_between_records()
    }

    fn carried(&mut self, head: &PayloadHead) -> Option<(String, String)> {
        self.inner.carried(head)
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        let from = out.batches.len();
        self.inner.flush(out)?;
        self.complete(from, out)?;
        // The file that is being read goes on.
        let last = self.held.pop_back();
        self.held.clear();
        self.held.extend(last);
        Ok(())
    }

    fn pending_rows(&self) -> u64 {
        self.inner.pending_rows()
    }

    fn contract(&self) -> Contract {
        self.inner.contract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
