//! Rejected records, each as a small file of its own.
//!
//! The text before the first record is kept with it, so that a replay needs only the rejected record.

use forebay_core::Rejected;
use forebay_core::quarantine::{self, Extent};

use super::{CsvExtraction, PREAMBLE_BYTES_MAX, Payload, Stage};
use crate::Extracted;
use crate::csv::batch::Row;
use crate::csv::problems::Problems;

/// The position of a rejected record.
struct RefusedPlace {
    payload: u64,
    extent: Extent,
    offset: Option<u64>,
    line: u64,
}

/// The extent of a reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Only the piece.
    Piece,
    /// Also the rest; the whole payload, when its rows have not begun.
    Rest,
    /// The whole payload, so that a replay lands all of its rows.
    Payload,
}

/// The reason and the extent.
pub(super) struct Refusal<'a> {
    pub(super) reach: Reach,
    pub(super) code: &'a str,
    pub(super) reason: String,
}

impl<'a> Refusal<'a> {
    /// Only a piece of the file.
    pub(super) fn of_piece(code: &'a str, reason: String) -> Self {
        Self {
            reach: Reach::Piece,
            code,
            reason,
        }
    }
}

impl CsvExtraction {
    pub(super) fn refuse(
        &self,
        payload: &mut Payload,
        (start, end, line): (usize, usize, u64),
        refusal: Refusal<'_>,
        out: &mut Extracted,
    ) {
        let Refusal {
            reach,
            code,
            reason,
        } = refusal;
        let offset = self.offset(payload, start);
        let record = [payload.preamble.as_slice(), &self.raw[start..end]].concat();
        let length = self.options.encoding.source_bytes(&self.raw[start..end]);
        let extent = match reach {
            Reach::Piece => Extent::document(offset, length),
            Reach::Rest if payload.stage == Stage::Rows => Extent::rest(offset),
            Reach::Rest | Reach::Payload => Extent::PAYLOAD,
        };
        let place = RefusedPlace {
            payload: payload.ordinal,
            extent,
            offset: Some(offset).filter(|_| reach != Reach::Payload),
            line,
        };
        out.rejected
            .push(self.rejected(place, code, reason, &record));
    }

    /// Rejects a payload whose header cannot be used.
    pub(super) fn refuse_payload(
        &self,
        payload: &mut Payload,
        place: (usize, usize, u64),
        code: &str,
        reason: String,
        out: &mut Extracted,
    ) {
        payload.stage = Stage::Dead;
        let refusal = Refusal {
            reach: Reach::Payload,
            code,
            reason,
        };
        self.refuse(payload, place, refusal, out);
    }

    fn rejected(&self, place: RefusedPlace, code: &str, reason: String, record: &[u8]) -> Rejected {
        let mut record = self.options.encoding.to_source(record);
        record.truncate(quarantine::RECORD_BYTES_MAX);
        Rejected {
            payload: Some(place.payload),
            extent: Some(place.extent),
            offset: place.offset,
            line: Some(place.line),
            stage: "extract".to_owned(),
            code: code.to_owned(),
            reason,
            record,
        }
    }

    pub(super) fn refuse_rows(
        &self,
        rows: &[Row],
        problems: Problems,
        pristine: Option<Vec<u8>>,
        out: &mut Extracted,
    ) {
        let raw = pristine.as_deref().unwrap_or(&self.raw);
        for (i, problem) in problems {
            let row = &rows[i];
            let record = [
                self.header_line().as_slice(),
                &raw[row.start as usize..row.end as usize],
            ]
            .concat();
            let place = RefusedPlace {
                payload: row.payload,
                extent: Extent::record(row.offset, u64::from(row.length)),
                offset: Some(row.offset),
                line: row.line,
            };
            out.rejected
                .push(self.rejected(place, problem.code, problem.reason, &record));
        }
    }

    /// A header for the rows held, which may be of several files with the same columns.
    pub(super) fn header_line(&self) -> Vec<u8> {
        if !self.options.header {
            return Vec::new();
        }
        let delimiter = [self.options.dialect.delimiter];
        let names = self
            .mapping
            .iter()
            .map(|column| self.columns.list[*column].name.as_bytes());
        let names: Vec<Vec<u8>> = names.map(|name| self.quote(name)).collect();
        let skipped = usize::try_from(self.options.skip_lines)
            .unwrap_or(0)
            .min(PREAMBLE_BYTES_MAX);
        [
            vec![b'\n'; skipped],
            names.join(&delimiter[..]),
            vec![b'\n'],
        ]
        .concat()
    }

    fn quote(&self, name: &[u8]) -> Vec<u8> {
        let dialect = &self.options.dialect;
        let special = |byte: &u8| {
            [dialect.delimiter, b'\n', b'\r'].contains(byte) || Some(*byte) == dialect.quote
        };
        let Some(quote) = dialect.quote.filter(|_| name.iter().any(special)) else {
            return name.to_vec();
        };
        let escape = dialect.escape.unwrap_or(quote);
        let escaped = name.iter().flat_map(|byte| {
            let needs = *byte == quote || *byte == escape;
            needs.then_some(escape).into_iter().chain([*byte])
        });
        [quote].into_iter().chain(escaped).chain([quote]).collect()
    }
}
