//! Checksums of files at rest: how they are written and compared.
//!
//! A Parquet file carries the CRC-32 of each block of its bytes between its last page index and its footer, where the format
//! leaves room and no reader looks: other engines read the file as usual. Metadata files, manifests and manifest lists carry the
//! CRC-32 of all their bytes in their name, which is a version 8 UUID: its last four bytes are the checksum, the rest is
//! random. A data file has such a name too, with a fixed end, so that one whose checksums were overwritten is not taken for
//! another writer's. Files without checksums are read as they are.
//!
//! Layout of the checksums in a Parquet file, little endian: CRC-32 `u32` of each block of [`BLOCK_BYTES`] (the last may be
//! shorter) · bytes of a block `u32` · bytes that the blocks cover, which is where this begins, `u64` · CRC-32 of the footer up
//! to the end of the file `u32` · CRC-32 of everything here before this `u32` · magic, 8 bytes.

use uuid::{Builder, Uuid, Version};

/// Bytes that share a checksum: a reader reads no less.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;

const MAGIC: &[u8; 8] = b"FBYCRC01";
/// The trailer after the checksums of the blocks.
const TAIL_BYTES: usize = 28;
/// The end of the name of a data file whose checksums are in it.
const IN_FILE: [u8; 4] = *b"FBYD";
/// The end of every Parquet file: length of the footer, and `PAR1`.
pub(super) const PARQUET_END_BYTES: usize = 8;

/// A name for a file of these bytes.
pub(crate) fn checksum_name(bytes: &[u8]) -> Uuid {
    name_ending(crc32fast::hash(bytes).to_be_bytes())
}

/// A name for a Parquet file that will carry checksums.
pub(crate) fn data_file_name() -> Uuid {
    name_ending(IN_FILE)
}

fn name_ending(end: [u8; 4]) -> Uuid {
    let mut bytes = *Uuid::new_v4().as_bytes();
    bytes[12..].copy_from_slice(&end);
    Builder::from_bytes(bytes)
        .with_version(Version::Custom)
        .into_uuid()
}

/// The checksum in the name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedChecksum {
    /// Nothing: another writer's, or older than checksums.
    None,
    /// The CRC-32 of all bytes.
    Whole(u32),
    /// The file carries its own.
    InFile,
}

/// Reads the first version 8 UUID in a file's name.
pub(super) fn named_checksum(file_name: &str) -> NamedChecksum {
    let Some(uuid) = find_uuid(file_name) else {
        return NamedChecksum::None;
    };
    let bytes = uuid.as_bytes();
    let end = [bytes[12], bytes[13], bytes[14], bytes[15]];
    if file_name.ends_with(".parquet") {
        let is_ours = end == IN_FILE;
        return if is_ours {
            NamedChecksum::InFile
        } else {
            NamedChecksum::None
        };
    }
    NamedChecksum::Whole(u32::from_be_bytes(end))
}

/// Characters of a UUID with its hyphens.
const UUID_CHARS: usize = 36;

fn find_uuid(name: &str) -> Option<Uuid> {
    let starts = 0..=name.len().checked_sub(UUID_CHARS)?;
    let mut found = starts.filter_map(|start| {
        let text = name.get(start..start + UUID_CHARS)?;
        let uuid = Uuid::try_parse(text).ok()?;
        (uuid.get_version() == Some(Version::Custom)).then_some(uuid)
    });
    found.next()
}

/// Checksums of the blocks of a file that is being written.
#[derive(Debug)]
pub(super) struct BlockHasher {
    done: Vec<u32>,
    open: crc32fast::Hasher,
    open_bytes: u64,
    covered: u64,
}

impl BlockHasher {
    pub(super) fn new() -> Self {
        Self {
            done: Vec::new(),
            open: crc32fast::Hasher::new(),
            open_bytes: 0,
            covered: 0,
        }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.covered += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.open_bytes).unwrap_or(usize::MAX);
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.open.update(part);
            self.open_bytes += part.len() as u64;
            bytes = rest;
            if self.open_bytes == BLOCK_BYTES {
                self.close_block();
            }
        }
    }

    fn close_block(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.done.push(open.finalize());
        self.open_bytes = 0;
    }

    /// The checksums as written to the file, before this footer.
    pub(super) fn finish(mut self, footer: &[u8]) -> Vec<u8> {
        if self.open_bytes > 0 {
            self.close_block();
        }
        let mut bytes = Vec::with_capacity(self.done.len() * 4 + TAIL_BYTES);
        for crc in &self.done {
            bytes.extend_from_slice(&crc.to_le_bytes());
        }
        let block = u32::try_from(BLOCK_BYTES).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&block.to_le_bytes());
        bytes.extend_from_slice(&self.covered.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(footer).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes
    }
}

/// Checksums of a file, as read from it.
#[derive(Debug)]
pub(super) struct FileChecksums {
    blocks: Vec<u32>,
    block_bytes: u64,
    /// The bytes that the blocks cover.
    pub(super) covered: u64,
    pub(super) footer_start: u64,
    footer_crc: u32,
    /// Of the file.
    pub(super) size: u64,
}

/// The location of the checksums, read from the end of a Parquet file.
#[derive(Debug)]
pub(super) enum TailChecksums {
    /// This many bytes of the end are needed.
    Needs(u64),
    /// It has none, or is no Parquet file.
    Absent,
    Damaged,
    Found(FileChecksums),
}

/// Reads the checksums from the last bytes of a file of this size.
pub(super) fn parse_tail(tail: &[u8], size: u64) -> TailChecksums {
    let Some((rest, end)) = tail.split_last_chunk::<PARQUET_END_BYTES>() else {
        return TailChecksums::Absent;
    };
    let footer = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    let needed = footer + (PARQUET_END_BYTES + TAIL_BYTES) as u64;
    if &end[4..] != b"PAR1" || needed > size {
        return TailChecksums::Absent;
    }
    if needed > tail.len() as u64 {
        return TailChecksums::Needs(needed);
    }
    let footer_at = rest.len() - usize::try_from(footer).unwrap_or(rest.len());
    let before = &rest[..footer_at];
    let (blocks, fixed) = before.split_at(before.len() - TAIL_BYTES);
    if &fixed[20..] != MAGIC {
        return TailChecksums::Absent;
    }
    let word =
        |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let block_bytes = u64::from(word(0));
    let covered = u64::from(word(4)) | (u64::from(word(8)) << 32);
    if block_bytes == 0 || covered > size {
        return TailChecksums::Damaged;
    }
    let table = covered.div_ceil(block_bytes) * 4;
    let footer_start = size - footer - PARQUET_END_BYTES as u64;
    if covered + table + TAIL_BYTES as u64 != footer_start {
        return TailChecksums::Damaged;
    }
    if table > blocks.len() as u64 {
        return TailChecksums::Needs(needed + table);
    }
    let table = &blocks[blocks.len() - usize::try_from(table).unwrap_or(0)..];
    let mut own = crc32fast::Hasher::new();
    own.update(table);
    own.update(&fixed[..16]);
    let footer_crc = crc32fast::hash(&tail[footer_at..]);
    if own.finalize() != word(16) || footer_crc != word(12) {
        return TailChecksums::Damaged;
    }
    let blocks = table
        .chunks_exact(4)
        .map(|crc| u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]]));
    TailChecksums::Found(FileChecksums {
        blocks: blocks.collect(),
        block_bytes,
        covered,
        footer_start,
        footer_crc,
        size,
    })
}

impl FileChecksums {
    /// The range to read so that `range` can be checked.
    pub(super) fn widen(&self, range: &std::ops::Range<u64>) -> std::ops::Range<u64> {
        let start = if range.start < self.covered {
            range.start - range.start % self.block_bytes
        } else {
            range.start.min(self.footer_start)
        };
        let end = if range.end <= self.covered {
            range
                .end
                .next_multiple_of(self.block_bytes)
                .min(self.covered)
        } else {
            self.size
        };
        start..end
    }

    /// Compares bytes that were read from a widened range; gives the place of the first that are damaged.
    pub(super) fn find_damage(&self, start: u64, bytes: &[u8]) -> Option<u64> {
        let mut at = start;
        let mut rest = bytes;
        while at < self.covered && !rest.is_empty() {
            let length = self.block_bytes.min(self.covered - at);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((block, after)) = rest.split_at_checked(length) else {
                return Some(at);
            };
            let index = usize::try_from(at / self.block_bytes).unwrap_or(usize::MAX);
            if self.blocks.get(index) != Some(&crc32fast::hash(block)) {
                return Some(at);
            }
            at += block.len() as u64;
            rest = after;
        }
        // From a place at or before the footer to the end of the file: see `widen`.
        let is_footer = start + bytes.len() as u64 == self.size && start <= self.footer_start;
        if is_footer {
            let footer = usize::try_from(self.footer_start - start).unwrap_or(usize::MAX);
            let found = bytes.get(footer..).map(crc32fast::hash);
            if found != Some(self.footer_crc) {
                return Some(self.footer_start);
            }
        }
        None
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.blocks.len() * 4 + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_in_the_file_and_others_say_nothing() {
        let name = checksum_name(b"bytes");
        let crc = crc32fast::hash(b"bytes");
        for file in [
            format!("00012-{name}.metadata.json"),
            format!("{name}-m.avro"),
            format!("snap-123-{name}.avro"),
        ] {
            assert_eq!(named_checksum(&file), NamedChecksum::Whole(crc), "{file}");
        }
        let own = format!("{}.parquet", data_file_name());
        assert_eq!(named_checksum(&own), NamedChecksum::InFile);
        for other in [
            format!("{}-m0.avro", Uuid::new_v4()),
            format!("00000-0-{}.parquet", Uuid::now_v7()),
            "é00001.metadata.json".to_owned(),
            String::new(),
        ] {
            assert_eq!(named_checksum(&other), NamedChecksum::None, "{other}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_file_is_found() {
        let mut data: Vec<u8> = (0..150_000_u32).map(|n| (n % 251) as u8).collect();
        let mut hasher = BlockHasher::new();
        for part in data.chunks(7_777) {
            hasher.update(part);
        }
        let mut footer = b"a footer".to_vec();
        footer.extend_from_slice(&8_u32.to_le_bytes());
        footer.extend_from_slice(b"PAR1");
        data.extend(hasher.finish(&footer));
        data.extend(&footer);
        let size = data.len() as u64;
        let TailChecksums::Found(sums) = parse_tail(&data, size) else {
            panic!("the checksums are there");
        };
        assert_eq!(sums.find_damage(0, &data), None);
        for range in [
            0..10,
            65_000..66_000,
            149_000..150_000,
            131_072..size,
            size - 8..size,
        ] {
            let wide = sums.widen(&range);
            assert!(wide.start <= range.start && wide.end >= range.end);
            let at = usize::try_from(wide.start).unwrap();
            let end = usize::try_from(wide.end).unwrap();
            assert_eq!(
                sums.find_damage(wide.start, &data[at..end]),
                None,
                "{range:?}"
            );
        }
        for bit in (0..data.len() * 8).step_by(1_009) {
            let mut flipped = data.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = match parse_tail(&flipped, size) {
                TailChecksums::Found(sums) => sums.find_damage(0, &flipped).is_some(),
                TailChecksums::Damaged => true,
                // The name of the file says that there must be some.
                TailChecksums::Absent | TailChecksums::Needs(_) => true,
            };
            assert!(found, "bit {bit}");
        }
    }
}
