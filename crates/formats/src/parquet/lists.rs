//! Size of the rows of a column chunk of lists, computed from the levels of its pages before a value is decoded.
//!
//! A few bytes of a page can encode millions of elements, all of them in one row. So the rows are measured one by one: one
//! that is too large rejects the file, and the others determine how many may be decoded at once. Values are never decoded
//! here, except the dictionary indexes of texts.

use std::sync::Arc;

use ::parquet::basic::{Encoding, Type};
use ::parquet::column::page::{Page, PageReader};
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::serialized_reader::SerializedPageReader;
use bytes::Bytes;

use super::hybrid::Hybrid;
use super::input::ObjectFile;
use super::pages::{text_lengths, width};
use super::plan::Refusal;
use super::{BATCH_BYTES, BATCH_ROWS, VALUE_BYTES_MAX, value_too_large};

/// Rows that may be decoded at once, most first.
const WINDOWS: [u64; 5] = [BATCH_ROWS as u64, 1_024, 128, 16, 1];

/// Memory of a text element besides its bytes: index and levels while it is decoded.
const TEXT_BYTES: u64 = 16;

/// Bytes of the largest windows of this many rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WindowBytes([u64; WINDOWS.len()]);

impl WindowBytes {
    /// Adds those of another column of the same rows.
    pub(super) fn add(&mut self, other: Self) {
        for (bytes, other) in self.0.iter_mut().zip(other.0) {
            *bytes = bytes.saturating_add(other);
        }
    }

    /// The number of rows that make a batch of at most [`BATCH_BYTES`], if possible.
    pub(super) fn rows(self) -> u64 {
        let fits = self.0.iter().position(|bytes| *bytes <= BATCH_BYTES);
        fits.map_or(1, |window| WINDOWS[window])
    }
}

/// Bytes that an element of a chunk takes at least.
pub(super) fn element_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    match chunk.column_type() {
        Type::BYTE_ARRAY => TEXT_BYTES,
        _ => width(chunk).max(1),
    }
}

/// Rejects a chunk whose rows have too many elements by the mean in the footer.
pub(super) fn check_mean(chunk: &ColumnChunkMetaData, rows: u64) -> Result<(), Refusal> {
    let elements = u64::try_from(chunk.num_values()).unwrap_or(0) / rows.max(1);
    let is_list = chunk.column_descr().max_rep_level() > 0;
    if is_list && elements.saturating_mul(element_bytes(chunk)) > VALUE_BYTES_MAX {
        return Err(value_too_large());
    }
    Ok(())
}

/// Measures the rows of a chunk of lists, whose first row is the file's `first_row`.
///
/// Errors: `value_too_large`, and those of pages that cannot be read.
pub(super) fn measure(
    file: &ObjectFile,
    chunk: &ColumnChunkMetaData,
    first_row: u64,
) -> Result<WindowBytes, Refusal> {
    let pages = SerializedPageReader::new(Arc::new(file.clone()), chunk, 0, None);
    let mut pages = pages.map_err(super::refused)?;
    let mut measure = Measure {
        element: element_bytes(chunk),
        has_texts: chunk.column_type() == Type::BYTE_ARRAY,
        max_repetition: chunk.column_descr().max_rep_level(),
        max_definition: chunk.column_descr().max_def_level(),
        lengths: Vec::new(),
        rows: RowBytes::new(first_row),
    };
    while let Some(page) = pages.get_next_page().map_err(super::refused)? {
        measure.page(page)?;
    }
    measure.rows.end_row();
    Ok(WindowBytes(measure.rows.most))
}

struct Measure {
    element: u64,
    has_texts: bool,
    max_repetition: i16,
    max_definition: i16,
    /// Of the texts of the dictionary.
    lengths: Vec<u32>,
    rows: RowBytes,
}

/// A data page in its parts.
struct Parts {
    elements: u32,
    repetition: Bytes,
    definition: Bytes,
    values: Bytes,
    encoding: Encoding,
}

impl Measure {
    fn page(&mut self, page: Page) -> Result<(), Refusal> {
        match page {
            Page::DictionaryPage { buf, .. } if self.has_texts => {
                self.lengths = text_lengths(&buf).collect();
                Ok(())
            }
            Page::DictionaryPage { .. } => Ok(()),
            page => {
                let elements = page.num_values();
                match self.parts(page) {
                    Some(parts) => self.elements(&parts),
                    // Levels in an encoding that writers no longer use: the page may be one row.
                    None => self.rows.add(self.element * u64::from(elements)),
                }
            }
        }
    }

    /// `None` where the levels cannot be separated.
    fn parts(&self, page: Page) -> Option<Parts> {
        match page {
            Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                ..
            } => {
                let (repetition, rest) = levels(buf, rep_level_encoding, true)?;
                let has_definition = self.max_definition > 0;
                let (definition, values) = levels(rest, def_level_encoding, has_definition)?;
                Some(Parts {
                    elements: num_values,
                    repetition,
                    definition,
                    values,
                    encoding,
                })
            }
            Page::DataPageV2 {
                mut buf,
                num_values,
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => Some(Parts {
                elements: num_values,
                repetition: cut(&mut buf, rep_levels_byte_len)?,
                definition: cut(&mut buf, def_levels_byte_len)?,
                values: buf,
                encoding,
            }),
            Page::DictionaryPage { .. } => None,
        }
    }

    fn elements(&mut self, parts: &Parts) -> Result<(), Refusal> {
        let mut repetition = Hybrid::new(&parts.repetition, bits(self.max_repetition));
        let mut definition = Hybrid::new(&parts.definition, bits(self.max_definition));
        let is_indexed = matches!(
            parts.encoding,
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
        );
        let mut places = match parts.values.split_first() {
            Some((bits, places)) if is_indexed && self.has_texts => {
                Some(Hybrid::new(places, u32::from(*bits)))
            }
            _ => None,
        };
        // Other texts are stored in the page itself.
        let mean = match self.has_texts && places.is_none() {
            true => parts.values.len() as u64 / u64::from(parts.elements.max(1)),
            false => 0,
        };
        for _ in 0..parts.elements {
            if repetition.next() == Some(0) {
                self.rows.end_row();
            }
            let is_there = self.max_definition == 0
                || definition.next() == u32::try_from(self.max_definition).ok();
            let place = places
                .as_mut()
                .filter(|_| is_there)
                .and_then(Iterator::next);
            let length = place.and_then(|place| self.lengths.get(place as usize));
            let text = length.map_or(mean, |length| u64::from(*length));
            self.rows.add(self.element + text)?;
        }
        Ok(())
    }
}

/// Bits of a level.
fn bits(max: i16) -> u32 {
    16 - max.max(0).leading_zeros()
}

fn cut(bytes: &mut Bytes, length: u32) -> Option<Bytes> {
    let length = length as usize;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// The levels at the start of a page of the first version, and the rest after them.
fn levels(mut bytes: Bytes, encoding: Encoding, are_there: bool) -> Option<(Bytes, Bytes)> {
    if !are_there {
        return Some((Bytes::new(), bytes));
    }
    if encoding != Encoding::RLE {
        return None;
    }
    let length = cut(&mut bytes, 4)?;
    let length = u32::from_le_bytes(length.as_ref().try_into().ok()?);
    let levels = cut(&mut bytes, length)?;
    Some((levels, bytes))
}

/// The bytes of the row in progress, and of the windows of rows that it belongs to.
struct RowBytes {
    row: u64,
    bytes: u64,
    windows: [u64; WINDOWS.len()],
    most: [u64; WINDOWS.len()],
}

impl RowBytes {
    fn new(first_row: u64) -> Self {
        Self {
            row: first_row,
            bytes: 0,
            windows: [0; WINDOWS.len()],
            most: [0; WINDOWS.len()],
        }
    }

    fn add(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > VALUE_BYTES_MAX {
            return Err(value_too_large());
        }
        Ok(())
    }

    /// Ends the row, if there is one.
    fn end_row(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        for (window, rows) in WINDOWS.iter().enumerate() {
            let sum = &mut self.windows[window];
            if self.row.is_multiple_of(*rows) {
                *sum = 0;
            }
            *sum += bytes;
            self.most[window] = self.most[window].max(*sum);
        }
        self.row += 1;
    }
}
