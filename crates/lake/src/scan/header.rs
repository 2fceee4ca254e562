//! Manifests whose file header is incomplete.
//!
//! The format asks for the table's schema and partition spec in the header of every manifest, and the `iceberg` crate
//! does not read one without. Engines that take both from the table's metadata do, so such tables exist. Here the
//! missing entries are put into the header; the rest of the file stays as it is.

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::{Error, Result, json};
use iceberg::spec::{FormatVersion, ManifestContentType, ManifestFile, Schema, TableMetadata};

use crate::metadata::NESTING_USUAL;

const MAGIC: &[u8; 4] = b"Obj\x01";

/// The same manifest with a complete header.
///
/// Errors: `Data` when the file is not Avro or the table does not know the manifest's partition spec.
pub(super) fn complete(
    bytes: Bytes,
    manifest: &ManifestFile,
    table: &TableMetadata,
) -> Result<Bytes> {
    let header = Header::read(&bytes)?;
    if let Some(schema) = header
        .get("schema")
        .filter(|schema| json::nesting(schema) > NESTING_USUAL)
    {
        let schema = shallow(schema)?;
        let entries: Vec<_> = header
            .entries
            .iter()
            .map(|(key, value)| match *key {
                b"schema" => (*key, schema.as_bytes()),
                _ => (*key, *value),
            })
            .collect();
        return complete(written(&entries, header.rest), manifest, table);
    }
    if header.has("schema") && header.has("partition-spec") {
        return Ok(bytes);
    }
    let missing = missing_entries(&header, manifest, table)?;
    let missing: Vec<_> = missing
        .into_iter()
        .filter(|(key, _)| !header.has(key))
        .collect();
    let missing = missing
        .iter()
        .map(|(key, value)| (key.as_bytes(), value.as_bytes()));
    let entries: Vec<_> = header.entries.iter().copied().chain(missing).collect();
    Ok(written(&entries, header.rest))
}

/// A schema without the columns that are nested deeper than its usual reader goes. Of a manifest's schema only the partition's
/// columns are needed.
fn shallow(schema: &[u8]) -> Result<String> {
    let mut schema = json::parse_deep(schema)?;
    if let Some(fields) = schema["fields"].as_array_mut() {
        fields.retain(|field| json::nesting(field.to_string().as_bytes()) < NESTING_USUAL / 2);
    }
    Ok(schema.to_string())
}

/// An Avro file with this header.
fn written(entries: &[(&[u8], &[u8])], rest: &[u8]) -> Bytes {
    let mut made = BytesMut::from(&MAGIC[..]);
    put_long(&mut made, entries.len() as u64);
    for text in entries.iter().flat_map(|(key, value)| [key, value]) {
        put_long(&mut made, text.len() as u64);
        made.put_slice(text);
    }
    put_long(&mut made, 0);
    made.put_slice(rest);
    made.freeze()
}

/// A manifest of an engine that omits what the table's metadata contains.
#[cfg(test)]
pub(crate) fn without_schema(manifest: &Bytes) -> Bytes {
    let header = Header::read(manifest).unwrap();
    let is_kept = |(key, _): &(&[u8], &[u8])| key.starts_with(b"avro.");
    let kept: Vec<_> = header.entries.into_iter().filter(is_kept).collect();
    written(&kept, header.rest)
}

fn missing_entries(
    header: &Header<'_>,
    manifest: &ManifestFile,
    table: &TableMetadata,
) -> Result<Vec<(&'static str, String)>> {
    let unknown = || {
        Error::data(
            "bad_manifest",
            "a manifest's partition spec is not in the table's metadata",
        )
    };
    let spec = table
        .partition_spec_by_id(manifest.partition_spec_id)
        .ok_or_else(unknown)?;
    let fits = |schema: &Schema| spec.partition_type(schema).is_ok();
    let current = table.current_schema();
    let schema = std::iter::once(current)
        .chain(table.schemas_iter())
        .find(|schema| fits(schema))
        .ok_or_else(unknown)?;
    let json = |e| Error::bug("bad_manifest", "failed to describe a table's schema").with_source(e);
    // Only since version 2 do entries have a sequence number.
    let avro = header
        .get("avro.schema")
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let version = if avro.contains("sequence_number") {
        FormatVersion::V2
    } else {
        FormatVersion::V1
    };
    let content = match manifest.content {
        ManifestContentType::Data => "data",
        ManifestContentType::Deletes => "deletes",
    };
    Ok(vec![
        ("schema", serde_json::to_string(schema).map_err(json)?),
        ("schema-id", schema.schema_id().to_string()),
        (
            "partition-spec",
            serde_json::to_string(spec.fields()).map_err(json)?,
        ),
        ("partition-spec-id", spec.spec_id().to_string()),
        ("format-version", (version as u8).to_string()),
        ("content", content.to_owned()),
    ])
}

/// The header of an Avro file.
struct Header<'a> {
    entries: Vec<(&'a [u8], &'a [u8])>,
    /// From the sync marker on.
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let bad = || Error::data("bad_manifest", "a manifest is not an Avro file");
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(bad)?;
        let mut entries = Vec::new();
        loop {
            let count = take_long(&mut rest).ok_or_else(bad)?;
            if count == 0 {
                return Ok(Self { entries, rest });
            }
            if count < 0 {
                // A negative count is followed by the block's size in bytes.
                take_long(&mut rest).ok_or_else(bad)?;
            }
            for _ in 0..count.unsigned_abs() {
                let key = take_bytes(&mut rest).ok_or_else(bad)?;
                entries.push((key, take_bytes(&mut rest).ok_or_else(bad)?));
            }
        }
    }

    fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.entries
            .iter()
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| *value)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

/// Avro's zigzag variable-length integer.
fn take_long(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_long(rest)?).ok()?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn put_long(into: &mut BytesMut, value: u64) {
    let mut value = value << 1;
    while value >= 0x80 {
        into.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    into.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_headers_survive() {
        for value in [0, 1, 63, 64, 8_191, 1 << 40] {
            let mut bytes = BytesMut::new();
            put_long(&mut bytes, value);
            assert_eq!(take_long(&mut &bytes[..]), Some(value.cast_signed()));
        }
        let file = b"Obj\x01\x01\x0a\x02a\x04bc\x00rest";
        let header = Header::read(file).unwrap();
        assert_eq!(
            (header.get("a"), header.rest),
            (Some(&b"bc"[..]), &b"rest"[..])
        );
        for cut in 0..file.len() - 4 {
            assert!(Header::read(&file[..cut]).is_err(), "cut at {cut}");
        }
    }
}
