//! The header of an Avro file: metadata by key, before the sync marker.

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::{Error, Result};

use super::HEADER_BYTES_MAX;
use super::walk::{take_bytes, take_long};

const MAGIC: &[u8; 4] = b"Obj\x01";

/// The entries of a header, and what follows it.
pub(crate) struct AvroHeader<'a> {
    pub(crate) entries: Vec<(&'a [u8], &'a [u8])>,
    /// From the sync marker on.
    pub(crate) rest: &'a [u8],
}

impl<'a> AvroHeader<'a> {
    /// Errors: `Data` `bad_manifest`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self> {
        let bad = || Error::data("bad_manifest", "a manifest is not an Avro file");
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(bad)?;
        let mut entries = Vec::new();
        loop {
            let count = take_long(&mut rest).ok_or_else(bad)?;
            if bytes.len() - rest.len() > HEADER_BYTES_MAX {
                let most = HEADER_BYTES_MAX >> 20;
                let what = format!("the header of an Avro file has more than {most} MiB");
                return Err(Error::data("bad_manifest", what));
            }
            if count == 0 {
                return Ok(Self { entries, rest });
            }
            if count < 0 {
                // A negative count is followed by the block's size in bytes.
                take_long(&mut rest).ok_or_else(bad)?;
            }
            for _ in 0..count.unsigned_abs() {
                let key = take_bytes(&mut rest).ok_or_else(bad)?;
                entries.push((key, take_bytes(&mut rest).ok_or_else(bad)?));
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.entries
            .iter()
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| *value)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

/// An Avro file with this header; `rest` begins with the sync marker.
pub(crate) fn write_header(entries: &[(&[u8], &[u8])], rest: &[u8]) -> Bytes {
    let mut made = BytesMut::from(&MAGIC[..]);
    put_long(&mut made, entries.len() as u64);
    for text in entries.iter().flat_map(|(key, value)| [key, value]) {
        put_long(&mut made, text.len() as u64);
        made.put_slice(text);
    }
    put_long(&mut made, 0);
    made.put_slice(rest);
    made.freeze()
}

/// A number that is not negative, as Avro has it.
pub(super) fn put_long(into: &mut impl BufMut, value: u64) {
    let mut value = value << 1;
    while value >= 0x80 {
        into.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    into.put_u8(value as u8);
}
