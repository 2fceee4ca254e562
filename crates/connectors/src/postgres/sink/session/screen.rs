//! Takes the records out of a group that cannot be sent, before a table is changed for it.
//!
//! Columns come from data, and a column that was added stays: one that only a refused record has would take a place of the few
//! that a table has. So rows that would change a table are tried against the table as it would be, without the server. A
//! record that only the server refuses is found later, and its columns stay.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::filter_record_batch;
use bytes::BytesMut;
use forebay_core::{Batch, Error, Rejected, Result};

use super::Session;
use super::send::refuse_unfit;
use crate::postgres::sink::encode::{Rows, Unfit};
use crate::postgres::sink::fit::{BarredColumn, Wish};
use crate::postgres::sink::group::{Group, Records};
use crate::postgres::sink::table::Table;

/// A table as it would be, and the columns that it cannot have.
struct Planned {
    table: Table,
    barred: Vec<BarredColumn>,
    /// Columns that it lacks now.
    new: Vec<String>,
}

impl Session {
    /// The group without the records that cannot be sent, and those.
    pub(super) async fn screen(&mut self, group: Group) -> Result<(Group, Vec<Rejected>)> {
        let changes = |batch: &Batch| !self.fits(&batch.child, &batch.records.schema());
        if !group.batches.iter().any(changes) {
            return Ok((group, Vec::new()));
        }
        let mut current = HashMap::new();
        let mut planned = Vec::new();
        for batch in &group.batches {
            planned.push(self.planned(batch, &mut current).await?);
        }
        let mut unfit = Vec::new();
        for (at, (batch, planned)) in group.batches.iter().zip(&planned).enumerate() {
            let found = match planned {
                Some(planned) => self.unfit(batch, planned)?,
                None => Vec::new(),
            };
            unfit.extend(found.into_iter().map(|unfit| (at, unfit)));
        }
        let mut records = Records::new(&group);
        let mut rejected = Vec::new();
        refuse_unfit(&group, &mut records, &mut rejected, &unfit)?;
        let mut is_crowded = false;
        for (child, batches) in by_child(&group) {
            let table = current.get(child).and_then(Option::as_ref);
            let room = self.wish(child).room(table);
            if new_columns(&planned, &batches) > room {
                is_crowded = true;
                let crowded = self.crowded(&group, &planned, &batches, &records, room);
                refuse_unfit(&group, &mut records, &mut rejected, &crowded)?;
            }
        }
        if rejected.is_empty() && !is_crowded {
            return Ok((group, rejected));
        }
        let mut left = Group::default();
        for ((at, batch), planned) in group.batches.into_iter().enumerate().zip(planned) {
            let is_left = |row| !records.refused[records.of(at, row)];
            let new = planned.map_or_else(Vec::new, |planned| planned.new);
            if let Some(batch) = kept(batch, is_left, &new)? {
                left.push(batch);
            }
        }
        Ok((left, rejected))
    }

    /// The table of a batch as it would be; `None` for a child that can have none. `current` are the tables as they are, by child.
    async fn planned(
        &mut self,
        batch: &Batch,
        current: &mut HashMap<String, Option<Table>>,
    ) -> Result<Option<Planned>> {
        let child = &batch.child;
        if self.refused.contains_key(child) {
            return Ok(None);
        }
        let (schema, name) = self.name(child);
        if !current.contains_key(child) {
            let read = Table::read(&self.connection, &schema, &name).await?;
            current.insert(child.clone(), read);
        }
        let wish = Wish {
            unlimited: true,
            ..self.wish(child)
        };
        let records = batch.records.schema();
        let (table, fitting) = match current.get(child).and_then(Option::as_ref) {
            Some(table) => (table.clone(), table.fit(&records, &wish)?),
            None if wish.delete => return Ok(None),
            None => {
                let pipeline = self.context.pipeline.as_str();
                // An invalid name of a child table is said where the table is made.
                let Ok(fitting) = Table::create(&schema, &name, &records, &wish, pipeline) else {
                    return Ok(None);
                };
                (Table::none(&schema, &name), fitting)
            }
        };
        let is_new =
            |name: &&String| !table.columns.contains_key(*name) && !wish.key.contains(*name);
        let names = fitting.columns.iter().map(|(name, _)| name);
        Ok(Some(Planned {
            new: names.filter(is_new).cloned().collect(),
            table: table.with_columns(fitting.columns),
            barred: fitting.barred,
        }))
    }

    /// The rows that cannot be converted to the types of the table, or have a value in a column that it cannot have.
    fn unfit(&self, batch: &Batch, planned: &Planned) -> Result<Vec<Unfit>> {
        let Planned { table, barred, .. } = planned;
        let wish = self.wish(&batch.child);
        let places = table.places(&batch.records.schema(), &wish, barred)?;
        let rows = Rows::new(&batch.records, &places, barred, None)?;
        let mut room = BytesMut::new();
        let tried = (0..batch.records.num_rows()).map(|row| {
            room.clear();
            rows.write(row, &mut room)
        });
        Ok(tried.filter_map(Result::err).collect())
    }

    /// The rows of a table whose new columns find no room behind those of the rows before.
    fn crowded(
        &self,
        group: &Group,
        planned: &[Option<Planned>],
        batches: &[usize],
        records: &Records,
        room: usize,
    ) -> Vec<(usize, Unfit)> {
        let mut admitted: HashSet<&String> = HashSet::new();
        let mut crowded = Vec::new();
        for at in batches.iter().copied() {
            let batch = &group.batches[at];
            let new = planned[at].iter().flat_map(|planned| &planned.new);
            let masks: Vec<(&String, Option<NullBuffer>)> = new
                .filter_map(|name| {
                    let array = batch.records.column_by_name(name)?;
                    Some((name, array.logical_nulls()))
                })
                .collect();
            for row in 0..batch.records.num_rows() {
                if records.refused[records.of(at, row)] {
                    continue;
                }
                let has_value = |(name, nulls): &&(&String, Option<NullBuffer>)| {
                    !admitted.contains(*name)
                        && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
                };
                let brought: Vec<&String> =
                    masks.iter().filter(has_value).map(|one| one.0).collect();
                if admitted.len() + brought.len() <= room {
                    admitted.extend(brought);
                    continue;
                }
                let name = brought.get(room - admitted.len()).copied();
                let name = name.map_or("", String::as_str);
                let (code, reason) = self.wish(&batch.child).no_room(name);
                crowded.push((at, Unfit { row, code, reason }));
            }
        }
        crowded
    }
}

/// The batches of each table, in order.
fn by_child(group: &Group) -> BTreeMap<&str, Vec<usize>> {
    let mut batches: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, batch) in group.batches.iter().enumerate() {
        batches.entry(&batch.child).or_default().push(at);
    }
    batches
}

/// How many columns a table lacks for some batches.
fn new_columns(planned: &[Option<Planned>], batches: &[usize]) -> usize {
    let planned = batches.iter().filter_map(|at| planned[*at].as_ref());
    let names: HashSet<&String> = planned.flat_map(|planned| &planned.new).collect();
    names.len()
}

/// The rows of a batch that are left, without the new columns that only others had a value in; `None` when no row is. New columns
/// without any value come last: there may be no room for all.
fn kept(batch: Batch, is_left: impl Fn(usize) -> bool, new: &[String]) -> Result<Option<Batch>> {
    let all = batch.records.num_rows();
    let rows: Vec<usize> = (0..all).filter(|row| is_left(*row)).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let failed = |error| Error::bug("screen", "failed to take rows out").with_source(error);
    let mask: BooleanArray = (0..all).map(|row| Some(is_left(row))).collect();
    let left = filter_record_batch(&batch.records, &mask).map_err(failed)?;
    let new: HashSet<&String> = new.iter().collect();
    let is_empty = |array: &ArrayRef| array.logical_null_count() == array.len();
    let (mut columns, mut last) = (Vec::new(), Vec::new());
    for (at, field) in left.schema_ref().fields().iter().enumerate() {
        match new.contains(field.name()) && is_empty(left.column(at)) {
            false => columns.push(at),
            true if is_empty(batch.records.column(at)) => last.push(at),
            // Only rows that are gone have a value.
            true => {}
        }
    }
    columns.append(&mut last);
    Ok(Some(Batch {
        child: batch.child,
        records: left.project(&columns).map_err(failed)?,
        origins: batch.origins.map(|origins| origins.of(rows)),
    }))
}
