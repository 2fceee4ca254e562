//! Finds the lists of a message whose items have no bytes, and messages that take too much memory once decoded. Takes the
//! bytes like the decoder does, without their values.

use super::{DECODED_BYTES_MAX, Layout, Shape, VALUE_BYTES};
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
    /// Errors: `bad_avro` for an index that a union does not have, and for a boolean other than 0 and 1; for a list of nulls, of records without fields or of `fixed` without bytes, which the decoder does not
    /// make, and for more items without bytes than the message has bytes, or than 65,536; `too_large` for values of more than
    /// [`DECODED_BYTES_MAX`] in memory. The bytes may also end too early or be invalid.
    pub(in crate::avro) fn check(&self, message: &[u8]) -> Result<(), Unreadable> {
        let is_small = self.decoded_bytes_max(message.len()) <= DECODED_BYTES_MAX;
        if is_small && !self.has_empty_items && !self.has_lenient_values {
            return Ok(());
        }
        let mut walk = Walk::new(message);
        walk.is_strict = self.has_lenient_values;
        walk.empty_items = Some((message.len() as u64).max(EMPTY_ITEMS_MAX));
        let walked = match self.record().filter(|_| self.is_block) {
            Some(record) => walk.records(record),
            None => walk.pass(&self.root),
        };
        if walk.decoded > DECODED_BYTES_MAX {
            return Err(too_large());
        }
        if let (Some(lenient), true) = (walk.lenient, self.has_lenient_values) {
            return Err(lenient.refusal(message.len(), walk.record));
        }
        match self.has_empty_items {
            true => walked,
            // Whatever else is wrong, the decoder finds.
            false => Ok(()),
        }
    }

    /// The bytes of each record of a block, a list of records without its header; `None` where it cannot be told.
    pub(in crate::avro) fn split<'b>(&self, block: &'b [u8], rows: u64) -> Option<Vec<&'b [u8]>> {
        let record = self.record()?;
        // A bad record is refused later: here only its end is needed.
        let mut walk = Walk::new(block);
        let mut records = Vec::new();
        for _ in 0..rows {
            let before = walk.rest;
            walk.pass(record).ok()?;
            records.push(&before[..before.len() - walk.rest.len()]);
        }
        walk.rest.is_empty().then_some(records)
    }

    /// A block in pieces that take at most [`DECODED_BYTES_MAX`] in memory each, or are one record: the number of records and
    /// their bytes. `None` where the block needs no pieces, or cannot be divided.
    pub(in crate::avro) fn pieces<'b>(
        &self,
        block: &'b [u8],
        rows: u64,
    ) -> Option<Vec<(u64, &'b [u8])>> {
        if self.decoded_bytes_max(block.len()) <= DECODED_BYTES_MAX {
            return None;
        }
        let record = self.record()?;
        let mut walk = Walk::new(block);
        let mut pieces = Vec::new();
        let mut begin = block;
        let mut count = 0;
        for _ in 0..rows {
            let before = walk.rest;
            let decoded = walk.decoded;
            walk.pass(record).ok()?;
            if count > 0 && walk.decoded > DECODED_BYTES_MAX {
                pieces.push((count, &begin[..begin.len() - before.len()]));
                begin = before;
                count = 0;
                walk.decoded -= decoded;
            }
            count += 1;
        }
        pieces.push((count, &begin[..begin.len() - walk.rest.len()]));
        walk.rest.is_empty().then_some(pieces)
    }

    /// The record of a list of records, which a block is.
    fn record(&self) -> Option<&Shape> {
        let Shape::Record(fields) = &*self.root else {
            return None;
        };
        match fields.first().map(|field| &**field) {
            Some(Shape::List(record)) => Some(record.as_ref()),
            _ => None,
        }
    }
}

fn too_large() -> Unreadable {
    let most = DECODED_BYTES_MAX >> 20;
    let what = format!(
        "its values take more than {most} MiB of memory: a list of many short items, or many nulls in place of records; write it in smaller records"
    );
    Unreadable::new("too_large", what)
}

fn bad(why: &str) -> Unreadable {
    Unreadable::new("bad_avro", why)
}

fn cut() -> Unreadable {
    bad("the bytes end before the record does")
}

/// A value that the decoder would read although it is damaged.
#[derive(Debug, Clone, Copy)]
enum Lenient {
    /// The index, the number of branches, and the bytes left after it.
    Branch(i64, usize, usize),
    /// The byte, and the bytes left after it.
    Boolean(u8, usize),
}

impl Lenient {
    fn refusal(self, length: usize, record: u64) -> Unreadable {
        let (what, left) = match self {
            Self::Branch(index, branches, left) => (
                format!("the index {index} in a union of {branches} types"),
                left,
            ),
            Self::Boolean(byte, left) => (format!("a boolean of value {byte}"), left),
        };
        let record = match record {
            0 => String::new(),
            record => format!("record {record}: "),
        };
        let at = length - left;
        bad(&format!(
            "{record}the bytes are damaged: {what}, before byte {at}"
        ))
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    /// Whether booleans are checked.
    is_strict: bool,
    /// Why the walk has stopped, where the decoder would not.
    lenient: Option<Lenient>,
    /// The record of a block that is being taken, from 1.
    record: u64,
    /// Items without bytes that there may still be; `None` where they are not checked.
    empty_items: Option<u64>,
    /// Bytes that the values taken so far have in memory, at most.
    decoded: u64,
}

impl<'a> Walk<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            is_strict: false,
            lenient: None,
            record: 0,
            empty_items: None,
            decoded: 0,
        }
    }

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
        let length = length.map_err(|_| bad("a length is negative"))?;
        self.take(length)?;
        self.count(VALUE_BYTES.saturating_add(length));
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.decoded = self.decoded.saturating_add(bytes);
    }

    /// Takes a value. The depth of a shape is bounded.
    fn pass(&mut self, shape: &Shape) -> Result<(), Unreadable> {
        match shape {
            Shape::Nothing | Shape::EmptyRecord => Ok(()),
            Shape::Fixed(bytes) => {
                self.count(*bytes);
                self.take(*bytes)
            }
            Shape::Number => {
                self.count(VALUE_BYTES);
                self.number().map(drop)
            }
            Shape::Bytes => self.length(),
            Shape::Boolean => self.boolean(),
            Shape::Union(branches, bytes) => {
                self.count(*bytes);
                let index = self.number()?;
                let branch = usize::try_from(index)
                    .ok()
                    .and_then(|index| branches.get(index));
                let Some(branch) = branch else {
                    self.lenient = Some(Lenient::Branch(index, branches.len(), self.rest.len()));
                    return Err(bad("a union has no such branch"));
                };
                self.pass(branch)
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

    fn boolean(&mut self) -> Result<(), Unreadable> {
        self.count(1);
        let byte = self.rest.first().copied();
        self.take(1)?;
        match byte {
            Some(byte) if byte > 1 && self.is_strict => {
                self.lenient = Some(Lenient::Boolean(byte, self.rest.len()));
                Err(bad("a boolean is neither 0 nor 1"))
            }
            _ => Ok(()),
        }
    }

    /// The records of a block, which are counted.
    fn records(&mut self, record: &Shape) -> Result<(), Unreadable> {
        self.blocks(|walk, count| match record.is_empty() {
            true => walk.items(record, count),
            false => (0..count).try_for_each(|_| {
                walk.record += 1;
                walk.pass(record)
            }),
        })
    }

    /// The parts of a list or a map: each has its number of entries, and where that is negative its size after it.
    fn blocks(
        &mut self,
        mut take: impl FnMut(&mut Self, u64) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.count(VALUE_BYTES);
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
