//! The quarantine table of a pipeline: `quarantine.<pipeline>`, one row an event.
//!
//! A refused record is an event `rejected`, written in the commit that moves the position past it. A replay that lands it
//! is an event `replayed` with the same id, written in the commit that holds its rows. A record is open while no
//! `replayed` event names it, so nothing is ever rewritten and a replay can land once only.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
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
    /// Name of the payload (URL, file).
    pub payload: String,
    /// When the payload was received; with its name it identifies it in `raw.<pipeline>`.
    pub received_at: Timestamp,
    pub rejected: Rejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Rejected,
    Replayed,
}

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Replayed => "replayed",
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
    let time = |name: &str| {
        Field::new(
            name,
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            false,
        )
    };
    Arc::new(Schema::new(vec![
        text("id"),
        text("event"),
        time("at"),
        text("run"),
        text("split"),
        text("payload"),
        time("received_at"),
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
    let time = |get: fn(&Event) -> Timestamp| {
        let values = events.iter().map(|event| get(event).micros());
        Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("+00:00"))
            as ArrayRef
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
        time(|e| e.at),
        text(|e| e.run.to_string()),
        text(|e| e.split.to_string()),
        text(|e| e.payload.clone()),
        time(|e| e.received_at),
        long(|r| r.offset),
        long(|r| r.line),
        text(|e| e.rejected.stage.clone()),
        text(|e| e.rejected.code.clone()),
        text(|e| e.rejected.reason.clone()),
        Arc::new(BinaryArray::from_iter_values(
            events.iter().map(|e| &e.rejected.record),
        )),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|error| {
        Error::bug("quarantine_batch", "failed to build quarantine rows").with_source(error)
    })
}

/// Rows of the table, in any order, to the events that are still open, in the order they came, without the records'
/// bytes.
#[derive(Debug, Default)]
pub struct OpenEvents {
    rejected: Vec<Event>,
    replayed: HashSet<String>,
}

impl OpenEvents {
    /// Takes rows as a query of the table gives them (all columns of [`schema`], by name).
    pub fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = Columns::new(rows)?;
        for row in 0..rows.num_rows() {
            if columns.text("event", row)? == "replayed" {
                self.replayed.insert(columns.text("id", row)?.to_owned());
            } else {
                self.rejected.push(columns.event(row)?);
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> Vec<Event> {
        self.rejected
            .retain(|event| !self.replayed.contains(&event.id));
        self.rejected.sort_by(|a, b| a.id.cmp(&b.id));
        self.rejected
    }
}

struct Columns<'a>(&'a RecordBatch, RecordBatch);

impl<'a> Columns<'a> {
    /// Brings the columns to the types of [`schema`]; a query may give views.
    fn new(rows: &'a RecordBatch) -> Result<Self> {
        let wrong = |error| {
            Error::bug("quarantine_rows", "the quarantine table has other columns")
                .with_source(error)
        };
        let mut columns = Vec::new();
        for field in schema().fields() {
            let column = rows.column_by_name(field.name()).ok_or_else(|| {
                Error::bug(
                    "quarantine_rows",
                    format!("the quarantine table has no column `{}`", field.name()),
                )
            })?;
            columns.push(arrow::compute::cast(column, field.data_type()).map_err(wrong)?);
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
            payload: self.text("payload", row)?.to_owned(),
            received_at: self.time("received_at", row)?,
            rejected: Rejected {
                payload: 0,
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

    fn event(id: &str, kind: EventKind) -> Event {
        Event {
            id: id.to_owned(),
            kind,
            at: Timestamp(5),
            run: RunId::new(Timestamp(0), 1),
            split: "all".parse().unwrap(),
            payload: "https://example.org/a".to_owned(),
            received_at: Timestamp(4),
            rejected: Rejected {
                payload: 0,
                offset: Some(12),
                line: None,
                stage: "extract".to_owned(),
                code: "bad_value".to_owned(),
                reason: "no number".to_owned(),
                record: b"{\"a\":\xff}".to_vec(),
            },
        }
    }

    #[test]
    fn what_was_replayed_is_no_longer_open() {
        let rejected = [
            event("r-2", EventKind::Rejected),
            event("r-1", EventKind::Rejected),
        ];
        let replayed = [event("r-2", EventKind::Replayed)];
        let mut open = OpenEvents::default();
        open.add(&to_batch(&replayed).unwrap()).unwrap();
        open.add(&to_batch(&rejected).unwrap()).unwrap();
        let left = open.finish();
        assert_eq!(left.len(), 1);
        assert_eq!(
            (left[0].id.as_str(), left[0].rejected.offset),
            ("r-1", Some(12))
        );
    }
}
