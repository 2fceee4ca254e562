//! From files to rows and back to files, as a pipeline file configures it.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use forebay_config::Document;
use forebay_connectors::sink::{Delivered, SinkContext};
use forebay_connectors::source::SourceContext;
use forebay_core::{Position, SystemClock};
use forebay_formats::Extracted;
use forebay_formats::contract::ContractPolicy;
use forebay_formats::decode::Decoder;

fn yaml(text: &str) -> Document {
    Document::from_yaml(text).unwrap()
}

/// Takes the files, extracts them as CSV, and writes what comes out.
async fn run(project: &Path, files: &str, csv: &str, out: &str) -> Extracted {
    let extractor = forebay_formats::find("csv")
        .unwrap()
        .build(&yaml(csv))
        .unwrap();
    let mut extraction = extractor
        .start(None, &ContractPolicy::default(), None)
        .unwrap();
    let framing = extractor.framing();
    let context = SourceContext::alone(SystemClock::shared(), project, framing).unwrap();
    let files = forebay_connectors::find_source("file")
        .unwrap()
        .build(&yaml(files))
        .unwrap();
    let split = files.splits(&context).await.unwrap().remove(0);
    let mut reader = files.open(&split, None, context).await.unwrap();
    let mut extracted = Extracted::default();
    while let Some(chunk) = reader.next().await.unwrap() {
        // Each of these files is one chunk.
        assert!(chunk.last);
        let mut decoder = Decoder::new(chunk.head.compression).unwrap();
        let mut take = |bytes: &[u8]| extraction.push(&chunk.head, bytes, &mut extracted);
        let decoded = decoder
            .push(&chunk.bytes, &mut take)
            .and_then(|()| decoder.finish(&mut take));
        extraction
            .end(&chunk.head, decoded.err(), &mut extracted)
            .unwrap();
    }
    extraction.flush(&mut extracted).unwrap();
    let mut sink = forebay_connectors::find_sink("file")
        .unwrap()
        .build(&yaml(out))
        .unwrap()
        .open(SinkContext::alone(SystemClock::shared(), project).unwrap())
        .await
        .unwrap();
    for batch in extracted.batches.clone() {
        sink.write(batch).await.unwrap();
    }
    let delivered = Delivered {
        position: Position(serde_json::Value::Null),
        outbox: Vec::new(),
    };
    sink.commit(0, delivered).await.unwrap();
    extracted
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "test files need not be durable")]
async fn compressed_files_become_rows_and_files_again() {
    let project = tempfile::tempdir().unwrap();
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(project.path().join(name), bytes).unwrap();
    write("a.csv", b"id;note\n1;=cmd()\n2;NULL\n");
    write("b.csv.gz", &forebay_testkit::gzip(b"note;id\nx;3\ntorn\n"));
    write(
        "c.csv.zst",
        &zstd::bulk::compress(b"id;note\n4;y\n", 1).unwrap(),
    );
    let mut cut = forebay_testkit::gzip(b"id;note\n5;z\n");
    cut.truncate(cut.len() - 3);
    write("d.csv.gz", &cut);
    let csv = "{delimiter: ';', null: ['', 'NULL']}";
    let files = "{path: '*.csv*'}";
    let out = run(project.path(), files, csv, "{path: out, format: csv}").await;
    let codes: Vec<&str> = out
        .rejected
        .iter()
        .map(|rejected| rejected.code.as_str())
        .collect();
    assert_eq!(codes, ["ragged_row", "corrupt_gzip"]);
    let listed = std::fs::read_dir(project.path().join("out")).unwrap();
    let mut files: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let parts: Vec<String> = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let rows: Vec<&str> = parts.iter().flat_map(|part| part.lines()).collect();
    assert_eq!(
        rows,
        [
            "id,note",
            "1,'=cmd()",
            "2,",
            "note,id",
            "x,3",
            "id,note",
            "4,y",
            "5,z"
        ]
    );
}

#[test]
fn mistakes_in_the_configuration_are_said() {
    let error = |kind: &str, text: &str| {
        let document = yaml(text);
        let error = match kind {
            "csv" => forebay_formats::find("csv")
                .unwrap()
                .build(&document)
                .map(|_| ())
                .unwrap_err(),
            "source" => forebay_connectors::find_source("file")
                .unwrap()
                .build(&document)
                .map(|_| ())
                .unwrap_err(),
            _ => forebay_connectors::find_sink("file")
                .unwrap()
                .build(&document)
                .map(|_| ())
                .unwrap_err(),
        };
        error.to_string()
    };
    for (kind, text, expected) in [
        ("csv", "{delimiter: ';;'}", "not one ASCII character"),
        ("csv", "{delimiter: '\"'}", "same character"),
        ("csv", "{columns: [a, a]}", "repeats"),
        ("csv", "{encoding: ebcdic}", "ebcdic"),
        ("source", "{path: ''}", "empty"),
        ("source", "{path: 'gs://b/x'}", "URL"),
        ("source", "{path: 's3://B%/x'}", "bucket"),
        (
            "source",
            "{path: x, s3: {region: eu}}",
            "not an `s3://` path",
        ),
        ("source", "{path: 's3://b/x', s3: {endpoint: h}}", "address"),
        ("sink", "{path: '', format: csv}", "folder"),
    ] {
        let said = error(kind, text);
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn plain_http_to_a_bucket_is_allowed_by_the_file_or_by_the_environment() {
    let check = |config: &str, variables: &[(&str, &str)]| {
        let kind = forebay_connectors::find_source("file").unwrap();
        let owned = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let source = kind.build(&yaml(config)).unwrap();
        source
            .check_environment(&owned.collect())
            .map_err(|error| error.code())
    };
    let plain = "{path: 's3://b/x', s3: {endpoint: 'http://h'}}";
    assert_eq!(check(plain, &[]), Err("bad_s3_options"));
    assert_eq!(check(plain, &[("AWS_ALLOW_HTTP", "true")]), Ok(()));
    let allowed = "{path: 's3://b/x', s3: {endpoint: 'http://h', allow_http: true}}";
    assert_eq!(check(allowed, &[]), Ok(()));
    let address = [("AWS_ENDPOINT_URL_S3", "http://h")];
    assert_eq!(check("{path: 's3://b/x'}", &address), Err("bad_s3_options"));
    assert_eq!(check("{path: x}", &address), Ok(()));
}
