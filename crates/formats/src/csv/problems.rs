//! Why rows of a batch are rejected: one problem for each row. Never changes a value, but for bytes that are not text.

use std::collections::BTreeMap;

use super::batch::{Row, Texts, Value};
use super::columns::{Column, Columns};
use super::encoding::Encoding;
use crate::contract::ColumnType;

/// The reason why a row is rejected.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) reason: String,
}

/// By the row's place in the list.
pub(super) type Problems = BTreeMap<usize, Problem>;

/// A row keeps the first problem that is found.
pub(super) fn refuse(
    problems: &mut Problems,
    row: usize,
    code: &'static str,
    reason: impl FnOnce() -> String,
) {
    problems.entry(row).or_insert_with(|| Problem {
        code,
        reason: reason(),
    });
}

pub(super) fn mismatch(
    column: &Column,
    kind: ColumnType,
    texts: &Texts<'_>,
    (position, misfits): (usize, &[usize]),
    problems: &mut Problems,
) {
    let name = &column.name;
    let kind = String::from(kind);
    for &row in misfits {
        let line = texts.rows[row].line;
        let is_empty =
            matches!(texts.value(&texts.rows[row], position), Value::Text(text) if text.is_empty());
        let hint = match is_empty {
            true => {
                ": it is an empty text in quotes; set `extract.csv.quoted_null: true` if that means no value"
            }
            false => "",
        };
        refuse(problems, row, "type_mismatch", || {
            format!("line {line}: the text in column `{name}` is not an exact {kind}{hint}")
        });
    }
}

pub(super) fn require(column: &Column, nulls: &[usize], rows: &[Row], problems: &mut Problems) {
    let name = &column.name;
    for &row in nulls.iter().filter(|_| column.required) {
        let line = rows[row].line;
        refuse(problems, row, "missing_required", || {
            format!("line {line}: column `{name}` is required and has no value")
        });
    }
}

/// Required columns that the file does not have at all.
pub(super) fn require_absent(
    columns: &Columns,
    mapping: &[usize],
    rows: &[Row],
    problems: &mut Problems,
) {
    let all: Vec<usize> = (0..rows.len()).collect();
    for (i, column) in columns.list.iter().enumerate() {
        if column.required && !mapping.contains(&i) {
            require(column, &all, rows, problems);
        }
    }
}

pub(super) fn refuse_new(
    texts: &Texts<'_>,
    position: usize,
    column: &Column,
    problems: &mut Problems,
) {
    let name = &column.name;
    for (i, row) in texts.rows.iter().enumerate() {
        if !matches!(texts.value(row, position), Value::Null) {
            refuse(problems, i, "new_column", || {
                format!("line {}: the table has no column `{name}`", row.line)
            });
        }
    }
}

/// Finds the rows that are not text, and blanks every invalid byte, so that the rest can be read.
pub(super) fn invalid(raw: &mut [u8], rows: &[Row], encoding: Encoding) -> Problems {
    let mut problems = Problems::new();
    if encoding.is_single_byte() || std::str::from_utf8(raw).is_ok() {
        return problems;
    }
    for (i, row) in rows.iter().enumerate() {
        if let Err(error) = std::str::from_utf8(&raw[row.start as usize..row.end as usize]) {
            let remedy = match encoding {
                Encoding::Utf8 => {
                    " in UTF-8; if the file has another encoding, set `extract.csv.encoding`, such as windows-1252"
                }
                _ => "",
            };
            let reason = format!(
                "line {}: byte {} of the record is not valid text{remedy}",
                row.line,
                error.valid_up_to() + 1
            );
            problems.insert(
                i,
                Problem {
                    code: "invalid_utf8",
                    reason,
                },
            );
        }
    }
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&raw[from..]) {
        let begin = from + error.valid_up_to();
        let end = error.error_len().map_or(raw.len(), |length| begin + length);
        raw[begin..end].fill(b'?');
        from = end;
    }
    problems
}
