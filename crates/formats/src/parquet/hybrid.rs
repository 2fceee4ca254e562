//! Numbers as Parquet packs levels and dictionary indexes: runs of one number, and groups of packed bits.
//!
//! Ends where the bytes do. It validates nothing: the decoder reports errors.

/// Largest number of bits of a number.
const BITS_MAX: u32 = 32;

/// Reads numbers of this bit width.
pub(super) struct Hybrid<'a> {
    bytes: &'a [u8],
    bits: u32,
    /// Numbers left of a run, and its value.
    repeated: u64,
    value: u32,
    /// Bits left of a group, which starts `bytes`, and the bits already read of it.
    packed: u64,
    read: u64,
}

impl<'a> Hybrid<'a> {
    pub(super) fn new(bytes: &'a [u8], bits: u32) -> Self {
        Self {
            bytes,
            bits: bits.min(BITS_MAX),
            repeated: 0,
            value: 0,
            packed: 0,
            read: 0,
        }
    }

    /// Advances to the next run or group; `None` when there is none.
    fn begin(&mut self) -> Option<()> {
        let header = self.varint()?;
        let count = header >> 1;
        if header & 1 == 1 {
            // Eight numbers a group.
            self.packed = count.saturating_mul(8);
            self.read = 0;
            return Some(());
        }
        let (value, rest) = self
            .bytes
            .split_at_checked(self.bits.div_ceil(8) as usize)?;
        let mut number = [0; 4];
        number[..value.len()].copy_from_slice(value);
        self.value = u32::from_le_bytes(number);
        self.repeated = count;
        self.bytes = rest;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn unpack(&mut self) -> Option<u32> {
        let at = usize::try_from(self.read / 8).ok()?;
        let shift = self.read % 8;
        let mut window = [0; 8];
        let from = self.bytes.get(at..).unwrap_or_default();
        let length = from.len().min(window.len());
        window[..length].copy_from_slice(&from[..length]);
        let mask = (1_u64 << self.bits) - 1;
        let value = (u64::from_le_bytes(window) >> shift) & mask;
        self.read += u64::from(self.bits);
        self.packed -= 1;
        if self.packed == 0 {
            let length = usize::try_from(self.read / 8).ok()?;
            self.bytes = self.bytes.get(length..).unwrap_or_default();
        }
        u32::try_from(value).ok()
    }
}

impl Iterator for Hybrid<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.repeated == 0 && self.packed == 0 {
            self.begin()?;
        }
        if self.repeated > 0 {
            self.repeated -= 1;
            return Some(self.value);
        }
        self.unpack()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_groups_are_read_in_order() {
        // Three times 5, then the numbers 0 to 7 of three bits, as in the format's own example.
        let bytes = [0b110, 5, 0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        let numbers: Vec<u32> = Hybrid::new(&bytes, 3).collect();
        assert_eq!(numbers, [5, 5, 5, 0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn numbers_without_bits_are_zero() {
        let numbers: Vec<u32> = Hybrid::new(&[0b1000, 0b11], 0).collect();
        assert_eq!(numbers, [0; 12]);
        assert_eq!(Hybrid::new(&[], 3).next(), None);
        assert_eq!(Hybrid::new(&[0b110], 3).next(), None);
    }
}
