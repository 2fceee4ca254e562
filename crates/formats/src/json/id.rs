//! Keys of rows: `_fb_id`, `_fb_parent_id`, `_fb_root_id`.
//!
//! A key is a function of the origin of the row and of nothing else, so a replay or a rebuild of the same payload gives the
//! same keys. The hash is defined here because stored keys depend on it: changing it is a new version of the contract. It
//! does not protect against deliberately constructed collisions.

const K: [u64; 4] = [
    0x9E37_79B9_7F4A_7C15,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x27D4_EB2F_1656_67C5,
];
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of a key: 128 bits, 6 a character.
pub(super) const TEXT_LENGTH: usize = 22;

/// A 128-bit hash of `bytes`, started with `seed`.
pub(super) fn hash(seed: u128, bytes: &[u8]) -> u128 {
    let mut a = seed as u64;
    let mut b = (seed >> 64) as u64;
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        (a, b) = step(a, b, u128::from_le_bytes(*block));
    }
    let mut last = [0; 16];
    last[..tail.len()].copy_from_slice(tail);
    (a, b) = step(a, b, u128::from_le_bytes(last));
    (a, b) = step(a, b, bytes.len() as u128);
    u128::from(scramble(a ^ b.rotate_left(32))) << 64
        | u128::from(scramble(b.wrapping_add(a.rotate_left(17))))
}

/// The key of a main row: its payload (a stable name or identity), its position there (`shape::RowKeys`), and its bytes.
pub(super) fn main(payload: u128, place: u64, record: &[u8]) -> u128 {
    hash(
        payload ^ u128::from(place).wrapping_mul(u128::from(K[1]) << 32 | 1),
        record,
    )
}

/// The key of the element `index` of the list `list` (a hash of its name) of `parent`.
pub(super) fn child(parent: u128, list: u128, index: u64) -> u128 {
    let mut place = [0; 32];
    place[..16].copy_from_slice(&list.to_le_bytes());
    place[16..24].copy_from_slice(&index.to_le_bytes());
    hash(parent, &place)
}

/// Writes the key as text of [`TEXT_LENGTH`] characters that are safe in URLs.
pub(super) fn write(id: u128, out: &mut Vec<u8>) {
    let text: [u8; TEXT_LENGTH] =
        std::array::from_fn(|i| ALPHABET[(id >> (122 - 6 * i as i32).max(0)) as usize & 63]);
    out.extend_from_slice(&text);
}

fn step(a: u64, b: u64, block: u128) -> (u64, u64) {
    let x = block as u64;
    let y = (block >> 64) as u64;
    (
        a.rotate_left(29) ^ fold(x ^ K[0], y ^ K[1] ^ a),
        b.rotate_left(31) ^ fold(y ^ K[2], x ^ K[3] ^ b),
    )
}

fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    (product as u64) ^ ((product >> 64) as u64)
}

fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn small_differences_give_other_keys() {
        let mut seen = HashSet::new();
        for ordinal in 0..1000 {
            for record in [
                &b""[..],
                b"a",
                b"a\0",
                b"b",
                b"0123456789abcdef",
                b"0123456789abcdefg",
            ] {
                assert!(
                    seen.insert(main(7, ordinal, record)),
                    "{ordinal} {record:?}"
                );
            }
            for index in 0..20 {
                assert!(seen.insert(child(u128::from(ordinal), 3, index)));
            }
        }
    }

    #[test]
    fn the_hash_is_the_one_that_stored_keys_were_made_with() {
        let mut text = Vec::new();
        write(main(hash(0, b"page-1"), 3, br#"{"a":1}"#), &mut text);
        assert_eq!(text.len(), TEXT_LENGTH);
        assert_eq!(text, b"N4VxIyHwMlnGHMkF3ZAcXf");
    }

    #[test]
    fn all_bits_are_in_the_text() {
        let texts: HashSet<Vec<u8>> = (0..128)
            .map(|bit| {
                let mut text = Vec::new();
                write(1 << bit, &mut text);
                text
            })
            .collect();
        assert_eq!(texts.len(), 128);
    }
}
