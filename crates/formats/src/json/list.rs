//! The builder of a list: offsets into the builders of its elements. Part of the hot path.

use arrow::array::NullBufferBuilder;

use super::build::{KeyBuilder, Walk};
use super::column::Column;
use super::required::{self, Required};
use super::shape::{self, ELEMENT, Key, Kind};
use super::walk::Stop;

/// Offsets into the elements.
#[derive(Debug)]
pub(super) struct ListBuilder {
    pub(super) offsets: Vec<i32>,
    pub(super) nulls: NullBufferBuilder,
    pub(super) length: usize,
    /// Columns of the elements, at all depths.
    pub(super) width: usize,
    pub(super) element: Box<KeyBuilder>,
}

impl ListBuilder {
    pub(super) fn new(name: &str) -> Self {
        let element = KeyBuilder::new(ELEMENT, shape::join(name, ELEMENT));
        Self {
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
            length: 0,
            width: 0,
            element: Box::new(element),
        }
    }

    /// `name` is the flattened name of the list; keys of its objects continue it.
    pub(super) fn grow(&mut self, shape: &Key, name: &str, required: &Required) {
        self.element.grow(shape, name, required);
        self.width = shape.width();
        let Some(i) = shape
            .kinds
            .iter()
            .position(|kind| matches!(kind, Kind::Object(_)))
        else {
            return;
        };
        if let (Column::Object(object), Kind::Object(shape)) =
            (&mut self.element.kinds[i].column, &shape.kinds[i])
        {
            let prefix = shape::kind_name(name, i, "object");
            object.set_missing(required::unbound(shape, &prefix, required));
        }
    }

    /// Removes builders beyond the shape.
    pub(super) fn shrink(&mut self, shape: &Key) {
        self.element.shrink(shape);
        self.width = shape.width();
    }

    #[inline]
    pub(super) fn read(
        &mut self,
        row: usize,
        at: usize,
        len: usize,
        walk: &mut Walk<'_>,
    ) -> Result<usize, Stop> {
        self.pad(row);
        let mut next = at + 1;
        for _ in 0..len {
            next = self.element.read(self.length, next, walk)?;
            self.length += 1;
        }
        self.offsets.push(self.length as i32);
        self.nulls.append_non_null();
        Ok(next)
    }

    /// Makes the unwritten lists before `rows` null.
    pub(super) fn pad(&mut self, rows: usize) {
        let missing = (rows + 1).saturating_sub(self.offsets.len());
        if missing > 0 {
            self.offsets.resize(rows + 1, self.length as i32);
            self.nulls.append_n_nulls(missing);
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if self.offsets.len() > rows + 1 {
            self.offsets.truncate(rows + 1);
            self.nulls.truncate(rows);
        }
        self.length = self.offsets.last().map_or(0, |length| *length as usize);
        for kind in &mut self.element.kinds {
            kind.column.truncate(self.length);
        }
    }
}
