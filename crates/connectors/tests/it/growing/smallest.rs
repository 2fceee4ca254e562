//! The smallest inputs that were once loaded twice or never.

use super::*;

/// The ids of the rows that runs over these parts load.
async fn ids(name: &str, extract: &str, keys: &str, parts: &[&[u8]]) -> String {
    let contents: Vec<Vec<u8>> = (1..=parts.len()).map(|n| parts[..n].concat()).collect();
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let outcome = Growing::new(name, extract, keys).load(&contents).await;
    let id = |row: &String| row.split('|').next().unwrap().to_owned();
    outcome.rows.iter().map(id).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn rows_behind_a_stray_quote_are_loaded_once() {
    for (extract, first, delimiter) in [
        ("csv: {}", "id,s\n1,a\n2,\"b\n3,c\n", ","),
        ("csv: {delimiter: tab}", "id\ts\n1\ta\n2\t\"b\n3\tc\n", "\t"),
        ("csv: {trim: true}", "id,s\n1,a\n2, \"a\n3,c\n", ","),
    ] {
        let more = [4, 5, 6].map(|id| format!("{id}{delimiter}x\n"));
        let parts = [&[first.to_owned()], &more[..]].concat();
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        let found = ids("a.csv", extract, "", &parts).await;
        assert_eq!(found, "1,3,4,5,6", "{extract}");
    }
}

#[tokio::test]
async fn a_quote_in_a_skipped_line_opens_nothing() {
    let parts: [&[u8]; 2] = [b"\"Report of Mon\nid,s\n1,a\n", b"2,b\n"];
    assert_eq!(
        ids("a.csv", "csv: {skip_lines: 1}", "", &parts).await,
        "1,2"
    );
}

#[tokio::test]
async fn a_carriage_return_ends_a_line() {
    let mixed: [&[u8]; 2] = [b"id,s\r1,a\r2,b\n", b"3,c\n"];
    let returns: [&[u8]; 3] = [b"id,s\r1,a\r2,b\r", b"3,c\r", b"\n4,d\r"];
    for keys in ["", "follow: true"] {
        assert_eq!(ids("a.csv", "csv: {}", keys, &mixed).await, "1,2,3");
        assert_eq!(ids("a.csv", "csv: {}", keys, &returns).await, "1,2,3,4");
    }
}

#[tokio::test]
async fn a_followed_record_with_an_open_quote_waits() {
    let parts: [&[u8]; 3] = [b"id,s\n1,a\n2,\"b\n", b"3,c\n4,\"d", b"\"\n5,e\n"];
    let keys = "follow: true";
    assert_eq!(ids("a.csv", "csv: {}", keys, &parts[..2]).await, "1,3");
    assert_eq!(ids("a.csv", "csv: {}", keys, &parts).await, "1,3,4,5");
    let last: &[u8] = b"6,\"f\"\n";
    let all = [&parts[..], &[last]].concat();
    assert_eq!(ids("a.csv", "csv: {}", keys, &all).await, "1,3,4,5,6");
}

#[tokio::test]
async fn a_stream_that_was_read_too_early_is_loaded_alone() {
    let lines = |from: u32| {
        let line = |id: u32| format!("{{\"id\": {id}}}\n");
        (from..from + 3).map(line).collect::<String>()
    };
    let records = |from: u32| (from..from + 3).map(|id| format!("{id},x\n")).collect();
    let gzip: fn(&[u8]) -> Vec<u8> = forebay_testkit::gzip;
    let zstd: fn(&[u8]) -> Vec<u8> = forebay_testkit::zstd;
    let csv = "csv: {header: false}";
    for (name, extract, texts, compress) in [
        ("a.ndjson.gz", "json: {}", [0, 3].map(lines), gzip),
        ("a.ndjson.zst", "json: {}", [0, 3].map(lines), zstd),
        ("a.csv.gz", csv, [0, 3].map(records), gzip),
    ] {
        let members = texts.map(|text| compress(text.as_bytes()));
        for cut in [1, members[1].len() / 2, members[1].len() - 1] {
            let (half, rest) = members[1].split_at(cut);
            let parts = [&members[0][..], half, rest];
            for keys in ["", "follow: true", "identity: content"] {
                let found = ids(name, extract, keys, &parts).await;
                assert_eq!(found, "0,1,2,3,4,5", "{name} {keys} {cut}");
            }
        }
    }
}

#[tokio::test]
async fn a_record_that_two_streams_share_is_loaded_whole() {
    let gzip: fn(&[u8]) -> Vec<u8> = forebay_testkit::gzip;
    let zstd: fn(&[u8]) -> Vec<u8> = forebay_testkit::zstd;
    let csv = "csv: {header: false}";
    for (kind, extract, texts, expected) in [
        (
            "ndjson",
            "json: {}",
            ["{\"id\": 0}\n{\"id\": 1", "}\n{\"id\": 2}\n"],
            "0,1,2",
        ),
        (
            "log",
            "json: {lines: true}",
            ["{\"id\": 0}\n{\"id\"", ": 1}\n{\"id\": 2}\n"],
            "0,1,2",
        ),
        (
            "log",
            "json: {}",
            ["{\"id\": 0}\n{\"id\"", ": 1}\n{\"id\": 2}\n"],
            "0,1,2",
        ),
        // The half was a record before; the whole one is loaded after it, as in a file without compression.
        ("csv", csv, ["0,x\n1,\"l\no", "ng\"\n2,x\n"], "0,1,2"),
        ("csv", csv, ["0,x\n1,lo", "ng\n2,x\n"], "0,1,1,2"),
        // Records that lack only their line ends.
        (
            "ndjson",
            "json: {}",
            ["{\"id\": 0}", "{\"id\": 1}\n"],
            "0,1",
        ),
        (
            "ndjson",
            "json: {}",
            ["{\"id\": 0}", "\n{\"id\": 1}\n"],
            "0,1",
        ),
        ("csv", csv, ["0,x\n1,y", "\r\n2,z\n"], "0,1,2"),
    ] {
        for (ending, compress) in [("gz", gzip), ("zst", zstd)] {
            let streams = texts.map(|text| compress(text.as_bytes()));
            let name = format!("a.{kind}.{ending}");
            let parts: [&[u8]; 2] = [&streams[0], &streams[1]];
            assert_eq!(
                ids(&name, extract, "", &parts).await,
                expected,
                "{name} {texts:?}"
            );
            // Read while the second was incomplete.
            let (half, rest) = streams[1].split_at(streams[1].len() / 2);
            let parts: [&[u8]; 3] = [&streams[0], half, rest];
            assert_eq!(
                ids(&name, extract, "", &parts).await,
                expected,
                "{name} {texts:?}"
            );
        }
    }
}
