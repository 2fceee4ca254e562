//! Footers and page headers that end or stall a process whose library reads them.

use super::*;

/// A footer of a root, `depth` groups within each other and a column, with more fields after the others.
fn footer(depth: u32, more: &[u8]) -> Vec<u8> {
    let count = depth + 2;
    let count = [
        count as u8 | 0x80,
        (count >> 7) as u8 | 0x80,
        (count >> 14) as u8,
    ];
    let group = [0x35, 0, 0x18, 1, b'g', 0x15, 2, 0];
    let leaf = [0x15, 2, 0x25, 0, 0x18, 1, b'x', 0];
    let groups = group.repeat(depth as usize + 1);
    let parts: [&[u8]; 8] = [
        &[0x15, 2, 0x19, 0xFC],
        &count,
        &groups,
        &leaf,
        &[0x16, 0, 0x19, 0x0C],
        more,
        &[0],
        &[],
    ];
    parts.concat()
}

fn with_footer(footer: &[u8]) -> Vec<u8> {
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [b"PAR1", footer, &length, b"PAR1"].concat()
}

/// The reason of a file of which nothing is loaded.
fn reason(bytes: Vec<u8>) -> String {
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let out = reader.read(bytes).unwrap();
    assert_eq!((out.rows(), codes(&out)), (0, vec!["corrupt_parquet"]));
    out.rejected[0].reason.clone()
}

/// The header of a list of 2^31 - 1 booleans.
const BOOLEANS: [u8; 6] = [0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0x07];

#[test]
fn a_schema_of_deep_groups_is_refused() {
    for depth in [65, 50_000, 99_000] {
        let reason = reason(with_footer(&footer(depth, &[])));
        assert!(reason.contains("64 groups deep"), "{depth}: {reason}");
    }
    // As deep as may be for a file, but not for a table.
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let out = reader.read(with_footer(&footer(64, &[]))).unwrap();
    assert_eq!(codes(&out), vec!["type_too_deep"]);
}

#[test]
fn a_list_without_end_in_a_footer_is_refused() {
    let one = [&[0xF9], &BOOLEANS[..]].concat();
    let many = [&[0xF9, 0xF9, 0xA0, 0x8D, 6], &BOOLEANS.repeat(100_000)[..]].concat();
    for more in [one, many] {
        let reason = reason(with_footer(&footer(0, &more)));
        assert!(reason.contains("a list has booleans"), "{reason}");
    }
}

#[test]
fn a_list_without_end_in_a_page_header_is_refused() {
    let mut bytes = file(vec![("n", ints((0..10_000).collect()))]);
    // The first page begins after the mark: a header of three fields and an unknown one.
    let header = [&[0x15, 0, 0x15, 0, 0x15, 0, 0x79], &BOOLEANS[..]].concat();
    bytes[4..4 + header.len()].copy_from_slice(&header);
    let reason = reason(bytes);
    assert!(reason.contains("a list has booleans"), "{reason}");
}
