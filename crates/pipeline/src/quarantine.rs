//! The quarantine table of a pipeline: `quarantine.<pipeline>`, one row per event.
//!
//! A rejected record is an event `rejected`, written in the commit that moves the position past it. A replay that lands it
//! is an event `replayed` with the same id, written in the commit that holds its rows; `superseded` is written when the
//! whole target was replaced by a later run or an adopted rebuild; `discarded` when somebody discards it. A record is open
//! while no other event names it, so nothing is ever rewritten and a replay can land once only.
//!
//! Rows of older versions have no `extent`: it is derived from `offset` and the length of `record`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use forebay_core::quarantine::{Extent, Scope};
use forebay_core::{Error, Ident, Rejected, Result, RunId, TableName, Timestamp};

/// An event of the quarantine.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `<run>-<split>-<epoch>-<n>`: unique in the pipeline.
    pub id: String,
    pub kind: EventKind,
    pub at: Timestamp,
    pub run: RunId,
    pub split: Ident,
    /// The payload of the record, where that is known.
    pub payload: Option<PayloadKey>,
    pub rejected: Rejected,
}

/// Identifies a payload in `raw.<pipeline>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PayloadKey {
    /// Its URL or file.
    pub name: String,
    pub received_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Rejected,
    /// Its rows have landed.
    Replayed,
    /// The whole target has been replaced, and records rejected then have events of their own.
    Superseded,
    /// The record was discarded by somebody.
    Discarded,
}

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Replayed => "replayed",
            Self::Superseded => "superseded",
            Self::Discarded => "discarded",
        }
    }
}

/// `quarantine.<pipeline>`.
pub fn table(pipeline: &Ident) -> Result<TableName> {
    Ok(TableName::new("quarantine".parse()?, pipeline.clone()))
}

/// Columns of the table.
pub fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let time = |name: &str, nullable: bool| {
        Field::new(
            name,
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            nullable,
        )
    };
    Arc::new(Schema::new(vec![
        text("id"),
        text("event"),
        time("at", false),
        text("run"),
        text("split"),
        Field::new("payload", DataType::Utf8, true),
        time("received_at", true),
        Field::new("extent", DataType::Utf8, true),
        long("extent_start"),
        long("extent_end"),
        long("offset"),
        long("line"),
        text("stage"),
        text("code"),
        text("reason"),
        Field::new("record", DataType::Binary, false),
    ]))
}

/// Events to rows.
pub fn to_batch(events: &[Event]) -> Result<RecordBatch> {
    let text = |get: fn(&Event) -> String| {
        Arc::new(StringArray::from_iter_values(events.iter().map(get))) as ArrayRef
    };
    let optional = |get: fn(&Event) -> Option<&str>| {
        Arc::new(StringArray::from_iter(events.iter().map(get))) as ArrayRef
    };
    let time = |get: fn(&Event) -> Option<Timestamp>| {
        let values = events.iter().map(|event| Some(get(event)?.micros()));
        Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone("+00:00")) as ArrayRef
    };
    let long = |get: fn(&Rejected) -> Option<u64>| {
        let values = events
            .iter()
            .map(|event| get(&event.rejected).and_then(|value| i64::try_from(value).ok()));
        Arc::new(Int64Array::from_iter(values)) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        text(|e| e.id.clone()),
        text(|e| e.kind.as_str().to_owned()),
        time(|e| Some(e.at)),
        text(|e| e.run.to_string()),
        text(|e| e.split.to_string()),
        optional(|e| Some(e.payload.as_ref()?.name.as_str())),
        time(|e| Some(e.payload.as_ref()?.received_at)),
        optional(|e| Some(scope_name(e.rejected.extent?.scope))),
        long(|r| Some(r.extent?.start)),
        long(|r| Some(r.extent?.end).filter(|end| *end < u64::MAX)),
        long(|r| r.offset),
        long(|r| r.line),
        text(|e| e.rejected.stage.clone()),
        text(|e| e.rejected.code.clone()),
        text(|e| e.rejected.shown_reason().into_owned()),
        Arc::new(BinaryArray::from_iter_values(
            events.iter().map(|e| &e.rejected.record),
        )),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|error| {
        Error::bug("quarantine_batch", "failed to build quarantine rows").with_source(error)
    })
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Payload => "payload",
        Scope::Document => "document",
        Scope::Record => "record",
        Scope::Unsized => "unsized",
    }
}

/// Rows of the table, in any order, to the events that are still open, in their original order, without the records' bytes.
#[derive(Debug, Default)]
pub struct OpenEvents {
    rejected: Vec<Event>,
    closed: HashSet<String>,
}

impl OpenEvents {
    /// Takes rows returned by a query of the table (all columns of [`schema`], by name).
    pub fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = Columns::new(rows)?;
        for row in 0..rows.num_rows() {
            if columns.text("event", row)? == EventKind::Rejected.as_str() {
                self.rejected.push(columns.event(row)?);
            } else {
                self.closed.insert(columns.text("id", row)?.to_owned());
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> Vec<Event> {
        self.rejected
            .retain(|event| !self.closed.contains(&event.id));
        self.rejected.sort_by(|a, b| a.id.cmp(&b.id));
        self.rejected
    }
}

struct Columns<'a>(&'a RecordBatch, RecordBatch);

impl<'a> Columns<'a> {
    /// Converts the columns to the types of [`schema`]; a query may return views.
    fn new(rows: &'a RecordBatch) -> Result<Self> {
        let wrong = |error| {
            Error::bug("quarantine_rows", "the quarantine table has other columns")
                .with_source(error)
        };
        let mut columns = Vec::new();
        for field in schema().fields() {
            let column = match rows.column_by_name(field.name()) {
                Some(column) => arrow::compute::cast(column, field.data_type()).map_err(wrong)?,
                // A table of an older version.
                None if field.is_nullable() => new_null_array(field.data_type(), rows.num_rows()),
                None => {
                    let what = format!("the quarantine table has no column `{}`", field.name());
                    return Err(Error::bug("quarantine_rows", what));
                }
            };
            columns.push(column);
        }
        let cast = RecordBatch::try_new(schema(), columns).map_err(wrong)?;
        Ok(Self(rows, cast))
    }

    fn column(&self, name: &str) -> Result<&ArrayRef> {
        self.1.column_by_name(name).ok_or_else(|| {
            Error::bug(
                "quarantine_rows",
                format!("no column `{name}` in {} rows", self.0.num_rows()),
            )
        })
    }

    fn text(&self, name: &str, row: usize) -> Result<&str> {
        Ok(self.column(name)?.as_string::<i32>().value(row))
    }

    fn time(&self, name: &str, row: usize) -> Result<Timestamp> {
        let column = self
            .column(name)?
            .as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        Ok(Timestamp(column.value(row)))
    }

    /// The payload, when both its name and its time are present.
    fn payload(&self, row: usize) -> Result<Option<PayloadKey>> {
        let is_known =
            self.column("payload")?.is_valid(row) && self.column("received_at")?.is_valid(row);
        if !is_known {
            return Ok(None);
        }
        Ok(Some(PayloadKey {
            name: self.text("payload", row)?.to_owned(),
            received_at: self.time("received_at", row)?,
        }))
    }

    fn extent(&self, row: usize) -> Result<Option<Extent>> {
        let offset = self.long("offset", row)?;
        if !self.column("extent")?.is_valid(row) {
            return Ok(match offset {
                // Older versions rejected whole payloads only while extracting.
                None => (self.text("stage", row)? == "extract").then_some(Extent::PAYLOAD),
                Some(start) => {
                    let record = self.column("record")?.as_binary::<i32>().value(row);
                    Some(Extent {
                        scope: Scope::Unsized,
                        start,
                        end: start.saturating_add(record.len() as u64),
                    })
                }
            });
        }
        let scope = match self.text("extent", row)? {
            "payload" => Scope::Payload,
            "document" => Scope::Document,
            "record" => Scope::Record,
            "unsized" => Scope::Unsized,
            other => {
                let what = format!("the quarantine table has an extent {other:?}");
                return Err(Error::unsupported("quarantine_extent", what)
                    .with_hint("use the version of Forebay that wrote it, or a newer one"));
            }
        };
        Ok(Some(Extent {
            scope,
            start: self.long("extent_start", row)?.unwrap_or(0),
            end: self.long("extent_end", row)?.unwrap_or(u64::MAX),
        }))
    }

    fn long(&self, name: &str, row: usize) -> Result<Option<u64>> {
        let column = self
            .column(name)?
            .as_primitive::<arrow::datatypes::Int64Type>();
        Ok(column
            .is_valid(row)
            .then(|| column.value(row))
            .and_then(|value| u64::try_from(value).ok()))
    }

    fn event(&self, row: usize) -> Result<Event> {
        Ok(Event {
            id: self.text("id", row)?.to_owned(),
            kind: EventKind::Rejected,
            at: self.time("at", row)?,
            run: self.text("run", row)?.parse()?,
            split: self.text("split", row)?.parse()?,
            payload: self.payload(row)?,
            rejected: Rejected {
                payload: None,
                extent: self.extent(row)?,
                offset: self.long("offset", row)?,
                line: self.long("line", row)?,
                stage: self.text("stage", row)?.to_owned(),
                code: self.text("code", row)?.to_owned(),
                reason: self.text("reason", row)?.to_owned(),
                // A replay reads the record from the raw zone; a million of them need not wait in memory.
                record: Vec::new(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, kind: EventKind, extent: Option<Extent>) -> Event {
        Event {
            id: id.to_owned(),
            kind,
            at: Timestamp(5),
            run: RunId::new(Timestamp(0), 1),
            split: "all".parse().unwrap(),
            payload: Some(PayloadKey {
                name: "https://example.org/a".to_owned(),
                received_at: Timestamp(4),
            }),
            rejected: Rejected {
                payload: None,
                extent,
                offset: Some(12),
                line: None,
                stage: "extract".to_owned(),
                code: "bad_value".to_owned(),
                reason: "no number".to_owned(),
                record: b"{\"a\":\xff}".to_vec(),
            },
        }
    }

    fn open(rows: &[RecordBatch]) -> Vec<Event> {
        let mut open = OpenEvents::default();
        rows.iter().for_each(|rows| open.add(rows).unwrap());
        open.finish()
    }

    #[test]
    fn what_was_replayed_or_superseded_is_no_longer_open() {
        let extent = Some(Extent::record(10, 9));
        let rejected = ["r-3", "r-2", "r-1"].map(|id| event(id, EventKind::Rejected, extent));
        let replayed = [event("r-2", EventKind::Replayed, extent)];
        let superseded = [event("r-3", EventKind::Superseded, extent)];
        let rows = [&replayed[..], &rejected[..], &superseded[..]];
        let left = open(&rows.map(|events| to_batch(events).unwrap()));
        assert_eq!(left.len(), 1);
        let Rejected { extent, record, .. } = &left[0].rejected;
        assert_eq!(
            (left[0].id.as_str(), *extent),
            ("r-1", Some(Extent::record(10, 9)))
        );
        assert!(record.is_empty());
    }

    #[test]
    fn a_reason_repeats_no_megabyte() {
        let mut long = event("r", EventKind::Rejected, None);
        long.rejected.reason = format!("{} is not a number", "x".repeat(1 << 20));
        let left = open(&[to_batch(&[long]).unwrap()]);
        let reason = &left[0].rejected.reason;
        assert!(reason.len() <= forebay_core::text::MESSAGE_BYTES_MAX);
        assert!(reason.ends_with("x is not a number"));
    }

    #[test]
    fn every_extent_is_read_back() {
        for extent in [
            Extent::PAYLOAD,
            Extent::rest(7),
            Extent::document(3, 4),
            Extent::record(0, 0),
        ] {
            let events = [event("r", EventKind::Rejected, Some(extent))];
            let left = open(&[to_batch(&events).unwrap()]);
            assert_eq!(left[0].rejected.extent, Some(extent));
        }
    }

    #[test]
    fn rows_of_an_older_version_are_read() {
        let rows = to_batch(&[event("r", EventKind::Rejected, None)]).unwrap();
        let older: Vec<usize> = (0..rows.num_columns())
            .filter(|column| !rows.schema().field(*column).name().starts_with("extent"))
            .collect();
        let left = open(&[rows.project(&older).unwrap()]);
        let expected = Extent {
            scope: Scope::Unsized,
            start: 12,
            end: 19,
        };
        assert_eq!(left[0].rejected.extent, Some(expected));
        assert!(left[0].payload.is_some());
    }

    #[test]
    fn a_payload_that_is_not_known_is_not_made_up() {
        let mut unknown = event("r", EventKind::Rejected, None);
        unknown.payload = None;
        unknown.rejected.offset = None;
        unknown.rejected.stage = "transform[0]".to_owned();
        let left = open(&[to_batch(&[unknown]).unwrap()]);
        assert_eq!((&left[0].payload, left[0].rejected.extent), (&None, None));
    }
}
