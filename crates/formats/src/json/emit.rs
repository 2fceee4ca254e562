//! Converts builders to batches: columns that keep their structure, flattened columns, or a table for each list.
//!
//! Takes the vectors out of the builders; copies no value. Names are those of `shape::Object::columns`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
    StringArray, StructArray, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use forebay_core::data_type::with_learned_order;
use forebay_core::{Batch, LIST_INDEX, Origins, PARENT_ID, ROOT_ID, ROW_ID, Result};

use super::Nested;
use super::build::{KindBuilder, ObjectBuilder};
use super::column::{BlankArrays, Column, broken};
use super::id;
use super::list::ListBuilder;
use super::rows::Rules;
use super::shape::{self, ELEMENT, Kind, SEPARATOR};
use crate::contract::ContractPolicy;
use crate::doubles;
use crate::untyped::untyped_column;

/// Name of the elements' field in a list.
const LIST_FIELD: &str = "element";

type Columns = Vec<(Name, ArrayRef)>;

/// The name of a column.
struct Name {
    text: String,
    /// The column beside it that it has the doubles of.
    doubles_of: Option<String>,
    /// Its place in the order of learning, where names of different levels may clash.
    order: u32,
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self {
            text,
            doubles_of: None,
            order: 0,
        }
    }
}

impl Name {
    /// The name of a kind of values whose first kind, with the name `base`, has the title `first`.
    fn of_kind(text: String, title: &str, (first, base): (&str, &str), order: u32) -> Self {
        let is_double = first == Kind::Long.name() && title == Kind::Double.name();
        Self {
            text,
            doubles_of: is_double.then(|| base.to_owned()),
            order,
        }
    }

    fn field(self, kind: &DataType) -> Field {
        let field = Field::new(self.text, kind.clone(), true);
        let field = match self.doubles_of {
            Some(base) => doubles::doubles_of(field, &base),
            None => field,
        };
        match self.order {
            0 => field,
            order => with_learned_order(field, order),
        }
    }
}

/// The title of the first kind of several.
fn first_title(kinds: &[KindBuilder]) -> &'static str {
    kinds.first().map_or("", |kind| kind.title)
}

/// Returns the rows of the builders as batches, parents before children. `ids` are the keys of the rows, for tables.
pub(super) fn emit(
    root: &mut ObjectBuilder,
    rules: &Rules,
    origins: Origins,
    ids: &[u128],
    out: &mut Vec<Batch>,
) -> Result<()> {
    let rows = origins.len();
    let nested = rules.nested;
    let mut table = Table {
        nested,
        columns: Vec::new(),
        untyped: Vec::new(),
        lists: Vec::new(),
        blanks: BlankArrays::default(),
    };
    if nested == Nested::Tables {
        table.columns.push((ROW_ID.to_owned().into(), keys(ids)?));
    }
    table.flat(root, "", rows)?;
    table.declare("", &rules.policy, rows);
    table.add_untyped(rows);
    out.push(Batch::main(batch(table.columns, rows)?, Some(origins)));
    emit_children(table.lists, "", (ids, ids), &rules.policy, out)
}

/// The columns of one table while they are collected.
struct Table<'a> {
    nested: Nested,
    columns: Columns,
    /// Names of columns without a type so far.
    untyped: Vec<String>,
    lists: Vec<(String, &'a mut ListBuilder)>,
    blanks: BlankArrays,
}

impl<'a> Table<'a> {
    fn flat(&mut self, object: &'a mut ObjectBuilder, prefix: &str, rows: usize) -> Result<()> {
        object.nulls.finish();
        self.untyped.extend(object.untyped.names(&object.prefix));
        for key in &mut object.keys {
            let base = shape::join(prefix, &key.key);
            if key.kinds.is_empty() {
                self.untyped.push(base.clone());
            }
            let first = first_title(&key.kinds);
            for (i, kind) in key.kinds.iter_mut().enumerate() {
                let name = shape::kind_name(&base, i, kind.title);
                let name = Name::of_kind(name, kind.title, (first, &base), key.order);
                self.kind(kind, name, rows)?;
            }
        }
        Ok(())
    }

    /// Adds the declared columns of this table, called `table`, that no record has had: they are null. A name that leads
    /// into an existing list or kept object is not a column of this table.
    fn declare(&mut self, table: &str, policy: &ContractPolicy, rows: usize) {
        for (name, kind) in policy.declared_columns() {
            let Some(name) = below(name, table) else {
                continue;
            };
            let is_there = self.columns.iter().any(|(column, array)| {
                column.text == name
                    || array.data_type().is_nested() && below(name, &column.text).is_some()
            });
            let is_in_list = |(list, _): &(String, _)| *list == name || below(name, list).is_some();
            let is_deep = self.nested == Nested::Keep && name.contains(SEPARATOR);
            if !is_there && !is_deep && !self.lists.iter().any(is_in_list) {
                self.columns
                    .push((name.to_owned().into(), new_null_array(&kind.arrow(), rows)));
            }
        }
    }

    fn add_untyped(&mut self, rows: usize) {
        for name in std::mem::take(&mut self.untyped) {
            if self.columns.iter().all(|(column, _)| column.text != name) {
                let (_, array) = untyped_column(&name, rows);
                self.columns.push((name.into(), array));
            }
        }
    }

    fn kind(&mut self, kind: &'a mut KindBuilder, name: Name, rows: usize) -> Result<()> {
        match (&mut kind.column, self.nested) {
            (Column::Object(object), Nested::Flatten | Nested::Tables) => {
                self.flat(object, &name.text, rows)?;
            }
            (Column::List(list), Nested::Tables) => {
                list.pad(rows);
                self.lists.push((name.text, list));
            }
            (column, _) => kept(column, name, rows, 1, &mut self.columns, &mut self.blanks)?,
        }
        Ok(())
    }
}

/// The name of `name` within `table`; the main table has no name.
fn below<'n>(name: &'n str, table: &str) -> Option<&'n str> {
    if table.is_empty() {
        return Some(name);
    }
    name.strip_prefix(table)?.strip_prefix(SEPARATOR)
}

/// A nested column, in `depth - 1` lists. A list whose elements are of several kinds becomes a list for each.
fn kept(
    column: &mut Column,
    name: Name,
    rows: usize,
    depth: usize,
    out: &mut Columns,
    blanks: &mut BlankArrays,
) -> Result<()> {
    let array = match column {
        Column::Object(object) => kept_object(object, rows, blanks)?,
        Column::List(list) => return kept_list(list, &name, rows, depth, out, blanks),
        column => column.finish(rows, blanks)?,
    };
    out.push((name, array));
    Ok(())
}

fn kept_object(
    object: &mut ObjectBuilder,
    rows: usize,
    blanks: &mut BlankArrays,
) -> Result<ArrayRef> {
    let mut columns = Vec::new();
    for key in &mut object.keys {
        let first = first_title(&key.kinds);
        for (i, kind) in key.kinds.iter_mut().enumerate() {
            let name = shape::kind_name(&key.key, i, kind.title);
            let name = Name::of_kind(name, kind.title, (first, &key.key), key.order);
            kept(&mut kind.column, name, rows, 1, &mut columns, blanks)?;
        }
    }
    let missing = rows.saturating_sub(object.nulls.len());
    object.nulls.append_n_nulls(missing);
    let (fields, arrays) = fields(columns);
    Ok(Arc::new(
        StructArray::try_new(fields, arrays, object.nulls.finish()).map_err(broken)?,
    ))
}

fn kept_list(
    list: &mut ListBuilder,
    Name {
        text: name, order, ..
    }: &Name,
    rows: usize,
    depth: usize,
    out: &mut Columns,
    blanks: &mut BlankArrays,
) -> Result<()> {
    list.pad(rows);
    let (length, offsets, nulls) = take(list);
    let mut elements = Vec::new();
    let first = first_title(&list.element.kinds);
    for (i, kind) in list.element.kinds.iter_mut().enumerate() {
        let element = shape::element_name(name, i, kind.title, depth);
        let element = Name::of_kind(element, kind.title, (first, name), *order);
        kept(
            &mut kind.column,
            element,
            length,
            depth + 1,
            &mut elements,
            blanks,
        )?;
    }
    for (column, values) in elements {
        let field = Arc::new(Field::new(LIST_FIELD, values.data_type().clone(), true));
        // Doubles beside whole numbers are merged with them, element by element.
        let is_beside = column.text != *name && column.doubles_of.is_none();
        let array =
            ListArray::try_new(field, offsets.clone(), values, nulls.clone()).map_err(broken)?;
        let array = match is_beside {
            true => without_blank_lists(array)?,
            false => array,
        };
        out.push((column, Arc::new(array) as ArrayRef));
    }
    Ok(())
}

/// The list of a further kind of elements, null where no element is of that kind: so is the list of a row that was read
/// before the kind was known.
fn without_blank_lists(array: ListArray) -> Result<ListArray> {
    let has_value = |row: usize| {
        array.is_valid(row) && {
            let values = array.value(row);
            values.null_count() < values.len()
        }
    };
    let keeps: Vec<bool> = (0..array.len()).map(has_value).collect();
    if keeps.iter().all(|keeps| *keeps) {
        return Ok(array);
    }
    let lengths = (0..array.len()).map(|row| match keeps[row] {
        true => usize::try_from(array.value_length(row)).unwrap_or(0),
        false => 0,
    });
    let offsets = OffsetBuffer::from_lengths(lengths);
    let is_kept = (0..array.len()).flat_map(|row| {
        let length = usize::try_from(array.value_length(row)).unwrap_or(0);
        std::iter::repeat_n(keeps[row], length)
    });
    let is_kept: BooleanArray = is_kept.map(Some).collect();
    let values = arrow::compute::filter(array.values(), &is_kept).map_err(broken)?;
    let DataType::List(field) = array.data_type() else {
        return Ok(array);
    };
    let nulls = NullBuffer::from(keeps);
    ListArray::try_new(field.clone(), offsets, values, Some(nulls)).map_err(broken)
}

/// Takes the frame of a list and resets it.
fn take(list: &mut ListBuilder) -> (usize, OffsetBuffer<i32>, Option<NullBuffer>) {
    let offsets = std::mem::replace(&mut list.offsets, vec![0]);
    (
        std::mem::take(&mut list.length),
        OffsetBuffer::new(ScalarBuffer::from(offsets)),
        list.nulls.finish(),
    )
}

/// The rows of the child tables of a table whose rows have these keys.
fn emit_children(
    lists: Vec<(String, &mut ListBuilder)>,
    table: &str,
    (ids, roots): (&[u128], &[u128]),
    policy: &ContractPolicy,
    out: &mut Vec<Batch>,
) -> Result<()> {
    for (name, list) in lists {
        let child = shape::join(table, &name);
        let (length, offsets, _) = take(list);
        if length > 0 {
            let places = Places::new(&name, &offsets, length, ids, roots);
            emit_child(list, child, &places, policy, out)?;
        }
    }
    Ok(())
}

fn emit_child(
    list: &mut ListBuilder,
    child: String,
    places: &Places,
    policy: &ContractPolicy,
    out: &mut Vec<Batch>,
) -> Result<()> {
    let length = places.ids.len();
    let mut table = Table {
        nested: Nested::Tables,
        columns: places.columns()?,
        untyped: Vec::new(),
        lists: Vec::new(),
        blanks: BlankArrays::default(),
    };
    let (objects, others): (Vec<_>, Vec<_>) = list
        .element
        .kinds
        .iter_mut()
        .partition(|kind| matches!(kind.column, Column::Object(_)));
    for kind in objects {
        if let Column::Object(object) = &mut kind.column {
            table.flat(object, "", length)?;
        }
    }
    let first = others.first().map_or("", |kind| kind.title);
    for (i, kind) in others.into_iter().enumerate() {
        let name = shape::kind_name(ELEMENT, i, kind.title);
        let name = Name::of_kind(name, kind.title, (first, ELEMENT), 0);
        table.kind(kind, name, length)?;
    }
    table.declare(&child, policy, length);
    out.push(Batch {
        child: child.clone(),
        records: batch(table.columns, length)?,
        origins: None,
    });
    let keys = (places.ids.as_slice(), places.roots.as_slice());
    emit_children(table.lists, &child, keys, policy, out)
}

/// The parent of each row of a child table.
struct Places {
    ids: Vec<u128>,
    parents: Vec<u128>,
    roots: Vec<u128>,
    indexes: Vec<i64>,
}

impl Places {
    fn new(list: &str, offsets: &[i32], length: usize, ids: &[u128], roots: &[u128]) -> Self {
        let list = id::hash(0, list.as_bytes());
        let with = || Vec::with_capacity(length);
        let mut places = Self {
            ids: with(),
            parents: with(),
            roots: with(),
            indexes: Vec::with_capacity(length),
        };
        for (row, pair) in offsets.windows(2).enumerate() {
            for index in 0..i64::from(pair[1] - pair[0]) {
                places
                    .ids
                    .push(id::child(ids[row], list, index.unsigned_abs()));
                places.parents.push(ids[row]);
                places.roots.push(roots[row]);
                places.indexes.push(index);
            }
        }
        places
    }

    fn columns(&self) -> Result<Columns> {
        Ok(vec![
            (ROW_ID.to_owned().into(), keys(&self.ids)?),
            (PARENT_ID.to_owned().into(), keys(&self.parents)?),
            (ROOT_ID.to_owned().into(), keys(&self.roots)?),
            (
                LIST_INDEX.to_owned().into(),
                Arc::new(Int64Array::from(self.indexes.clone())),
            ),
        ])
    }
}

fn keys(ids: &[u128]) -> Result<ArrayRef> {
    let mut text = Vec::with_capacity(ids.len() * id::TEXT_LENGTH);
    ids.iter().for_each(|id| id::write(*id, &mut text));
    let offsets: Vec<i32> = (0..=ids.len())
        .map(|i| (i * id::TEXT_LENGTH) as i32)
        .collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(Arc::new(
        StringArray::try_new(offsets, Buffer::from_vec(text), None).map_err(broken)?,
    ))
}

fn fields(columns: Columns) -> (Fields, Vec<ArrayRef>) {
    let field = |name: Name, kind: &DataType| Arc::new(name.field(kind));
    let (fields, arrays): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .map(|(name, array)| (field(name, array.data_type()), array))
        .unzip();
    (fields.into(), arrays)
}

fn batch(columns: Columns, rows: usize) -> Result<RecordBatch> {
    let (fields, arrays) = fields(columns);
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(broken)
}
