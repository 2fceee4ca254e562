//! The raw zone as people see it: `zstdcat` of an object, the index as a table.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{Chunk, Compression, PayloadHead, SystemClock, Timestamp};
use forebay_pipeline::raw::{RawOptions, RawReader, RawWriter, index_schema, to_batch};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

fn payload(ordinal: u64, text: &str) -> Chunk {
    let head = PayloadHead {
        ordinal,
        name: format!("https://example.org/page/{ordinal}"),
        received_at: Timestamp(1_767_225_600_000_000),
        content_type: Some("application/json".to_owned()),
        compression: Compression::None,
        attributes: BTreeMap::from([("etag".to_owned(), format!("\"{ordinal}\""))]),
        messages: None,
    };
    Chunk::whole(head, Bytes::copy_from_slice(text.as_bytes()), None)
}

#[test]
fn zstdcat_gives_the_bytes_received_and_the_index_finds_each_payload() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let objects: Arc<dyn ObjectStore> =
        Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let options = RawOptions {
        pipeline: "quakes".parse().unwrap(),
        split: "all".parse().unwrap(),
        object_bytes: 1 << 20,
        level: 3,
        seed: 1,
    };
    let (clock, handle) = (SystemClock::shared(), runtime.handle().clone());
    let mut writer =
        RawWriter::new(Arc::clone(&objects), clock, handle, options).on_local_disk(folder.path());
    let texts: Vec<String> = (0..500)
        .map(|n| format!("{{\"page\": {n}}}\n").repeat(400))
        .collect();
    for (text, ordinal) in texts.iter().zip(0..) {
        writer.push(&payload(ordinal, text)).unwrap();
    }
    let sealed = writer.seal().unwrap();
    assert!(writer.seal().unwrap().is_empty());

    let files = sealed
        .iter()
        .map(|object| folder.path().join(object.path.as_ref().unwrap().as_ref()));
    match Command::new("zstdcat").args(files).output() {
        Ok(output) => assert!(output.stdout == texts.concat().as_bytes(), "{output:?}"),
        Err(error) => eprintln!("skipped: no zstdcat here: {error}"),
    }

    let reader = RawReader::new(objects);
    for object in &sealed {
        let index = to_batch(&object.entries).unwrap();
        assert_eq!(index.schema(), index_schema());
        for entry in reader.entries(&index).unwrap() {
            let read = runtime.block_on(reader.read(&entry, 1 << 20)).unwrap();
            let ordinal = usize::try_from(entry.ordinal).unwrap();
            assert_eq!(read, texts[ordinal].as_bytes());
            assert_eq!(entry.attributes["etag"], format!("\"{ordinal}\""));
        }
    }
    let first = &sealed[0].entries[0];
    let error = runtime
        .block_on(reader.read(first, 10))
        .map(|read| read.len())
        .unwrap_err();
    assert_eq!(error.code(), "raw_too_large");
}
