//! Records that are refused, each as a small file of its own.
//!
//! What stands before the first record goes with it, so that a replay needs nothing but the refused record.

use forebay_core::Rejected;
use forebay_core::quarantine::{self, Extent};

use super::{CsvExtraction, PREAMBLE_BYTES_MAX, Payload, Stage};
use crate::extract::Extracted;
use crate::extract::csv::batch::{Problems, Row};

/// Where a refused record is.
struct RefusedPlace {
    payload: u64,
    extent: Extent,
    line: u64,
}

impl CsvExtraction {
    pub(super) fn refuse(
        &self,
        payload: &mut Payload,
        (start, end, line): (usize, usize, u64),
        code: &str,
        reason: String,
        out: &mut Extracted,
    ) {
        let offset = self.offset(payload, start);
        let record = [payload.preamble.as_slice(), &self.raw[start..end]].concat();
        let length = self.options.encoding.source_bytes(&self.raw[start..end]);
        let place = RefusedPlace {
            payload: payload.ordinal,
            extent: Extent::document(offset, length),
            line,
        };
        out.rejected
            .push(self.rejected(place, code, reason, &record));
    }

    /// Refuses what is left of a payload that breaks off in the record at `place`.
    pub(super) fn refuse_rest(
        &self,
        payload: &mut Payload,
        place: (usize, usize, u64),
        code: &str,
        reason: String,
        out: &mut Extracted,
    ) {
        let has_rows = payload.stage == Stage::Rows;
        self.refuse(payload, place, code, reason, out);
        if let Some(refused) = out.rejected.last_mut() {
            let start = refused.offset.filter(|_| has_rows);
            refused.extent = Some(start.map_or(Extent::PAYLOAD, Extent::rest));
        }
    }

    /// Refuses a payload whose header cannot be used: as a whole, so that a replay lands all of its rows.
    pub(super) fn refuse_payload(
        &self,
        payload: &mut Payload,
        place: (usize, usize, u64),
        code: &str,
        reason: String,
        out: &mut Extracted,
    ) {
        payload.stage = Stage::Dead;
        self.refuse(payload, place, code, reason, out);
        if let Some(refused) = out.rejected.last_mut() {
            refused.offset = None;
            refused.extent = Some(Extent::PAYLOAD);
        }
    }

    fn rejected(&self, place: RefusedPlace, code: &str, reason: String, record: &[u8]) -> Rejected {
        let mut record = self.options.encoding.to_source(record);
        record.truncate(quarantine::RECORD_BYTES_MAX);
        Rejected {
            payload: Some(place.payload),
            extent: Some(place.extent),
            offset: Some(place.extent.start),
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
