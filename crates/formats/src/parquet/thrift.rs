//! The small part of Thrift's compact protocol for the header of a Parquet page, and for checking a footer for a field.
//!
//! Reads a struct field by field and skips unneeded ones. Never reads beyond its bytes and never nests deeper than
//! [`DEPTH_MAX`].

use forebay_core::parquet_footer::PAGE_HEADER;
use forebay_core::thrift::{self, Fault};

/// Structs within each other.
const DEPTH_MAX: u32 = 16;

/// The header of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PageHeader {
    /// 0 data, 1 index, 2 dictionary, 3 data of version 2.
    pub(super) kind: i64,
    /// Bytes that it expands to, and bytes that it has in the file.
    pub(super) expanded: u64,
    pub(super) stored: u64,
    /// CRC-32 of the bytes in the file.
    pub(super) checksum: Option<u32>,
    pub(super) values: u64,
    /// Bytes of the header itself.
    pub(super) length: usize,
}

const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

impl PageHeader {
    /// The header at the start of `bytes`, checked as the library needs it.
    ///
    /// Errors: [`Fault::Cut`] when it continues past them, else [`Fault::Bad`].
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        thrift::check(bytes, PAGE_HEADER)?;
        Self::read_checked(bytes).ok_or(Fault::Bad("a field does not fit its type"))
    }

    fn read_checked(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor { rest: bytes };
        let mut header = Self::default();
        let mut values = [None; 9];
        cursor.fields(|cursor, id, kind| {
            match (id, kind) {
                (1, Kind::I32) => header.kind = cursor.integer()?,
                (2, Kind::I32) => header.expanded = cursor.integer()?.try_into().ok()?,
                (3, Kind::I32) => header.stored = cursor.integer()?.try_into().ok()?,
                (4, Kind::I32) => header.checksum = Some(cursor.integer()? as u32),
                // Each kind of page has a struct of its own, whose first field is the number of values.
                (5..=8, Kind::Struct) => values[id as usize] = Some(cursor.first_integer()?),
                (_, kind) => cursor.skip(kind, 0)?,
            }
            Some(())
        })?;
        let place = match header.kind {
            DATA => 5,
            DICTIONARY => 7,
            DATA_V2 => 8,
            _ => 6,
        };
        header.values = values[place].unwrap_or(0).try_into().ok()?;
        header.length = bytes.len() - cursor.rest.len();
        Some(header)
    }

    pub(super) fn is_dictionary(&self) -> bool {
        self.kind == DICTIONARY
    }

    pub(super) fn is_data(&self) -> bool {
        matches!(self.kind, DATA | DATA_V2)
    }
}

/// Whether the struct at the start of `bytes` has a field; `None` when it is invalid, or continues past them.
pub(super) fn has_field(bytes: &[u8], wanted: i64) -> Option<bool> {
    let mut found = false;
    let mut cursor = Cursor { rest: bytes };
    cursor.fields(|cursor, id, kind| {
        found |= id == wanted;
        cursor.skip(kind, 0)
    })?;
    Some(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Byte,
    I32,
    Integer,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 | 2 => Self::Boolean,
            3 => Self::Byte,
            5 => Self::I32,
            4 | 6 => Self::Integer,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            _ => return None,
        })
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Calls `take` for each field of a struct; it must take the field's value.
    fn fields(&mut self, mut take: impl FnMut(&mut Self, i64, Kind) -> Option<()>) -> Option<()> {
        let mut id = 0;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Some(());
            }
            let step = i64::from(byte >> 4);
            id = if step == 0 {
                self.integer()?
            } else {
                id + step
            };
            take(self, id, Kind::of(byte & 0x0F)?)?;
        }
    }

    /// The first field of a struct, an integer; skips the rest.
    fn first_integer(&mut self) -> Option<i64> {
        let mut first = None;
        self.fields(|cursor, id, kind| {
            if id == 1 && kind == Kind::I32 {
                first = Some(cursor.integer()?);
                return Some(());
            }
            cursor.skip(kind, 1)
        })?;
        first
    }

    fn skip(&mut self, kind: Kind, depth: u32) -> Option<()> {
        match kind {
            // The value is in the field's own byte.
            Kind::Boolean => Some(()),
            Kind::Byte => self.pass(1),
            Kind::I32 | Kind::Integer => self.unsigned().map(drop),
            Kind::Double => self.pass(8),
            Kind::Binary => {
                let length = self.unsigned()?;
                self.pass(length)
            }
            _ if depth >= DEPTH_MAX => None,
            Kind::List => {
                let byte = self.byte()?;
                let count = match byte >> 4 {
                    15 => self.unsigned()?,
                    count => u64::from(count),
                };
                let kind = Kind::of(byte & 0x0F)?;
                (0..count).try_for_each(|_| self.element(kind, depth + 1))
            }
            Kind::Map => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                let key = Kind::of(kinds >> 4)?;
                let value = Kind::of(kinds & 0x0F)?;
                (0..count).try_for_each(|_| {
                    self.element(key, depth + 1)?;
                    self.element(value, depth + 1)
                })
            }
            Kind::Struct => self.fields(|cursor, _, kind| cursor.skip(kind, depth + 1)),
        }
    }

    /// In lists and maps a boolean has a byte of its own.
    fn element(&mut self, kind: Kind, depth: u32) -> Option<()> {
        match kind {
            Kind::Boolean => self.pass(1),
            kind => self.skip(kind, depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Type 3, 100 bytes of 40, checksum -1, then a version 2 header with 7 values, a boolean and an unknown list.
    const HEADER: [u8; 17] = [
        0x15, 6, 0x15, 200, 1, 0x15, 80, 0x15, 1, 0x4C, 0x15, 14, 0x61, 0x29, 0x15, 1, 0,
    ];

    #[test]
    fn a_header_is_read_and_a_cut_one_is_not() {
        let bytes = [&HEADER[..], &[0, 9, 9]].concat();
        let header = PageHeader::read(&bytes).unwrap();
        let expected = PageHeader {
            kind: DATA_V2,
            expanded: 100,
            stored: 40,
            checksum: Some(u32::MAX),
            values: 7,
            length: HEADER.len() + 1,
        };
        assert_eq!(header, expected);
        for cut in 0..=HEADER.len() {
            assert_eq!(PageHeader::read(&bytes[..cut]), Err(Fault::Cut), "{cut}");
        }
        let endless = PageHeader::read(&[0x1C; 100]);
        assert!(matches!(endless, Err(Fault::Bad(_))), "structs without end");
    }

    proptest! {
        #[test]
        fn no_bytes_lead_astray(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(header) = PageHeader::read(&bytes) {
                prop_assert!(header.length <= bytes.len());
            }
        }
    }
}
