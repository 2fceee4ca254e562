//! The two encodings of deleted row positions: Parquet files of (path, position), and deletion vectors.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use forebay_core::{Error, Result, parquet_footer};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::schema::types::SchemaDescriptor;
use roaring::RoaringTreemap;

/// Reserved field ids of position delete files.
pub(crate) const FILE_PATH_ID: i32 = 2_147_483_546;
pub(crate) const POSITION_ID: i32 = 2_147_483_545;

const VECTOR_MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];

/// Deleted positions by the location of their data file.
pub(super) fn decode_parquet(bytes: Bytes) -> Result<Vec<(String, RoaringTreemap)>> {
    let bad = |e: parquet::errors::ParquetError| bad_file().with_source(e);
    // Any writer of the table may have made it.
    parquet_footer::check_file(&bytes).map_err(|why| bad_file().with_source(why))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(bad)?;
    let schema = builder.parquet_schema();
    let path = leaf(schema, FILE_PATH_ID, "file_path").ok_or_else(bad_file)?;
    let position = leaf(schema, POSITION_ID, "pos").ok_or_else(bad_file)?;
    let mask = ProjectionMask::leaves(schema, [path, position]);
    // A projection keeps the file's order of columns.
    let (path, position) = if path < position { (0, 1) } else { (1, 0) };
    let mut found = HashMap::new();
    for batch in builder.with_projection(mask).build().map_err(bad)? {
        let batch = batch.map_err(|e| bad_file().with_source(e))?;
        collect(&batch, path, position, &mut found)?;
    }
    Ok(found.into_iter().collect())
}

fn bad_file() -> Error {
    Error::data(
        "bad_position_deletes",
        "failed to read a position delete file",
    )
}

fn leaf(schema: &SchemaDescriptor, id: i32, name: &str) -> Option<usize> {
    let has_id = |i: usize| {
        let info = schema.column(i).self_type().get_basic_info().clone();
        info.has_id() && info.id() == id
    };
    let all = 0..schema.num_columns();
    all.clone()
        .find(|i| has_id(*i))
        .or_else(|| all.clone().find(|i| schema.column(*i).name() == name))
}

fn collect(
    batch: &RecordBatch,
    path: usize,
    position: usize,
    found: &mut HashMap<String, RoaringTreemap>,
) -> Result<()> {
    let paths = cast(batch.column(path), &DataType::Utf8).map_err(|e| bad_file().with_source(e))?;
    let positions =
        cast(batch.column(position), &DataType::Int64).map_err(|e| bad_file().with_source(e))?;
    let paths = paths.as_string::<i32>();
    let positions = positions.as_primitive::<Int64Type>();
    if paths.null_count() + positions.null_count() > 0 {
        return Err(bad_file());
    }
    // Rows are sorted by path, so one look-up serves a run of them.
    let mut row = 0;
    while row < batch.num_rows() {
        let path = paths.value(row);
        let end = (row..batch.num_rows())
            .find(|next| paths.value(*next) != path)
            .unwrap_or(batch.num_rows());
        if !found.contains_key(path) {
            found.insert(path.to_owned(), RoaringTreemap::new());
        }
        let rows = found.get_mut(path).expect("inserted above");
        for position in &positions.values()[row..end] {
            rows.insert(u64::try_from(*position).map_err(|e| bad_file().with_source(e))?);
        }
        row = end;
    }
    Ok(())
}

/// Reads a `deletion-vector-v1` blob: length (big-endian), magic, bitmap, CRC-32 of magic and bitmap (big-endian).
pub(super) fn decode_vector(blob: &[u8]) -> Result<RoaringTreemap> {
    let bad = || {
        Error::data(
            "bad_deletion_vector",
            "a deletion vector is torn or damaged",
        )
    };
    let (length, rest) = blob.split_first_chunk::<4>().ok_or_else(bad)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (body, checksum) = rest.split_at_checked(length).ok_or_else(bad)?;
    let checksum = u32::from_be_bytes(*checksum.first_chunk::<4>().ok_or_else(bad)?);
    let bitmap = body.strip_prefix(&VECTOR_MAGIC).ok_or_else(bad)?;
    if crc32(body) != checksum {
        return Err(bad());
    }
    RoaringTreemap::deserialize_from(bitmap).map_err(|e| bad().with_source(e))
}

/// The CRC-32 of zlib and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        CRC_TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8)
    })
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn encode_vector(rows: &RoaringTreemap) -> Vec<u8> {
        let mut body = VECTOR_MAGIC.to_vec();
        rows.serialize_into(&mut body).unwrap();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let checksum = crc32(&body).to_be_bytes();
        [&length[..], &body, &checksum].concat()
    }

    #[test]
    fn a_vector_survives_and_damage_is_seen() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let rows: RoaringTreemap = [0, 7, 1 << 40].into_iter().collect();
        let blob = encode_vector(&rows);
        assert_eq!(decode_vector(&blob).unwrap(), rows);
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 1;
            assert!(decode_vector(&damaged).is_err(), "byte {at}");
            assert!(decode_vector(&blob[..at]).is_err(), "cut at {at}");
        }
    }
}
