//! Corrupt compressed files: nothing of them is loaded, and all of them once they arrive complete.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::world::{Dice, World};

const ROWS: usize = 30_000;

fn pipeline(extract: &str) -> String {
    format!(
        "pipeline: p\nsource: {{file: {{path: \"data/*\"}}}}\nextract: {{{extract}}}\nload: {{iceberg: {{table: t.rows}}}}\n"
    )
}

/// Rows of `id` and `n`, in a format.
fn text(format: &str, rows: usize) -> Vec<u8> {
    let line = |id: usize| match format {
        "csv" => format!("{id},{}\n", id * 7),
        "ndjson" => format!("{{\"id\":{id},\"n\":{}}}\n", id * 7),
        _ => format!("{{\"id\":{id},\"n\":{}}},", id * 7),
    };
    let lines: String = (0..rows).map(line).collect();
    match format {
        "csv" => format!("id,n\n{lines}").into_bytes(),
        "ndjson" => lines.into_bytes(),
        _ => format!("[{}]", lines.trim_end_matches(',')).into_bytes(),
    }
}

/// Blocks without compression, so that a byte that changes still decompresses.
fn stored_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

/// Corrupt files: the fault of each, its compression, its bytes, and the bytes of the whole file.
fn broken(text: &[u8]) -> Vec<(&'static str, &'static str, Vec<u8>, Vec<u8>)> {
    let gzip = stored_gzip(text);
    let zst = zstd(text);
    let mut flipped = gzip.clone();
    // Far after the first rows: another digit where one was.
    let at = flipped.len() * 2 / 3;
    let at = at + flipped[at..].iter().position(u8::is_ascii_digit).unwrap();
    flipped[at] = if flipped[at] == b'9' { b'1' } else { b'9' };
    let (front, back) = text.split_at(text.len() / 2);
    let whole = [stored_gzip(front), stored_gzip(back)].concat();
    let mut members = whole.clone();
    let checksum = members.len() - 8;
    members[checksum] ^= 1;
    let cut = |bytes: &[u8]| bytes[..bytes.len() * 2 / 3].to_vec();
    vec![
        ("one byte is another", "gz", flipped, gzip.clone()),
        ("the last member's checksum is wrong", "gz", members, whole),
        ("gzip is cut off", "gz", cut(&gzip), gzip),
        ("zstd is cut off", "zst", cut(&zst), zst),
    ]
}

async fn ids(world: &World) -> Vec<u64> {
    let rows = world.rows("t.rows").await;
    let mut ids: Vec<u64> = rows.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_payload_that_is_not_whole_loads_nothing() {
    for (format, extract) in [
        ("csv", "csv: {}"),
        ("ndjson", "json: {lines: true}"),
        ("json", "json: {}"),
    ] {
        for (what, ending, bytes, whole) in broken(&text(format, ROWS)) {
            let label = format!("{format}: {what}");
            let world = World::new().await;
            let pipeline = pipeline(extract);
            let name = format!("data/a.{format}.{ending}");
            // The files before and after a corrupt file are not affected.
            world
                .folder
                .write(&format!("data/0.{format}"), text(format, 1));
            world
                .folder
                .write(&format!("data/b.{format}"), text(format, 1));
            world.folder.write(&name, bytes);
            world.run(&pipeline).await.unwrap();
            assert_eq!(ids(&world).await, [0, 0], "{label}");
            let open = world.open().await;
            assert_eq!(open.len(), 1, "{label}");
            let refused = &open[0].rejected;
            assert!(refused.code.starts_with("corrupt_"), "{label}: {refused:?}");
            let extent = refused.extent;
            assert_eq!(
                extent,
                Some(forebay_core::quarantine::Extent::PAYLOAD),
                "{label}"
            );
            world.replay(&pipeline).await.unwrap();
            assert_eq!(world.open().await.len(), 1, "{label}");
            world.folder.write(&name, whole);
            world.run(&pipeline).await.unwrap();
            let wanted: Vec<u64> = [0, 0].into_iter().chain(0..ROWS as u64).collect();
            let mut got = ids(&world).await;
            got.sort_unstable();
            let mut sorted = wanted;
            sorted.sort_unstable();
            assert!(got == sorted, "{label}: {} rows", got.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_payload_that_is_too_large_to_be_held_is_read_back() {
    let mut dice = Dice::new(1);
    let lines = (0..400_000_u64).map(|id| format!("{id},{:016x}\n", dice.below(u64::MAX)));
    let text = format!("id,note\n{}", lines.collect::<String>());
    let bytes = stored_gzip(text.as_bytes());
    assert!(bytes.len() > 8 << 20);
    let world = World::new().await;
    let pipeline = pipeline("csv: {}");
    world.folder.write("data/a.csv.gz", &bytes);
    world.run(&pipeline).await.unwrap();
    let wanted: Vec<u64> = (0..400_000).collect();
    assert!(ids(&world).await == wanted);
    assert_eq!(world.open().await.len(), 0);
}

/// A Parquet file of one column `id`.
fn parquet(rows: i64) -> Vec<u8> {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    let ids: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(0..rows));
    let records = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(Vec::new(), records.schema(), None).unwrap();
    writer.write(&records).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_inside_of_a_compression_is_decompressed() {
    let world = World::new().await;
    let pipeline = pipeline("parquet: {}");
    let file = parquet(1_000);
    world.folder.write("data/a.parquet.gz", stored_gzip(&file));
    world.folder.write("data/b.parquet.zst", zstd(&file));
    world.folder.write("data/c.parquet", &file);
    world
        .folder
        .write("data/d.parquet.gz", &stored_gzip(&file)[..900]);
    world
        .folder
        .write("data/e.parquet.gz", stored_gzip(b"no Parquet file"));
    world.run(&pipeline).await.unwrap();
    assert_eq!(ids(&world).await.len(), 3_000);
    let open = world.open().await;
    let mut codes: Vec<&str> = open
        .iter()
        .map(|event| event.rejected.code.as_str())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["corrupt_gzip", "corrupt_parquet"]);
    assert_eq!(world.replay(&pipeline).await.unwrap().landed, 0);
    let spilled = std::fs::read_dir(world.folder.path().join("spill")).unwrap();
    let folders = spilled.filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(folders.count(), 0, "decompressed files are removed");
}
