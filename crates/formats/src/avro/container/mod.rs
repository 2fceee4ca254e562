//! Object container files: a header with the schema, then blocks of records, each after a count and before a sync marker.
//!
//! <https://avro.apache.org/docs/1.11.1/specification/#object-container-files>. Takes the bytes as they arrive and holds
//! one block of them. This does not decode schemas or rows; [`reading`] does.

mod codec;
pub(super) mod reading;
mod single;
#[cfg(test)]
mod tests;

use self::codec::Codec;
use crate::decode::{RATIO_FLOOR_BYTES, RATIO_MAX};
use crate::wire::Unreadable;

/// The first bytes of a container file.
pub(super) const MAGIC: &[u8] = b"Obj\x01";

/// Largest header: the schema, and additions of writers.
const HEADER_BYTES_MAX: usize = 16 << 20;

/// Largest block, as stored in the file and decompressed. Writers make blocks of 16 KiB to a few MiB.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// Records of one block that take no bytes.
const EMPTY_RECORDS_MAX: u64 = 1 << 20;

const SYNC_BYTES: usize = 16;

/// The bytes of a file, parsed as far as they have arrived.
#[derive(Debug)]
pub(super) struct Frames {
    held: Vec<u8>,
    /// Offset of the held bytes in the file.
    start: u64,
    header: Option<Header>,
    decoded: u64,
    decoded_max: u64,
}

#[derive(Debug)]
struct Header {
    schema: String,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
}

/// A block, decompressed.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) rows: u64,
    pub(super) bytes: Vec<u8>,
}

/// Why a part cannot be taken yet, or ever.
enum Stop {
    More,
    Bad(Unreadable),
}

impl Frames {
    /// The file may decompress to `decoded_max` bytes.
    pub(super) fn new(decoded_max: u64) -> Self {
        Self {
            held: Vec::new(),
            start: 0,
            header: None,
            decoded: 0,
            decoded_max,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Whether the file may end here.
    pub(super) fn is_between_blocks(&self) -> bool {
        self.header.is_some() && self.held.is_empty()
    }

    /// Whether no bytes have arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.start == 0 && self.held.is_empty()
    }

    /// The schema, once it has been read.
    pub(super) fn schema(&self) -> Option<&str> {
        self.header.as_ref().map(|header| header.schema.as_str())
    }

    /// The next block that is complete.
    pub(super) fn next(&mut self) -> Result<Option<Block>, Unreadable> {
        let taken = self.take_header().and_then(|()| self.take_block());
        match taken {
            Ok(block) => Ok(Some(block)),
            Err(Stop::More) => Ok(None),
            Err(Stop::Bad(mut bad)) => {
                bad.reason = format!("{}, near byte {}", bad.reason, self.start);
                Err(bad)
            }
        }
    }

    fn take_header(&mut self) -> Result<(), Stop> {
        if self.header.is_some() {
            return Ok(());
        }
        let mut parts = Parts(&self.held);
        let header = match parse_header(&mut parts) {
            Err(Stop::More) if self.held.len() > HEADER_BYTES_MAX => {
                let most = HEADER_BYTES_MAX >> 20;
                return Err(corrupt(format!("the header has more than {most} MiB")));
            }
            header => header?,
        };
        let used = self.held.len() - parts.0.len();
        self.header = Some(header);
        self.drop_front(used);
        Ok(())
    }

    fn take_block(&mut self) -> Result<Block, Stop> {
        let Some(header) = &self.header else {
            return Err(Stop::More);
        };
        if self.held.is_empty() {
            return Err(Stop::More);
        }
        let mut parts = Parts(&self.held);
        let rows = parts.count("a block has a negative number of records")?;
        let length = parts.length(BLOCK_BYTES_MAX, "a block")?;
        let content = parts.take(length)?;
        if parts.take(SYNC_BYTES)? != header.sync {
            let what = "the sync marker after a block differs from the one in the header";
            return Err(corrupt(what));
        }
        let bytes = header.codec.decode(content, BLOCK_BYTES_MAX);
        let bytes = bytes.map_err(Stop::Bad)?;
        if rows > (bytes.len() as u64).max(EMPTY_RECORDS_MAX) {
            let what = format!("a block of {} bytes claims {rows} records", bytes.len());
            return Err(corrupt(what));
        }
        let used = self.held.len() - parts.0.len();
        self.drop_front(used);
        self.decoded += bytes.len() as u64;
        self.check_expansion()?;
        Ok(Block { rows, bytes })
    }

    fn check_expansion(&self) -> Result<(), Stop> {
        let read = self.start;
        let decoded = self.decoded;
        if decoded > self.decoded_max {
            let most = self.decoded_max >> 20;
            let what = format!("the blocks expand to more than {most} MiB");
            return Err(Stop::Bad(Unreadable::new("too_large", what)));
        }
        if decoded > RATIO_FLOOR_BYTES && decoded / RATIO_MAX > read {
            let what = format!("the blocks expand more than {RATIO_MAX} times");
            return Err(Stop::Bad(Unreadable::new("ratio_exceeded", what)));
        }
        Ok(())
    }

    fn drop_front(&mut self, bytes: usize) {
        self.held.drain(..bytes);
        self.start += bytes as u64;
    }
}

fn parse_header(parts: &mut Parts<'_>) -> Result<Header, Stop> {
    let most = parts.0.len().min(MAGIC.len());
    if parts.0[..most] != MAGIC[..most] {
        let what = "not an Avro container file: it does not begin with `Obj` and 1";
        return Err(Stop::Bad(Unreadable::new("not_avro", what)));
    }
    parts.take(MAGIC.len())?;
    let mut schema = None;
    let mut codec = Codec::Null;
    loop {
        let entries = match parts.long()? {
            0 => break,
            // A negative count is followed by the size of its entries.
            count if count < 0 => {
                parts.long()?;
                count.unsigned_abs()
            }
            count => count.unsigned_abs(),
        };
        for _ in 0..entries {
            let key = parts.bytes(HEADER_BYTES_MAX)?;
            let value = parts.bytes(HEADER_BYTES_MAX)?;
            match key {
                b"avro.schema" => schema = Some(value),
                b"avro.codec" => codec = Codec::find(value).map_err(Stop::Bad)?,
                _ => {}
            }
        }
    }
    let sync = parts.take(SYNC_BYTES)?;
    let schema = schema.ok_or_else(|| corrupt("the header has no schema"))?;
    let schema = std::str::from_utf8(schema).map_err(|_| corrupt("the schema is not UTF-8"))?;
    Ok(Header {
        schema: schema.to_owned(),
        codec,
        sync: sync.try_into().map_err(|_| Stop::More)?,
    })
}

/// The unread bytes.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Stop::More)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number in zigzag and groups of seven bits.
    fn long(&mut self) -> Result<i64, Stop> {
        let mut bits = 0_u64;
        for (n, byte) in self.0.iter().enumerate() {
            if n == 9 && *byte > 1 {
                return Err(corrupt("a length has more than 64 bits"));
            }
            bits |= u64::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                self.0 = &self.0[n + 1..];
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(Stop::More)
    }

    fn count(&mut self, why: &str) -> Result<u64, Stop> {
        u64::try_from(self.long()?).map_err(|_| corrupt(why))
    }

    fn length(&mut self, max: usize, what: &str) -> Result<usize, Stop> {
        let length = self.count(&format!("{what} has a negative length"))?;
        let fits = usize::try_from(length).ok().filter(|length| *length <= max);
        fits.ok_or_else(|| {
            let most = max >> 20;
            let what = format!("{what} has {length} bytes, more than {most} MiB");
            Stop::Bad(Unreadable::new("too_large", what))
        })
    }

    fn bytes(&mut self, max: usize) -> Result<&'a [u8], Stop> {
        let length = self.length(max, "an entry of the header")?;
        self.take(length)
    }
}

fn corrupt(why: impl Into<String>) -> Stop {
    Stop::Bad(Unreadable::new("corrupt_avro", why))
}
