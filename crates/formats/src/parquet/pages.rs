//! Checks the page headers of a file before any page is decoded.
//!
//! Checksum mismatches, and implausible expansion, reject the file: a decoder would give wrong values for the one and take
//! all memory for the other. A page header that cannot be read rejects the file where its column still lacks values: the
//! decoder could read it otherwise, and never end. Behind the last value the check ends there.

use std::sync::Arc;

use ::parquet::basic::Type;
use ::parquet::column::page::{Page, PageReader};
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::file::serialized_reader::SerializedPageReader;
use bytes::Bytes;
use forebay_core::thrift::Fault;

use super::input::ObjectFile;
use super::lists::{self, WindowBytes};
use super::plan::Refusal;
use super::thrift::PageHeader;
use super::{BATCH_BYTES, BATCH_ROWS, RATIO_FLOOR_BYTES, RATIO_MAX, VALUE_BYTES_MAX, corrupt};

/// Bytes read at once while pages are skipped.
const READ_BYTES: u64 = 1 << 20;

/// Largest page header: it may hold the smallest and largest value.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// Most bytes that one page may expand to.
const PAGE_BYTES_MAX: u64 = 256 << 20;

/// Checks every page, and returns how many rows to decode at once so that the longest values fit into memory.
pub(super) fn check(file: &ObjectFile, metadata: &ParquetMetaData) -> Result<usize, Refusal> {
    let mut check = Check {
        file,
        stored: 0,
        decoded: 0,
        rows: BATCH_ROWS as u64,
        first_row: 0,
    };
    for group in metadata.row_groups() {
        check.group(group)?;
    }
    Ok(usize::try_from(check.rows).unwrap_or(BATCH_ROWS))
}

/// A file that decodes to more than this ratio is not plausible data.
pub(super) fn check_ratio(file_bytes: u64, decoded: u64) -> Result<(), Refusal> {
    if decoded <= RATIO_FLOOR_BYTES || decoded / RATIO_MAX <= file_bytes {
        return Ok(());
    }
    Err(Refusal {
        code: "ratio_exceeded",
        reason: format!(
            "the file expands more than {RATIO_MAX} times: {file_bytes} bytes give {decoded}; rewrite it if it is not a decompression bomb"
        ),
    })
}

struct Check<'a> {
    file: &'a ObjectFile,
    /// Bytes of all column chunks so far, and bytes that they decode to at least.
    stored: u64,
    decoded: u64,
    rows: u64,
    /// The row of the file that the row group begins with.
    first_row: u64,
}

impl Check<'_> {
    fn group(&mut self, group: &RowGroupMetaData) -> Result<(), Refusal> {
        let mut row_bytes = 0_u64;
        let mut lists = WindowBytes::default();
        for chunk in group.columns() {
            let pages = self.chunk(chunk)?;
            let longest = self.longest(chunk, pages.dictionary)?;
            row_bytes = row_bytes.saturating_add(longest);
            if is_large_list(chunk, &pages) {
                lists.add(lists::measure(self.file, chunk, self.first_row)?);
            }
        }
        let rows = (BATCH_BYTES / row_bytes.max(1)).max(1);
        self.rows = self.rows.min(rows).min(lists.rows());
        let count = u64::try_from(group.num_rows()).unwrap_or(0);
        self.first_row = self.first_row.saturating_add(count);
        Ok(())
    }

    /// Checks a column chunk, and returns a summary of its page headers.
    fn chunk(&mut self, chunk: &ColumnChunkMetaData) -> Result<ChunkPages, Refusal> {
        let (start, length) = chunk.byte_range();
        self.stored = self.stored.saturating_add(length);
        if self.stored > self.file.len() {
            return Err(corrupt("its column chunks overlap"));
        }
        let mut pages = Pages {
            file: self.file,
            at: start,
            end: start.saturating_add(length).min(self.file.len()),
            held_from: start,
            held: Bytes::new(),
            fault: None,
        };
        let mut dictionary = 0;
        let mut values = 0_u64;
        let mut expanded = 0_u64;
        while let Some(header) = pages.next()? {
            expanded = expanded.saturating_add(header.expanded);
            check_ratio(self.file.len(), self.decoded.saturating_add(expanded))?;
            if header.expanded > PAGE_BYTES_MAX {
                return Err(Refusal {
                    code: "page_too_large",
                    reason: format!(
                        "a page expands to {} bytes, more than {} MiB",
                        header.expanded,
                        PAGE_BYTES_MAX >> 20
                    ),
                });
            }
            if header.is_dictionary() {
                dictionary = header.expanded;
            }
            values = values.saturating_add(if header.is_data() { header.values } else { 0 });
        }
        pages.check_end(chunk, values)?;
        // Few bytes of a page can encode many equal values.
        let least = values.saturating_mul(width(chunk));
        self.decoded = self.decoded.saturating_add(expanded.max(least));
        check_ratio(self.file.len(), self.decoded)?;
        Ok(ChunkPages { dictionary, values })
    }

    /// Bytes of the longest value in the chunk's dictionary, which few bytes of a page can repeat many times.
    fn longest(&self, chunk: &ColumnChunkMetaData, dictionary: u64) -> Result<u64, Refusal> {
        let texts = chunk.column_type() == Type::BYTE_ARRAY;
        if !texts || dictionary <= BATCH_BYTES / BATCH_ROWS as u64 {
            return Ok(if texts { 0 } else { width(chunk) });
        }
        let pages = SerializedPageReader::new(Arc::new(self.file.clone()), chunk, 0, None);
        let page = pages.and_then(|mut pages| pages.get_next_page());
        let longest = match page.map_err(super::refused)? {
            Some(Page::DictionaryPage { buf, .. }) => text_lengths(&buf).max().unwrap_or(0).into(),
            _ => dictionary,
        };
        if longest > VALUE_BYTES_MAX {
            return Err(super::value_too_large());
        }
        Ok(longest)
    }
}

/// A summary of the headers of a chunk's pages.
struct ChunkPages {
    /// Bytes of the dictionary.
    dictionary: u64,
    values: u64,
}

/// Whether one row of a chunk of lists could be too large, or too many rows of it.
fn is_large_list(chunk: &ColumnChunkMetaData, pages: &ChunkPages) -> bool {
    let is_list = chunk.column_descr().max_rep_level() > 0;
    let most = lists::element_bytes(chunk).saturating_add(pages.dictionary);
    is_list && pages.values.saturating_mul(most) > BATCH_BYTES.min(VALUE_BYTES_MAX)
}

/// Bytes that every value of a chunk has in memory at least.
pub(super) fn width(chunk: &ColumnChunkMetaData) -> u64 {
    match chunk.column_type() {
        Type::BOOLEAN => 0,
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
        Type::INT64 | Type::DOUBLE | Type::INT96 => 8,
        Type::FIXED_LEN_BYTE_ARRAY => {
            u64::try_from(chunk.column_descr().type_length()).unwrap_or(0)
        }
    }
}

/// Lengths of texts that follow each other with their length before them.
pub(super) fn text_lengths(texts: &[u8]) -> impl Iterator<Item = u32> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let (length, texts) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        rest = texts.get(length as usize..).unwrap_or_default();
        Some(length)
    })
}

/// The pages of a column chunk, one after the other.
struct Pages<'a> {
    file: &'a ObjectFile,
    at: u64,
    end: u64,
    held_from: u64,
    held: Bytes,
    /// Why the header at the end cannot be read.
    fault: Option<Fault>,
}

impl Pages<'_> {
    /// Checks where the pages end, after `values`. The decoder of lists looks for a page after the last value.
    fn check_end(&self, chunk: &ColumnChunkMetaData, values: u64) -> Result<(), Refusal> {
        let promised = u64::try_from(chunk.num_values()).unwrap_or(0);
        let is_read_on = values < promised || chunk.column_descr().max_rep_level() > 0;
        let why = match self.fault {
            Some(Fault::Bad(why)) if is_read_on => why,
            Some(Fault::Cut) if is_read_on => "it ends too late",
            _ => return Ok(()),
        };
        let at = self.at;
        Err(corrupt(&format!(
            "the header of the page at byte {at} cannot be read: {why}"
        )))
    }

    /// The next page's header, its checksum verified; `None` at the end, or where the header cannot be read.
    fn next(&mut self) -> Result<Option<PageHeader>, Refusal> {
        let mut wanted = READ_BYTES;
        let header = loop {
            let bytes = self.some(wanted)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let fault = match PageHeader::read(&bytes) {
                Ok(header) => break header,
                Err(fault) => fault,
            };
            let is_last = wanted >= HEADER_BYTES_MAX || self.at + wanted >= self.end;
            if is_last || fault != Fault::Cut {
                self.fault = Some(fault);
                return Ok(None);
            }
            wanted *= 4;
        };
        self.at += header.length as u64;
        match header.checksum {
            Some(checksum) => self.verify(header.stored, checksum)?,
            None => self.at += header.stored,
        }
        Ok(Some(header))
    }

    fn verify(&mut self, stored: u64, checksum: u32) -> Result<(), Refusal> {
        let page = self.at;
        let mut left = stored;
        let mut crc = flate2::Crc::new();
        while left > 0 {
            let mut bytes = self.some(left.min(READ_BYTES))?;
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if bytes.is_empty() {
                return Err(corrupt("a page is past the end of its column chunk"));
            }
            crc.update(&bytes);
            self.at += bytes.len() as u64;
            left -= bytes.len() as u64;
        }
        if crc.sum() == checksum {
            return Ok(());
        }
        Err(corrupt(&format!(
            "the checksum of the page at byte {page} is wrong"
        )))
    }

    /// The bytes from here on: `wanted` or more, fewer only at the chunk's end.
    fn some(&mut self, wanted: u64) -> Result<Bytes, Refusal> {
        let left = self.end.saturating_sub(self.at);
        let wanted = wanted.min(left);
        let held_to = self.held_from + self.held.len() as u64;
        if self.at < self.held_from || self.at + wanted > held_to {
            let length = usize::try_from(wanted.max(READ_BYTES).min(left)).unwrap_or(0);
            self.held = self
                .file
                .get_bytes(self.at, length)
                .map_err(super::refused)?;
            self.held_from = self.at;
        }
        let from = usize::try_from(self.at - self.held_from).unwrap_or(0);
        Ok(self.held.slice(from.min(self.held.len())..))
    }
}
