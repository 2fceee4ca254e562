//! Checksums of the rows that decide what is read: heads of tables and positions of writers.
//!
//! Written with each row and compared whenever it is read, so that a flipped bit is an error and never a state of the lake. Rows
//! of an older version have none; they are taken as they are, and get one when they are written next.

use forebay_core::{Error, Result};

/// A row of `heads` or `changes`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadRow<'a> {
    pub(crate) branch: i64,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uuid: &'a str,
    pub(crate) location: Option<&'a str>,
    pub(crate) seq: i64,
}

/// A row of `positions` or `moves`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PositionRow<'a> {
    pub(crate) branch: i64,
    pub(crate) pipeline: &'a str,
    pub(crate) split: &'a str,
    pub(crate) epoch: i64,
    pub(crate) sequence: i64,
    pub(crate) position: Option<&'a str>,
    pub(crate) seq: Option<i64>,
}

impl HeadRow<'_> {
    pub(crate) fn checksum(&self) -> i64 {
        let mut fields = Fields::of("head");
        fields.number(Some(self.branch));
        fields.text(Some(self.namespace));
        fields.text(Some(self.name));
        fields.text(Some(self.uuid));
        fields.text(self.location);
        fields.number(Some(self.seq));
        fields.finish()
    }

    /// Errors: `Bug` `store_corrupt`.
    pub(crate) fn check(&self, stored: Option<i64>) -> Result<()> {
        let what = || format!("table {}.{}", self.namespace, self.name);
        compare(self.checksum(), stored, what)
    }
}

impl PositionRow<'_> {
    pub(crate) fn checksum(&self) -> i64 {
        let mut fields = Fields::of("position");
        fields.number(Some(self.branch));
        fields.text(Some(self.pipeline));
        fields.text(Some(self.split));
        fields.number(Some(self.epoch));
        fields.number(Some(self.sequence));
        fields.text(self.position);
        fields.number(self.seq);
        fields.finish()
    }

    /// Errors: `Bug` `store_corrupt`.
    pub(crate) fn check(&self, stored: Option<i64>) -> Result<()> {
        let what = || format!("split {} of pipeline {}", self.split, self.pipeline);
        compare(self.checksum(), stored, what)
    }
}

fn compare(expected: i64, stored: Option<i64>, what: impl FnOnce() -> String) -> Result<()> {
    if stored.is_none_or(|stored| stored == expected) {
        return Ok(());
    }
    let message = format!("checksum mismatch in the catalog's row of {}", what());
    Err(Error::bug("store_corrupt", message).with_hint(
        "stop every process, keep a copy of the store and restore it from a backup; `forebay verify` lists the damage",
    ))
}

/// Concatenated values, each with its type and length.
struct Fields(crc32fast::Hasher);

impl Fields {
    fn of(kind: &str) -> Self {
        let mut fields = Self(crc32fast::Hasher::new());
        fields.text(Some(kind));
        fields
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            None => self.0.update(b"-"),
            Some(text) => {
                self.0.update(b"t");
                self.0.update(&(text.len() as u64).to_le_bytes());
                self.0.update(text.as_bytes());
            }
        }
    }

    fn number(&mut self, number: Option<i64>) {
        match number {
            None => self.0.update(b"-"),
            Some(number) => {
                self.0.update(b"n");
                self.0.update(&number.to_le_bytes());
            }
        }
    }

    fn finish(self) -> i64 {
        i64::from(self.0.finalize())
    }
}
