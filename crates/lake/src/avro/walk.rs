//! Takes the bytes of records as their reader does, without their values.

use forebay_core::Result;

use super::shape::{Shape, ShapeId, Shapes, bad};
use super::{DEPTH_MAX, FILE_VALUES_MAX, RECORD_VALUES_MAX};

/// The records of a file, block by block.
pub(super) struct RecordWalk<'s> {
    shapes: &'s Shapes,
    root: ShapeId,
    /// Values of all records so far.
    values: u64,
}

impl<'s> RecordWalk<'s> {
    pub(super) fn new(shapes: &'s Shapes, root: ShapeId) -> Self {
        Self {
            shapes,
            root,
            values: 0,
        }
    }

    /// Takes a block of this many records, to its end.
    ///
    /// Errors: `Data` `bad_manifest`.
    pub(super) fn block(&mut self, bytes: &[u8], records: u64) -> Result<()> {
        let mut rest = bytes;
        for _ in 0..records {
            let mut record = Record {
                shapes: self.shapes,
                rest,
                values: 0,
            };
            record.pass(self.root, 0)?;
            rest = record.rest;
            self.values += record.values;
            if self.values > FILE_VALUES_MAX {
                return Err(bad(&format!("it has more than {FILE_VALUES_MAX} values")));
            }
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(bad("a block has bytes after its last record")),
        }
    }
}

struct Record<'a> {
    shapes: &'a Shapes,
    rest: &'a [u8],
    values: u64,
}

impl Record<'_> {
    fn pass(&mut self, id: ShapeId, depth: u32) -> Result<()> {
        self.count(1)?;
        if depth > DEPTH_MAX {
            let what = format!("its values are nested more than {DEPTH_MAX} levels");
            return Err(bad(&what));
        }
        let shapes = self.shapes;
        match shapes.get(id) {
            Shape::Nothing => Ok(()),
            Shape::Fixed(bytes) => self.skip(*bytes),
            Shape::Number => self.number().map(drop),
            Shape::Bytes => self.text(),
            Shape::Union(branches) => {
                let branch = usize::try_from(self.number()?).ok();
                let branch = branch.and_then(|index| branches.get(index));
                self.pass(
                    *branch.ok_or_else(|| bad("a union has no such branch"))?,
                    depth + 1,
                )
            }
            Shape::Record(fields) => fields
                .iter()
                .try_for_each(|field| self.pass(*field, depth + 1)),
            Shape::List(item) => self.items(|record| record.pass(*item, depth + 1)),
            Shape::Map(value) => self.items(|record| {
                record.text()?;
                record.pass(*value, depth + 1)
            }),
        }
    }

    /// The parts of a list or a map: each has its number of items, and where that is negative its size after it.
    fn items(&mut self, mut take: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        loop {
            let count = self.number()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.number()?;
            }
            // The reader reserves memory for all of them at once.
            let count = count.unsigned_abs();
            if self.values.saturating_add(count) > RECORD_VALUES_MAX {
                return Err(too_many());
            }
            (0..count).try_for_each(|_| take(self))?;
        }
    }

    fn count(&mut self, values: u64) -> Result<()> {
        self.values += values;
        match self.values > RECORD_VALUES_MAX {
            true => Err(too_many()),
            false => Ok(()),
        }
    }

    fn number(&mut self) -> Result<i64> {
        take_long(&mut self.rest).ok_or_else(|| bad("a number is truncated"))
    }

    fn text(&mut self) -> Result<()> {
        let bytes = take_bytes(&mut self.rest);
        bytes.map(drop).ok_or_else(|| bad("a text is truncated"))
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let rest = usize::try_from(bytes).ok().and_then(|n| self.rest.get(n..));
        self.rest = rest.ok_or_else(|| bad("a value is truncated"))?;
        Ok(())
    }
}

fn too_many() -> forebay_core::Error {
    let what = format!("a record has more than {RECORD_VALUES_MAX} values");
    bad(&what)
}

/// Avro's zigzag variable-length integer.
pub(super) fn take_long(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_long(rest)?).ok()?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
