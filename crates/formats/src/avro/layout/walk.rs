//! Finds the lists of a message whose items have no bytes. Takes the bytes like the decoder does, without their values.

use super::{Layout, Shape};
use crate::wire::Unreadable;

/// Items without bytes in a message that has fewer bytes than that.
const EMPTY_ITEMS_MAX: u64 = 1 << 16;

/// Bytes of the longest number.
const NUMBER_BYTES_MAX: u32 = 10;

impl Layout {
    /// Whether messages have to be checked, and the records of a block be decoded one by one.
    pub(in crate::avro) fn has_empty_items(&self) -> bool {
        self.has_empty_items
    }

    /// Checks a message without its header.
    ///
    /// Errors: `bad_avro` for a list of nulls, of records without fields or of `fixed` without bytes, which the decoder does not
    /// make, and for more items without bytes than the message has bytes, or than 65,536. The bytes may also end too early or be
    /// invalid.
    pub(in crate::avro) fn check(&self, message: &[u8]) -> Result<(), Unreadable> {
        if !self.has_empty_items {
            return Ok(());
        }
        let mut walk = Walk {
            rest: message,
            empty_items: Some((message.len() as u64).max(EMPTY_ITEMS_MAX)),
        };
        walk.pass(&self.root)
    }

    /// The bytes of each record of a block, a list of records without its header; `None` where it cannot be told.
    pub(in crate::avro) fn split<'b>(&self, block: &'b [u8], rows: u64) -> Option<Vec<&'b [u8]>> {
        let Shape::Record(fields) = &*self.root else {
            return None;
        };
        let Some(Shape::List(record)) = fields.first().map(|field| &**field) else {
            return None;
        };
        // A bad record is refused later: here only its end is needed.
        let mut walk = Walk {
            rest: block,
            empty_items: None,
        };
        let mut records = Vec::new();
        for _ in 0..rows {
            let before = walk.rest;
            walk.pass(record).ok()?;
            records.push(&before[..before.len() - walk.rest.len()]);
        }
        walk.rest.is_empty().then_some(records)
    }
}

fn bad(why: &str) -> Unreadable {
    Unreadable::new("bad_avro", why)
}

fn cut() -> Unreadable {
    bad("the bytes end before the record does")
}

struct Walk<'a> {
    rest: &'a [u8],
    /// Items without bytes that there may still be; `None` where they are not checked.
    empty_items: Option<u64>,
}

impl Walk<'_> {
    fn number(&mut self) -> Result<i64, Unreadable> {
        let mut bits = 0_u64;
        for n in 0..NUMBER_BYTES_MAX {
            let (byte, rest) = self.rest.split_first().ok_or_else(cut)?;
            self.rest = rest;
            bits |= u64::from(byte & 0x7F) << (7 * n);
            if byte & 0x80 == 0 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(bad("a number has more than 64 bits"))
    }

    fn take(&mut self, bytes: u64) -> Result<(), Unreadable> {
        let rest = usize::try_from(bytes).ok();
        self.rest = rest.and_then(|n| self.rest.get(n..)).ok_or_else(cut)?;
        Ok(())
    }

    fn length(&mut self) -> Result<(), Unreadable> {
        let length = u64::try_from(self.number()?);
        self.take(length.map_err(|_| bad("a length is negative"))?)
    }

    /// Takes a value. The depth of a shape is bounded.
    fn pass(&mut self, shape: &Shape) -> Result<(), Unreadable> {
        match shape {
            Shape::Nothing | Shape::EmptyRecord => Ok(()),
            Shape::Fixed(bytes) => self.take(*bytes),
            Shape::Number => self.number().map(drop),
            Shape::Bytes => self.length(),
            Shape::Union(branches) => {
                let index = usize::try_from(self.number()?).ok();
                let branch = index.and_then(|index| branches.get(index));
                self.pass(branch.ok_or_else(|| bad("a union has no such branch"))?)
            }
            Shape::Record(fields) => fields.iter().try_for_each(|field| self.pass(field)),
            Shape::List(item) => self.blocks(|walk, count| walk.items(item, count)),
            Shape::Map(value) => self.blocks(|walk, count| {
                (0..count).try_for_each(|_| {
                    walk.length()?;
                    walk.pass(value)
                })
            }),
        }
    }

    /// The parts of a list or a map: each has its number of entries, and where that is negative its size after it.
    fn blocks(
        &mut self,
        mut take: impl FnMut(&mut Self, u64) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        loop {
            let count = self.number()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.number()?;
            }
            take(self, count.unsigned_abs())?;
        }
    }

    fn items(&mut self, item: &Shape, count: u64) -> Result<(), Unreadable> {
        if !item.is_empty() {
            return (0..count).try_for_each(|_| self.pass(item));
        }
        let Some(left) = &mut self.empty_items else {
            return Ok(());
        };
        if matches!(item, Shape::Nothing) {
            let what = "a list has items without bytes (null, an empty record or fixed), which no table can hold";
            return Err(bad(what));
        }
        *left = left
            .checked_sub(count)
            .ok_or_else(|| bad("a list claims too many items without bytes"))?;
        Ok(())
    }
}
