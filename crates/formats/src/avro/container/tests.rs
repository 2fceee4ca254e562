//! Container files parsed from bytes in any pieces.

use super::*;

const SYNC: [u8; SYNC_BYTES] = *b"sixteen bytes it";

/// A file of two blocks, of two and of no records.
fn file() -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    // A part of the metadata that says its size, of one entry.
    file.extend([1, 40, 22]);
    file.extend(b"avro.schema");
    file.push(14);
    file.extend(b"\"bytes\"");
    file.push(0);
    file.extend(SYNC);
    file.extend([4, 8, 2, b'a', 2, b'b']);
    file.extend(SYNC);
    file.extend([0, 0]);
    file.extend(SYNC);
    file
}

#[test]
fn blocks_are_the_same_whatever_pieces_the_bytes_come_in() {
    let file = file();
    for piece in 1..=file.len() {
        let mut frames = Frames::new(u64::MAX);
        let mut found = Vec::new();
        for bytes in file.chunks(piece) {
            frames.push(bytes);
            while let Some(Block { rows, bytes }) = frames.next().unwrap() {
                found.push((rows, bytes));
            }
        }
        assert_eq!(frames.schema(), Some("\"bytes\""));
        assert!(frames.is_between_blocks());
        assert_eq!(found, [(2, b"\x02a\x02b".to_vec()), (0, Vec::new())]);
    }
}

#[test]
fn what_is_damaged_is_said() {
    let fault = |bytes: &[u8]| {
        let mut frames = Frames::new(u64::MAX);
        frames.push(bytes);
        loop {
            match frames.next() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(bad) => return Some(bad.code),
            }
        }
    };
    let file = file();
    assert_eq!(fault(&file), None);
    assert_eq!(fault(b"a,b\n1,2\n"), Some("not_avro"));
    let mut marker = file.clone();
    *marker.last_mut().unwrap() ^= 1;
    assert_eq!(fault(&marker), Some("corrupt_avro"));
    let negative = [&file[..file.len() - 18], &[1, 0][..]].concat();
    assert_eq!(fault(&negative), Some("corrupt_avro"));
    let large = [
        &file[..file.len() - 18],
        &[2, 0xfe, 0xff, 0xff, 0xff, 0x0f][..],
    ]
    .concat();
    assert_eq!(fault(&large), Some("too_large"));
}
