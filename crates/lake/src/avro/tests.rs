//! Small files that their reader would take for large ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::expand;
use super::header::{AvroHeader, put_long, write_header};
use super::walk::take_long;

const SYNC: [u8; 16] = [7; 16];

fn file(codec: &str, schema: &str, blocks: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut rest = SYNC.to_vec();
    for (count, block) in blocks {
        put_long(&mut rest, *count);
        put_long(&mut rest, block.len() as u64);
        rest.extend_from_slice(block);
        rest.extend_from_slice(&SYNC);
    }
    let entries: [(&[u8], &[u8]); 2] = [
        (b"avro.schema", schema.as_bytes()),
        (b"avro.codec", codec.as_bytes()),
    ];
    write_header(&entries, &rest).to_vec()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn refused(bytes: &[u8]) -> String {
    let error = expand(bytes).unwrap_err();
    assert_eq!(error.code(), "bad_manifest");
    error.message().to_owned()
}

const NUMBERS: &str = r#"{"type":"record","name":"r","fields":[{"name":"n","type":"long"}]}"#;
const TEXTS: &str = r#"{"type":"record","name":"r","fields":[{"name":"t","type":"string"}]}"#;

#[test]
fn blocks_are_decompressed_and_empty_ones_left_out() {
    let blocks = [
        (2, deflated(&[2, 4])),
        (0, deflated(&[])),
        (1, deflated(&[6])),
    ];
    let made = expand(&file("deflate", NUMBERS, &blocks)).unwrap();
    let header = AvroHeader::read(&made).unwrap();
    assert!(!header.has("avro.codec"));
    let expected = [&SYNC[..], &[4, 4, 2, 4], &SYNC, &[2, 2, 6], &SYNC].concat();
    assert_eq!(header.rest, expected);
    let snappy = snap::raw::Encoder::new().compress_vec(&[2, 4]).unwrap();
    let crc = crc32fast::hash(&[2, 4]).to_be_bytes();
    let snappy = file("snappy", NUMBERS, &[(2, [&snappy[..], &crc].concat())]);
    assert!(expand(&snappy).unwrap().ends_with(&expected[16..36]));
    let whole = file("null", NUMBERS, &[(2, vec![2, 4])]);
    for cut in 0..whole.len() {
        // Between two blocks the end of a file cannot be told.
        let is_boundary = cut + 20 == whole.len();
        assert_eq!(expand(&whole[..cut]).is_ok(), is_boundary, "cut at {cut}");
    }
}

#[test]
fn a_small_file_that_expands_hugely_is_refused() {
    let mut text = Vec::new();
    let length = 300 << 20;
    put_long(&mut text, length);
    text.resize(text.len() + usize::try_from(length).unwrap(), b'x');
    let bomb = file("deflate", TEXTS, &[(1, deflated(&text))]);
    assert!(bomb.len() < 1 << 20);
    assert!(refused(&bomb).contains("expands to more than 256 MiB"));
    // The same in many blocks.
    let part = deflated(&vec![0; 100 << 20]);
    let parts = vec![(100, part); 3];
    assert!(refused(&file("deflate", TEXTS, &parts)).contains("after its last record"));
    let claim = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0, 0, 0, 0, 0];
    assert!(refused(&file("snappy", TEXTS, &[(1, claim.to_vec())])).contains("MiB"));
}

#[test]
fn counts_are_checked_before_memory_is_reserved() {
    let list = r#"{"type":"record","name":"r","fields":[{"name":"l","type":{"type":"array","items":"null"}}]}"#;
    let mut many = Vec::new();
    put_long(&mut many, 1 << 40);
    many.push(0);
    assert!(refused(&file("null", list, &[(1, many)])).contains("values"));
    let records = file("null", NUMBERS, &[(1 << 50, vec![2])]);
    assert!(refused(&records).contains("records"));
    let mut long = Vec::new();
    put_long(&mut long, 1 << 50);
    assert!(refused(&file("null", TEXTS, &[(1, long)])).contains("truncated"));
    let mut negative = file("null", NUMBERS, &[(1, vec![2])]);
    let at = negative.len() - 16 - 3;
    negative[at] = 1;
    assert_eq!(take_long(&mut &negative[at..]), Some(-1));
    assert!(refused(&negative).contains("negative"));
}

#[test]
fn values_that_nest_or_multiply_without_end_are_refused() {
    let own = r#"{"type":"record","name":"r","fields":[{"name":"n","type":["null","r"]}]}"#;
    let deep = [vec![2; 100_000], vec![0]].concat();
    assert!(refused(&file("null", own, &[(1, deep)])).contains("nested"));
    // Each level has the one below twice, and the lowest has no bytes.
    let mut levels = r#"{"type":"record","name":"l0","fields":[]}"#.to_owned();
    for level in 1..28 {
        let below = level - 1;
        levels = format!(
            r#"{{"type":"record","name":"l{level}","fields":[{{"name":"a","type":{levels}}},{{"name":"b","type":"l{below}"}}]}}"#
        );
    }
    assert!(refused(&file("null", &levels, &[(1, Vec::new())])).contains("values"));
    let deep = format!("{}\"null\"{}", "[".repeat(500), "]".repeat(500));
    assert!(refused(&file("null", &deep, &[(1, Vec::new())])).contains("JSON"));
    let named = r#"{"type":"record","name":"r","namespace":"a.b","fields":[{"name":"x","type":{"type":"fixed","name":"f","size":2}},{"name":"y","type":"f"},{"name":"z","type":"a.b.f"}]}"#;
    expand(&file("null", named, &[(1, vec![1; 6])])).unwrap();
}
