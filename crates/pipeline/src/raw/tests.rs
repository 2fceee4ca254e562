//! The raw zone against its contract: payloads read back are identical to the received ones, or an error names them.
#![expect(clippy::disallowed_methods, reason = "test files need not be durable")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{
    Chunk, Clock, Compression, ErrorKind, PayloadHead, Position, Result, SystemClock, Timestamp,
};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;

struct Zone {
    folder: TempDir,
    runtime: Runtime,
    objects: Arc<dyn ObjectStore>,
}

impl Zone {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        Self {
            folder,
            runtime: Runtime::new().unwrap(),
            objects,
        }
    }

    fn writer(&self, object_bytes: u64) -> RawWriter {
        let options = RawOptions {
            pipeline: "quakes".parse().unwrap(),
            split: "files".parse().unwrap(),
            object_bytes,
            level: 1,
            seed: 7,
        };
        let clock: Arc<dyn Clock> = SystemClock::shared();
        RawWriter::new(
            Arc::clone(&self.objects),
            clock,
            self.runtime.handle().clone(),
            options,
        )
        .on_local_disk(self.folder.path())
    }

    fn read(&self, entry: &RawEntry) -> Result<Bytes> {
        self.runtime
            .block_on(RawReader::new(Arc::clone(&self.objects)).read(entry, u64::MAX))
    }

    fn file(&self, object: &RawObject) -> std::path::PathBuf {
        self.folder.path().join(path(object).as_ref())
    }
}

fn path(object: &RawObject) -> &Path {
    object.path.as_ref().unwrap()
}

fn head(ordinal: u64, name: &str) -> PayloadHead {
    PayloadHead {
        ordinal,
        name: name.to_owned(),
        received_at: Timestamp(1_767_225_600_000_000),
        content_type: None,
        compression: Compression::None,
        attributes: BTreeMap::new(),
        messages: None,
    }
}

fn chunk(head: &Arc<PayloadHead>, bytes: &[u8], last: bool, position: Option<u64>) -> Chunk {
    let position = position.map(|n| Position(serde_json::json!({ "n": n })));
    let mut chunk = Chunk::whole(
        PayloadHead::clone(head),
        Bytes::copy_from_slice(bytes),
        position,
    );
    chunk.last = last;
    chunk
}

/// The output of `zstdcat`.
fn zstdcat(file: &FilePath) -> Vec<u8> {
    let mut whole = Vec::new();
    zstd::stream::read::Decoder::new(std::fs::File::open(file).unwrap())
        .unwrap()
        .read_to_end(&mut whole)
        .unwrap();
    whole
}

/// Bytes that compress about like text, from a seed.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"abcdefghijklmnop"[usize::try_from(state % 16).unwrap()]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn a_cut_in_the_checksum_of_the_last_frame_is_found() {
    let zone = Zone::new();
    let mut writer = zone.writer(1 << 30);
    for ordinal in 0..3 {
        let head = Arc::new(head(ordinal, "a.json"));
        let bytes = text(ordinal, 700_000);
        writer
            .push(&chunk(&head, &bytes, true, Some(ordinal)))
            .unwrap();
    }
    let objects = writer.seal().unwrap();
    let file = zone.file(&objects[0]);
    let entries = &objects[0].entries;
    let whole = std::fs::read(&file).unwrap();
    let finish = |entry: &RawEntry| {
        let reader = RawReader::new(Arc::clone(&zone.objects));
        zone.runtime.block_on(async {
            let mut payload = reader.open(entry).await?;
            while payload.next().await?.is_some() {}
            payload.finish_frame().await
        })
    };
    for entry in entries {
        finish(entry).unwrap();
    }
    for cut in 1..9 {
        std::fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        assert_eq!(
            finish(&entries[2]).unwrap_err().code(),
            "raw_corrupt",
            "{cut}"
        );
        finish(&entries[0]).unwrap();
    }
    let mut flipped = whole;
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &flipped).unwrap();
    assert_eq!(finish(&entries[2]).unwrap_err().code(), "raw_corrupt");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_read_back_is_what_came(
        sizes in proptest::collection::vec(prop_oneof![0_usize..2_000, 0_usize..700_000, Just(0), 1_000_000_usize..3_000_000], 1..12),
        cut in 1_usize..900_000,
        object_bytes in prop_oneof![Just(1_u64), Just(1_000_000), Just(u64::MAX)],
        flip in any::<prop::sample::Index>(),
    ) {
        let zone = Zone::new();
        let mut writer = zone.writer(object_bytes);
        let payloads: Vec<Vec<u8>> = sizes.iter().zip(0..).map(|(size, seed)| text(seed, *size)).collect();
        for (payload, ordinal) in payloads.iter().zip(0..) {
            let head = Arc::new(head(ordinal, "a.json"));
            let pieces: Vec<&[u8]> = if payload.is_empty() { vec![&[]] } else { payload.chunks(cut).collect() };
            for (i, piece) in pieces.iter().enumerate() {
                writer.push(&chunk(&head, piece, i + 1 == pieces.len(), None)).unwrap();
            }
        }
        let objects = writer.seal().unwrap();
        let all: Vec<u8> = objects.iter().flat_map(|object| zstdcat(&zone.file(object))).collect();
        prop_assert!(all == payloads.concat(), "zstdcat differs");
        let entries: Vec<RawEntry> = objects.iter().flat_map(|object| object.entries.clone()).collect();
        prop_assert_eq!(entries.len(), payloads.len());
        for (entry, payload) in entries.iter().zip(&payloads) {
            prop_assert!(zone.read(entry).unwrap() == *payload, "{} differs", entry.id);
        }
        let index = to_batch(&entries).unwrap();
        prop_assert_eq!(&RawReader::new(Arc::clone(&zone.objects)).entries(&index).unwrap(), &entries);

        let victim = &objects[flip.index(objects.len())];
        let file = zone.file(victim);
        let mut bytes = std::fs::read(&file).unwrap();
        let at = flip.index(bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        std::fs::write(&file, bytes).unwrap();
        for (entry, payload) in entries.iter().zip(&payloads) {
            match zone.read(entry) {
                Ok(read) => prop_assert!(read == *payload, "a flipped bit went unseen in {}", entry.id),
                Err(error) => {
                    prop_assert_eq!(error.code(), "raw_corrupt");
                    prop_assert_eq!(error.kind(), ErrorKind::Data);
                    prop_assert!(error.to_string().contains(&entry.id) && error.to_string().contains(&entry.object));
                }
            }
        }
    }
}

#[test]
fn a_reader_of_a_late_payload_starts_near_it() {
    let zone = Zone::new();
    let mut writer = zone.writer(u64::MAX);
    for ordinal in 0..40 {
        writer
            .push(&chunk(
                &Arc::new(head(ordinal, "a.json")),
                &text(ordinal, 100_000),
                true,
                None,
            ))
            .unwrap();
    }
    let objects = writer.seal().unwrap();
    let last = objects[0].entries.last().unwrap();
    assert!(
        last.frame > 0 && last.offset - last.frame_offset < (1 << 20),
        "{last:?}"
    );
    assert!(
        path(&objects[0])
            .as_ref()
            .starts_with("raw/quakes/files/dt=2026-01-01/hour=00/"),
        "{}",
        path(&objects[0])
    );
    assert!(path(&objects[0]).as_ref().ends_with(".json.zst"));
    assert!(objects[0].index.as_ref().ends_with(".index.parquet"));
}

#[test]
fn what_came_compressed_is_kept_as_it_came() {
    let zone = Zone::new();
    let mut writer = zone.writer(u64::MAX);
    let zst = zstd::bulk::compress(&text(1, 5_000), 1).unwrap();
    for (ordinal, name, compression, bytes, end) in [
        (
            0,
            "a.json.gz",
            Compression::Gzip,
            &b"\x1f\x8b\x08 anything"[..],
            ".json.gz",
        ),
        (1, "b.json.zst", Compression::Zstd, &zst[..], ".json.zst"),
        (
            2,
            "c.parquet",
            Compression::None,
            b"PAR1 anything",
            ".parquet",
        ),
        (3, "d.json.gz", Compression::Gzip, b"", ".json.gz"),
    ] {
        let mut head = head(ordinal, name);
        head.compression = compression;
        writer
            .push(&chunk(&Arc::new(head), bytes, true, None))
            .unwrap();
        let path = writer.seal_for_reading().unwrap();
        assert!(path.as_ref().ends_with(end), "{path}");
        let object = &writer.seal().unwrap()[0];
        assert_eq!(std::fs::read(zone.file(object)).unwrap(), bytes);
        assert_eq!(zone.read(&object.entries[0]).unwrap(), bytes);
    }
}

#[test]
fn a_commit_inside_a_payload_makes_parts() {
    let zone = Zone::new();
    let mut writer = zone.writer(u64::MAX);
    let big = Arc::new(head(0, "big.ndjson"));
    let mut parts = Vec::new();
    for n in 0..3 {
        writer
            .push(&chunk(&big, &text(n, 10_000), n == 2, Some(n)))
            .unwrap();
        parts.extend(writer.seal().unwrap().remove(0).entries);
    }
    for (entry, n) in parts.iter().zip(0..) {
        assert_eq!(
            entry.attributes.get(PART_ATTRIBUTE),
            Some(&["1", "2", "3/3"][usize::try_from(n).unwrap()].to_owned())
        );
        assert_eq!(
            entry.position,
            Some(Position(serde_json::json!({ "n": n })))
        );
        assert_eq!(zone.read(entry).unwrap(), text(n, 10_000));
    }
    writer
        .push(&chunk(&Arc::new(head(1, "next.ndjson")), b"{}", true, None))
        .unwrap();
    assert!(writer.seal().unwrap()[0].entries[0].attributes.is_empty());

    writer
        .push(&chunk(&Arc::new(head(2, "open.ndjson")), b"{", false, None))
        .unwrap();
    assert_eq!(writer.seal().unwrap_err().code(), "raw_payload_open");
}

#[test]
fn a_writer_that_dies_leaves_no_visible_object() {
    let zone = Zone::new();
    let mut writer = zone.writer(u64::MAX);
    writer
        .push(&chunk(
            &Arc::new(head(0, "a.json")),
            &text(0, 40_000_000),
            true,
            None,
        ))
        .unwrap();
    drop(writer);
    let listed: Vec<_> = zone
        .runtime
        .block_on(futures::StreamExt::collect(zone.objects.list(None)));
    assert!(listed.is_empty(), "{listed:?}");
}

#[test]
fn a_payload_that_is_gone_or_cut_is_named() {
    let zone = Zone::new();
    let mut writer = zone.writer(u64::MAX);
    for ordinal in 0..20 {
        writer
            .push(&chunk(
                &Arc::new(head(ordinal, "a.json")),
                &text(ordinal, 300_000),
                true,
                None,
            ))
            .unwrap();
    }
    let object = writer.seal().unwrap().remove(0);
    let file = zone.file(&object);
    let whole = std::fs::read(&file).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 10_000] {
        std::fs::write(&file, &whole[..length]).unwrap();
        let read = zone.read(&object.entries[19]).map(|bytes| bytes.len());
        assert_eq!(read.unwrap_err().code(), "raw_corrupt", "{length}");
    }
    std::fs::remove_file(&file).unwrap();
    let read = zone.read(&object.entries[0]).map(|bytes| bytes.len());
    assert_eq!(read.unwrap_err().code(), "raw_missing");
}

#[test]
fn messages_come_back_with_their_payload() {
    use forebay_core::{Message, MessagesBuilder};
    let message = |offset, key, length| Message {
        partition: 1,
        offset,
        timestamp: None,
        key,
        headers: &[("h", None)],
        length,
    };
    let mut builder = MessagesBuilder::default();
    builder.push(&message(7, Some(b"k"), Some(3)));
    builder.push(&message(9, None, None));
    let messages = Arc::new(builder.finish().unwrap());
    let entry = |ordinal, messages| RawEntry {
        id: format!("x-{ordinal}"),
        split: "topic".parse().unwrap(),
        object: "raw/a".to_owned(),
        offset: 0,
        length: 3,
        frame: 0,
        frame_offset: 0,
        ordinal,
        name: "t/1@7".to_owned(),
        received_at: Timestamp(5),
        position: None,
        content_type: None,
        compression: Compression::None,
        attributes: BTreeMap::new(),
        sha256: String::new(),
        messages,
    };
    let entries = [
        entry(0, None),
        entry(1, Some(messages.clone())),
        entry(2, None),
        entry(3, Some(messages)),
    ];
    let rows = to_batch(&entries).unwrap();
    assert_eq!(index::from_batch(&rows).unwrap(), entries);
    let none = to_batch(&entries[..1]).unwrap();
    assert_eq!(none.schema(), index_schema());
    assert_eq!(index::from_batch(&none).unwrap(), entries[..1]);
}

#[test]
fn an_index_of_many_messages_is_given_out_on_the_way_each_entry_once() {
    use forebay_core::{Message, MessagesBuilder};
    let zone = Zone::new();
    let mut writer = zone.writer(1 << 20);
    let mut entries = Vec::new();
    let mut on_the_way = 0;
    let mut files = std::collections::BTreeSet::new();
    for ordinal in 0..100 {
        let mut builder = MessagesBuilder::default();
        for offset in 0..8_000 {
            builder.push(&Message {
                partition: 0,
                offset,
                timestamp: None,
                key: None,
                headers: &[],
                length: Some(10),
            });
        }
        let mut packed = head(ordinal, "t/0@0");
        packed.messages = Some(Arc::new(builder.finish().unwrap()));
        let bytes = text(ordinal, 80_000);
        writer
            .push(&chunk(&Arc::new(packed), &bytes, true, Some(ordinal)))
            .unwrap();
        for (path, taken) in writer.take_index() {
            assert!(files.insert(path) || !taken.is_empty());
            on_the_way += taken.len();
            entries.extend(taken);
        }
    }
    for object in writer.seal().unwrap() {
        files.insert(object.index);
        entries.extend(object.entries);
    }
    assert!(on_the_way > 60, "{on_the_way} of {}", entries.len());
    assert!(files.len() > 2, "{files:?}");
    let ids: std::collections::BTreeSet<&String> = entries.iter().map(|entry| &entry.id).collect();
    assert_eq!((ids.len(), entries.len()), (100, 100));
    entries.sort_by_key(|entry| entry.ordinal);
    for (entry, ordinal) in entries.iter().zip(0..) {
        assert_eq!(zone.read(entry).unwrap(), text(ordinal, 80_000));
    }
}

/// Flips of each kind of object; every fourth is a cut.
const DAMAGES: usize = 100;

#[test]
fn a_flipped_bit_or_a_cut_in_a_raw_object_is_an_error_or_changes_nothing() {
    for name in ["a.json", "a.json.gz"] {
        let zone = Zone::new();
        let mut writer = zone.writer(1 << 20);
        for ordinal in 0..6 {
            let mut head = head(ordinal, name);
            let mut bytes = text(ordinal, 150_000);
            if name.ends_with(".gz") {
                head.compression = Compression::Gzip;
                bytes = forebay_testkit::gzip(&bytes);
            }
            let position = Some(ordinal);
            writer
                .push(&chunk(&Arc::new(head), &bytes, true, position))
                .unwrap();
        }
        let objects = writer.seal().unwrap();
        let entries: Vec<&RawEntry> = objects.iter().flat_map(|object| &object.entries).collect();
        let whole: Vec<Bytes> = entries
            .iter()
            .map(|entry| zone.read(entry).unwrap())
            .collect();
        let mut state = 0x5EED_u64;
        let mut errors = 0;
        for nth in 0..DAMAGES {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let noise = usize::try_from(state >> 20).unwrap();
            let file = zone.file(&objects[noise % objects.len()]);
            let good = std::fs::read(&file).unwrap();
            let mut bad = good.clone();
            if nth % 4 == 0 {
                bad.truncate(noise % good.len());
            } else {
                bad[noise / 8 % good.len()] ^= 1 << (noise % 8);
            }
            std::fs::write(&file, bad).unwrap();
            for (entry, whole) in entries.iter().zip(&whole) {
                match zone.read(entry) {
                    Ok(read) => assert!(read == whole, "{name} {}, damage {nth}", entry.id),
                    Err(error) => {
                        assert!(error.to_string().contains(&entry.object), "{error}");
                        errors += 1;
                    }
                }
            }
            std::fs::write(&file, good).unwrap();
        }
        assert!(errors >= DAMAGES, "{name}: {errors} errors");
    }
}
