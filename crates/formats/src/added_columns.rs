//! Columns that a source adds to the main rows of its records: metadata of a row outside its bytes.
//!
//! Wraps an extraction. Rows carry their payload and their position in it, and may be held back across payloads; the
//! metadata of a payload is kept as long.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use forebay_core::{Batch, Error, Origins, PayloadHead, Result};
use parking_lot::{Mutex, MutexGuard};

use super::message::MessagePacking;
use crate::contract::Contract;
use crate::{Extracted, Extraction, ObjectInput, Outlet};

/// The payload metadata of a source.
pub trait ColumnSource: fmt::Debug + Send + 'static {
    /// Whether there are columns to add.
    fn has_columns(&self) -> bool;

    /// Whether rows have to be released before this payload is noted.
    fn is_full(&self, head: &PayloadHead) -> bool;

    /// Records the metadata of a payload before its rows.
    fn note(&mut self, head: &PayloadHead);

    /// The columns for rows of payloads that have been noted, in their order.
    fn columns(&self, origins: &Origins) -> Result<Vec<AddedColumn>>;

    /// Checks rows of payloads that have been noted, before the columns are added.
    ///
    /// # Errors
    /// When the configuration does not fit them.
    fn check(&self, records: &RecordBatch) -> Result<()> {
        let _ = records;
        Ok(())
    }

    /// Forgets the payloads before this one.
    fn forget_before(&mut self, ordinal: u64);
}

/// A column for some rows.
#[derive(Debug)]
pub struct AddedColumn {
    pub(super) field: Field,
    pub(super) values: ArrayRef,
    pub(super) own: OwnColumn,
    /// Whether the pipeline declares its type. A value that does not fit stays text, and its rows are refused later.
    pub(super) is_declared: bool,
}

/// The handling of a record's own column of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnColumn {
    /// It gets a number: `file_2`.
    Renamed,
    /// Its values take precedence, and the others fill the rows where it has none.
    Counts,
}

/// An extraction that adds the columns of a source.
pub struct ColumnExtraction<S> {
    inner: Box<dyn Extraction>,
    pub(super) source: Arc<Mutex<S>>,
    /// Takes payloads apart that pack messages, where the source has such.
    packing: Option<Arc<MessagePacking>>,
    /// The payload that was noted last.
    noted: Option<u64>,
}

/// Adds the columns to batches that are handed on during a call.
struct Completing<S> {
    source: Arc<Mutex<S>>,
    next: Arc<dyn Outlet>,
}

impl<S> fmt::Debug for Completing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completing")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<S: ColumnSource> Outlet for Completing<S> {
    fn take(&self, mut piece: Extracted) -> Result<()> {
        complete(&self.source, &mut piece)?;
        self.next.take(piece)
    }
}

pub(super) fn lock<S>(source: &Mutex<S>) -> MutexGuard<'_, S> {
    source.lock()
}

/// Adds the columns to the main batches.
fn complete<S: ColumnSource>(source: &Mutex<S>, out: &mut Extracted) -> Result<()> {
    let batches = out.batches.iter_mut();
    for batch in batches.filter(|batch| batch.child.is_empty()) {
        let Some(origins) = batch.origins.take() else {
            return Err(Error::bug(
                "no_origins",
                "extracted rows without their origins",
            ));
        };
        let mut source = lock(source);
        source.check(&batch.records)?;
        let records = with_columns(batch.records.clone(), source.columns(&origins)?)?;
        if let Some(last) = origins.payloads.last() {
            source.forget_before(*last);
        }
        *batch = Batch::main(records, Some(origins));
    }
    Ok(())
}

fn with_columns(records: RecordBatch, added: Vec<AddedColumn>) -> Result<RecordBatch> {
    let (schema, mut arrays, _) = records.into_parts();
    let mut fields = schema.fields().to_vec();
    for column in added {
        let name = column.field.name();
        let at = fields.iter().position(|known| known.name() == name);
        if let (OwnColumn::Counts, Some(at)) = (column.own, at) {
            arrays[at] = filled(&arrays[at], &column)?;
            let kind = arrays[at].data_type().clone();
            let field = fields[at].as_ref().clone().with_data_type(kind);
            fields[at] = Arc::new(field.with_nullable(true));
            continue;
        }
        rename_own(&mut fields, name);
        fields.push(Arc::new(column.field));
        arrays.push(column.values);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(failed)
}

/// The record's own values, and the added ones where there is none.
fn filled(own: &ArrayRef, added: &AddedColumn) -> Result<ArrayRef> {
    let nulls = own.logical_null_count();
    if nulls == 0 || added.values.null_count() == own.len() {
        return Ok(own.clone());
    }
    if own.data_type() == &DataType::Null || added.is_declared && nulls == own.len() {
        return Ok(added.values.clone());
    }
    let target = match added.is_declared {
        true => added.values.data_type(),
        false => own.data_type(),
    };
    let (Ok(kept), Ok(values)) = (cast(own, target), cast(&added.values, target)) else {
        return Ok(own.clone());
    };
    let has_own = is_not_null(&kept).map_err(failed)?;
    zip(&has_own, &kept, &values).map_err(failed)
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("added_columns", "failed to add columns to rows").with_source(error)
}

/// A record's own column of this name is renamed: a record must not block the following ones.
fn rename_own(fields: &mut [FieldRef], name: &str) {
    let Some(own) = fields.iter().position(|field| field.name() == name) else {
        return;
    };
    let is_free = |other: &String| fields.iter().all(|field| field.name() != other);
    let mut others = (2_u64..).map(|n| format!("{name}_{n}"));
    if let Some(other) = others.find(is_free) {
        fields[own] = Arc::new(fields[own].as_ref().clone().with_name(other));
    }
}

impl<S: ColumnSource> ColumnExtraction<S> {
    pub(super) fn with_source(
        inner: Box<dyn Extraction>,
        source: S,
        packing: Option<MessagePacking>,
    ) -> Self {
        Self {
            inner,
            source: Arc::new(Mutex::new(source)),
            packing: packing.map(Arc::new),
            noted: None,
        }
    }

    /// Records the metadata of the incoming payload, unless it is recorded already.
    fn note(&mut self, head: &PayloadHead, out: &mut Extracted) -> Result<()> {
        if self.noted == Some(head.ordinal) || !lock(&self.source).has_columns() {
            return Ok(());
        }
        if lock(&self.source).is_full(head) {
            self.give(out, |inner, out| inner.flush(out))?;
            lock(&self.source).forget_before(head.ordinal);
        }
        lock(&self.source).note(head);
        self.noted = Some(head.ordinal);
        Ok(())
    }

    /// Runs `inner` and adds the columns to its output.
    fn give<T>(
        &mut self,
        out: &mut Extracted,
        give: impl FnOnce(&mut dyn Extraction, &mut Extracted) -> Result<T>,
    ) -> Result<T> {
        if !lock(&self.source).has_columns() {
            return give(self.inner.as_mut(), out);
        }
        let mut given = match out.outlet() {
            Some(next) => Extracted::into_outlet(Arc::new(Completing {
                source: self.source.clone(),
                next,
            })),
            None => Extracted::default(),
        };
        let result = give(self.inner.as_mut(), &mut given)?;
        complete(&self.source, &mut given)?;
        out.batches.append(&mut given.batches);
        out.rejected.append(&mut given.rejected);
        Ok(result)
    }
}

impl<S: ColumnSource> Extraction for ColumnExtraction<S> {
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        self.note(head, out)?;
        self.give(out, |inner, out| inner.push(head, bytes, out))
    }

    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        broken: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()> {
        self.note(head, out)?;
        self.give(out, |inner, out| inner.end(head, broken, out))
    }

    fn packed(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        self.note(head, out)?;
        let packing = self.packing.clone();
        self.give(out, |inner, out| match packing {
            Some(packing) => packing.extract(inner, head, bytes, out),
            None => inner.packed(head, bytes, out),
        })
    }

    fn object(
        &mut self,
        head: &Arc<PayloadHead>,
        object: ObjectInput<'_>,
        out: &mut Extracted,
    ) -> Result<()> {
        self.note(head, out)?;
        self.give(out, |inner, out| inner.object(head, object, out))
    }

    fn more(&mut self, out: &mut Extracted) -> Result<bool> {
        self.give(out, |inner, out| inner.more(out))
    }

    fn wants_object(&self) -> bool {
        self.inner.wants_object()
    }

    fn knows(&self, start: &[u8]) -> bool {
        self.inner.knows(start)
    }

    fn is_between_records(&self) -> bool {
        self.inner.is_between_records()
    }

    fn carried(&mut self, head: &PayloadHead) -> Option<(String, String)> {
        self.inner.carried(head)
    }

    fn pending_rows(&self) -> u64 {
        self.inner.pending_rows()
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        self.give(out, |inner, out| inner.flush(out))?;
        // The current payload continues.
        if let Some(noted) = self.noted {
            lock(&self.source).forget_before(noted);
        }
        Ok(())
    }

    fn contract(&self) -> Contract {
        self.inner.contract()
    }
}
