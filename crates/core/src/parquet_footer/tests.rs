//! Footers made byte by byte in Thrift's compact protocol.

use super::*;

/// A number in groups of seven bits.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7F {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn zigzag(value: i64) -> Vec<u8> {
    varint((value << 1 ^ value >> 63) as u64)
}

/// A required group.
fn group(name: &str, children: i64) -> Vec<u8> {
    let name = [varint(name.len() as u64), name.into()].concat();
    [
        &[0x35, 0, 0x18],
        &name[..],
        &[0x15],
        &zigzag(children),
        &[0],
    ]
    .concat()
}

/// A required INT32.
fn leaf(name: &str) -> Vec<u8> {
    let name = [varint(name.len() as u64), name.into()].concat();
    [&[0x15, 2, 0x25, 0, 0x18], &name[..], &[0]].concat()
}

/// A footer of these elements, without rows, and with more fields after the others.
fn footer(elements: &[Vec<u8>], more: &[u8]) -> Vec<u8> {
    let count = varint(elements.len() as u64);
    let start = [&[0x15, 2, 0x19, 0xFC], &count[..]].concat();
    let end = [&[0x16, 0, 0x19, 0x0C], more, &[0]].concat();
    [start, elements.concat(), end].concat()
}

/// A column in `depth` groups below the root.
fn nested(depth: usize) -> Vec<Vec<u8>> {
    let mut elements = vec![group("m", 1)];
    elements.extend((0..depth).map(|_| group("g", 1)));
    elements.push(leaf("x"));
    elements
}

fn problem(footer: &[u8]) -> String {
    check(footer).unwrap_err()
}

#[test]
fn nesting_is_bounded() {
    assert_eq!(check(&footer(&nested(SCHEMA_DEPTH_MAX), &[])), Ok(()));
    for depth in [SCHEMA_DEPTH_MAX + 1, 90_000] {
        let why = problem(&footer(&nested(depth), &[]));
        assert!(why.contains("nested more than 64"), "{depth}: {why}");
    }
    let many = footer(&nested(SCHEMA_ELEMENTS_MAX as usize), &[]);
    assert!(problem(&many).contains("groups and columns"));
    assert_eq!(check(&footer(&[group("m", 0)], &[])), Ok(()), "no column");
}

#[test]
fn counts_of_children_have_to_fit() {
    for (children, expected) in [
        (1, "more columns"),
        (3, "claims more"),
        (i64::from(i32::MAX), "claims more"),
        (-5, "negative"),
    ] {
        let elements = [group("m", children), leaf("x"), leaf("y")];
        let why = problem(&footer(&elements, &[]));
        assert!(why.contains(expected), "{children}: {why}");
    }
    let inner = [group("m", 2), group("g", 2), leaf("x"), leaf("y")];
    assert!(problem(&footer(&inner, &[])).contains("claims more"));
    let fits = [group("m", 2), group("g", 1), leaf("x"), leaf("y")];
    assert_eq!(check(&footer(&fits, &[])), Ok(()));
}

#[test]
fn long_names_are_not_copied_to_every_column() {
    let long = "n".repeat(1 << 20);
    let mut elements = vec![group("m", 1), group(&long, 100)];
    elements.extend((0..100).map(|_| leaf("x")));
    assert!(problem(&footer(&elements, &[])).contains("paths"));
}

#[test]
fn unknown_lists_are_walked_in_bounds() {
    let most = varint(i32::MAX as u64);
    let booleans = [&[0xF1], &most[..]].concat();
    // A list of booleans, and a list of 100,000 of them.
    let one = [&[0xF9], &booleans[..]].concat();
    let many = [
        &[0xF9, 0xF9],
        &varint(100_000)[..],
        &booleans.repeat(100_000),
    ]
    .concat();
    for more in [one, many] {
        let why = problem(&footer(&nested(0), &more));
        assert!(why.contains("booleans"), "{why}");
    }
    let structs = [&[0xF9, 0xFC], &most[..]].concat();
    assert!(problem(&footer(&nested(0), &structs)).contains("ends too early"));
    let lists = [&[0xF9][..], &[0x19; 400_000]].concat();
    assert!(problem(&footer(&nested(0), &lists)).contains("too deep"));
}

#[test]
fn the_footer_of_a_file_is_found() {
    let deep = footer(&nested(1_000), &[]);
    let length = u32::try_from(deep.len()).unwrap();
    let file = [b"PAR1", &deep[..], &length.to_le_bytes(), b"PAR1"].concat();
    assert!(check_file(&file).unwrap_err().contains("nested"));
    for cut in 0..20 {
        assert_eq!(check_file(&file[..cut]), Ok(()), "left to the library");
    }
}
