//! Converts Arrow rows to rows of COPY BINARY.
//!
//! A batch's columns are prepared once, then each row is written into a reused buffer: nothing is allocated for a row. A
//! value that the column cannot hold exactly rejects its row; the written part of that row is removed.

mod column;
mod json;
mod number;
mod put;
mod time;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use bytes::{BufMut, BytesMut};
use forebay_core::{Result, VARIANT_SEPARATOR};

use self::column::Column;
pub(super) use self::column::can_encode;
use super::fit::BarredColumn;
use super::table::Place;

/// The header of a COPY.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The trailer of a COPY.
pub(super) const TRAILER: &[u8] = &[0xff, 0xff];

/// Most bytes of a value in Postgres.
const VALUE_BYTES_MAX: usize = 0x3fff_ffff;

/// Code of a row whose key has no value.
const NULL_KEY: &str = "null_key";

/// Why a value does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) code: &'static str,
    pub(super) reason: String,
}

impl Misfit {
    fn new(code: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { code, reason }
    }
}

/// A row that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) row: usize,
    pub(super) code: &'static str,
    pub(super) reason: String,
}

/// The columns of one batch, ready to be written row by row.
pub(super) struct Rows {
    columns: Vec<(Place, Column)>,
    /// Columns that the table cannot have, and the rows without a value in them.
    barred: Vec<(BarredColumn, Option<NullBuffer>)>,
    /// Columns for values of another type than a key's, by name.
    variants: Vec<(String, ArrayRef)>,
    /// A last column with the row's number, for tables that rows are staged in.
    number: Option<u64>,
}

impl Rows {
    /// `places` are columns of the batch, by name; a row with a value in a column of `barred` is rejected. With `number`
    /// each row gets one more column, which counts from it.
    pub(super) fn new(
        records: &RecordBatch,
        places: &[Place],
        barred: &[BarredColumn],
        number: Option<u64>,
    ) -> Result<Self> {
        let columns = places.iter().map(|place| {
            let array = records.column_by_name(&place.name).ok_or_else(|| {
                forebay_core::Error::bug("no_column", "a batch has lost a column")
            })?;
            Ok((place.clone(), Column::new(array, &place.kind)?))
        });
        let barred = barred.iter().filter_map(|column| {
            let array = records.column_by_name(&column.name)?;
            Some((column.clone(), array.logical_nulls()))
        });
        let fields = records.schema_ref().fields().iter();
        let fields = fields.zip(records.columns());
        let variants = fields
            .filter(|(field, _)| field.name().contains(VARIANT_SEPARATOR))
            .map(|(field, array)| (field.name().clone(), array.clone()));
        Ok(Self {
            variants: variants.collect(),
            columns: columns.collect::<Result<_>>()?,
            barred: barred.collect(),
            number,
        })
    }

    /// Appends one row, or returns why it cannot be sent and leaves the buffer unchanged.
    pub(super) fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), Unfit> {
        self.check_barred(row)?;
        let begin = out.len();
        let count = self.columns.len() + usize::from(self.number.is_some());
        out.put_i16(count as i16);
        for (place, column) in &self.columns {
            if let Err(misfit) = cell(place, column, row, out) {
                out.truncate(begin);
                let reason = match misfit.code {
                    NULL_KEY => self.key_in_variant(&place.name, row),
                    _ => None,
                };
                let reason = reason.unwrap_or(misfit.reason);
                return Err(Unfit {
                    row,
                    code: misfit.code,
                    reason: format!("column `{}`: {reason}", place.name),
                });
            }
        }
        if let Some(number) = self.number {
            out.put_i32(8);
            out.put_i64((number + row as u64).cast_signed());
        }
        Ok(())
    }

    /// The reason for a key without a value whose record has one of another type: it is in a column beside the key.
    fn key_in_variant(&self, key: &str, row: usize) -> Option<String> {
        let prefix = format!("{key}{VARIANT_SEPARATOR}");
        let mut variants = self
            .variants
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix));
        let (name, _) = variants.find(|(_, array)| array.is_valid(row))?;
        Some(format!(
            "the value of the key is of another type, so it is in `{name}`: declare the type of `{key}` under `schema.columns`"
        ))
    }

    fn check_barred(&self, row: usize) -> Result<(), Unfit> {
        let mut with_value = self.barred.iter().filter(|(_, nulls)| {
            let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            !is_null
        });
        match with_value.next() {
            None => Ok(()),
            Some((column, _)) => Err(Unfit {
                row,
                code: column.code,
                reason: column.reason.clone(),
            }),
        }
    }

    /// A hash of the key's bytes: equal for rows whose keys are written alike.
    pub(super) fn key(
        &self,
        row: usize,
        hasher: &ahash::RandomState,
        room: &mut BytesMut,
    ) -> Option<u64> {
        room.clear();
        for (place, column) in self.columns.iter().filter(|(place, _)| place.key) {
            cell(place, column, row, room).ok()?;
        }
        Some(hasher.hash_one(&room[..]))
    }
}

fn cell(place: &Place, column: &Column, row: usize, out: &mut BytesMut) -> Result<(), Misfit> {
    if column.is_null(row) {
        if place.key {
            return Err(Misfit::new(NULL_KEY, "a key column has no value"));
        }
        out.put_i32(-1);
        return Ok(());
    }
    let begin = out.len();
    out.put_i32(0);
    column.put(row, out)?;
    let length = out.len() - begin - 4;
    if length > VALUE_BYTES_MAX {
        let reason = format!(
            "the value has {length} bytes, more than the {VALUE_BYTES_MAX} that Postgres allows"
        );
        return Err(Misfit::new("value_too_large", reason));
    }
    out[begin..begin + 4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
