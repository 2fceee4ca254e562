//! Manifests whose file header is incomplete.
//!
//! The format asks for the table's schema and partition spec in the header of every manifest, and the `iceberg` crate
//! does not read one without. Engines that take both from the table's metadata do, so such tables exist. Here the
//! missing entries are put into the header; the rest of the file stays as it is.

use bytes::Bytes;
use forebay_core::{Error, Result, json};
use iceberg::spec::{FormatVersion, ManifestContentType, ManifestFile, Schema, TableMetadata};

use crate::avro::{AvroHeader, write_header};
use crate::metadata::NESTING_USUAL;

/// The same manifest with a complete header.
///
/// Errors: `Data` when the file is not Avro or the table does not know the manifest's partition spec.
pub(super) fn complete(
    bytes: Bytes,
    manifest: &ManifestFile,
    table: &TableMetadata,
) -> Result<Bytes> {
    let header = AvroHeader::read(&bytes)?;
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
        return complete(write_header(&entries, header.rest), manifest, table);
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
    Ok(write_header(&entries, header.rest))
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

/// A manifest of an engine that omits what the table's metadata contains.
#[cfg(test)]
pub(crate) fn without_schema(manifest: &Bytes) -> Bytes {
    let header = AvroHeader::read(manifest).unwrap();
    let is_kept = |(key, _): &(&[u8], &[u8])| key.starts_with(b"avro.");
    let kept: Vec<_> = header.entries.into_iter().filter(is_kept).collect();
    write_header(&kept, header.rest)
}

fn missing_entries(
    header: &AvroHeader<'_>,
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
