//! The digest of a file's content, which can be resumed in the middle.
//!
//! It chains the SHA-256 of blocks, so that the chain in a position is enough to resume from the last whole block: a
//! later run need not read the loaded part again.

use sha2::{Digest as _, Sha256};

/// Most bytes that are read again to resume.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;

type Hash = [u8; 32];

/// The digest of the bytes so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Digest {
    /// Over all blocks that are complete.
    chain: Hash,
    block: Sha256,
    length: u64,
}

impl Digest {
    /// Resumes after the whole blocks of which `chain` is [`Self::chain`]; the next update must begin at byte
    /// `offset / BLOCK_BYTES * BLOCK_BYTES`. `None` when `chain` is invalid.
    pub(super) fn resume(chain: &str, offset: u64) -> Option<Self> {
        let byte = |at| u8::from_str_radix(chain.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
        Some(Self {
            chain: bytes?.try_into().ok()?,
            block: Sha256::new(),
            length: offset / BLOCK_BYTES * BLOCK_BYTES,
        })
    }

    /// Bytes processed.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Of the whole blocks, in hex.
    pub(super) fn chain(&self) -> String {
        hex::encode(self.chain)
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.length % BLOCK_BYTES;
            let now = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(now);
            self.block.update(now);
            self.length += now.len() as u64;
            if self.length.is_multiple_of(BLOCK_BYTES) {
                let block = std::mem::take(&mut self.block).finalize();
                self.chain = Sha256::new()
                    .chain_update(self.chain)
                    .chain_update(block)
                    .finalize()
                    .into();
            }
            bytes = rest;
        }
    }

    /// The digest of all bytes so far.
    pub(super) fn value(&self) -> Hash {
        Sha256::new()
            .chain_update(self.chain)
            .chain_update(self.block.clone().finalize())
            .chain_update(self.length.to_be_bytes())
            .finalize()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_in_the_middle_and_tells_contents_apart() {
        let block = usize::try_from(BLOCK_BYTES).unwrap();
        let content: Vec<u8> = (0..block * 3 + 77).map(|n| (n % 251) as u8).collect();
        let whole = |bytes: &[u8]| {
            let mut digest = Digest::default();
            digest.update(bytes);
            digest
        };
        let expected = whole(&content).value();
        for cut in [0, 1, block - 1, block, block + 1, block * 2, content.len()] {
            let mut first = Digest::default();
            content[..cut].chunks(100_003).for_each(|c| first.update(c));
            let mut second = Digest::resume(&first.chain(), cut as u64).unwrap();
            let from = usize::try_from(second.length()).unwrap();
            assert!(cut - from < block);
            second.update(&content[from..cut]);
            assert_eq!(second.value(), first.value());
            second.update(&content[cut..]);
            assert_eq!(second.value(), expected, "cut at {cut}");
        }
        let mut other = content.clone();
        other[5] ^= 1;
        assert_ne!(whole(&other).value(), expected);
        assert_ne!(whole(&content[..block]).value(), whole(&[]).value());
        assert!(Digest::resume("xy", 0).is_none() && Digest::resume("", 0).is_none());
    }
}
