//! The object name of a payload in the raw zone, and whether it is compressed already.
//!
//! Only extensions of a fixed list enter a path, so nothing from a source can.

use forebay_core::{Compression, PayloadHead};

/// Extensions that may appear in a path, with the media types that mean them.
const FORMATS: [(&str, &[&str]); 12] = [
    (
        "json",
        &["application/json", "application/geo+json", "text/json"],
    ),
    (
        "ndjson",
        &[
            "application/x-ndjson",
            "application/jsonl",
            "application/jsonlines",
            "application/x-jsonlines",
        ],
    ),
    ("csv", &["text/csv", "application/csv"]),
    ("tsv", &["text/tab-separated-values"]),
    (
        "parquet",
        &["application/vnd.apache.parquet", "application/x-parquet"],
    ),
    ("avro", &["application/avro", "avro/binary"]),
    ("orc", &["application/x-orc"]),
    ("xml", &["application/xml", "text/xml"]),
    ("html", &["text/html"]),
    ("zip", &["application/zip"]),
    (
        "xlsx",
        &["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"],
    ),
    ("txt", &["text/plain"]),
];

/// Other spellings of an extension.
const ALIASES: [(&str, &str); 3] = [
    ("jsonl", "ndjson"),
    ("geojson", "json"),
    ("parq", "parquet"),
];

/// Formats that compress themselves: a second compression costs time and gains nothing.
const COMPRESSED: [&str; 5] = ["parquet", "avro", "orc", "zip", "xlsx"];

/// First bytes of formats that are compressed already, whatever their name.
const MAGICS: [(&[u8], &str); 6] = [
    (b"PAR1", "parquet"),
    (b"PARE", "parquet"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b\x08", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
];

/// The form of the object of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    /// With the compression of a kept payload (`json.gz`), without the `.zst` of a packed one.
    pub(super) extension: String,
    /// Stored unchanged, in an object of its own.
    pub(super) kept: bool,
}

/// Decides from the head and the first bytes.
pub(super) fn of(head: &PayloadHead, first: &[u8]) -> Format {
    let extension = extension(head);
    match head.compression {
        Compression::Gzip => {
            return Format {
                extension: format!("{extension}.gz"),
                kept: true,
            };
        }
        Compression::Zstd => {
            return Format {
                extension: format!("{extension}.zst"),
                kept: true,
            };
        }
        Compression::None => {}
    }
    let magic = MAGICS
        .iter()
        .find(|(magic, _)| first.starts_with(magic))
        .map(|(_, name)| *name);
    match magic {
        Some("gz") if extension != "bin" => Format {
            extension: format!("{extension}.gz"),
            kept: true,
        },
        Some("zip") if COMPRESSED.contains(&extension) => Format {
            extension: extension.to_owned(),
            kept: true,
        },
        Some(name) => Format {
            extension: name.to_owned(),
            kept: true,
        },
        None => Format {
            kept: COMPRESSED.contains(&extension),
            extension: extension.to_owned(),
        },
    }
}

/// The extension from the media type, else from the name, else `bin`.
fn extension(head: &PayloadHead) -> &'static str {
    let by_name = || by_name(&head.name);
    match by_media_type(head.content_type.as_deref().unwrap_or_default()) {
        // Servers send text/plain for everything; a name is better.
        Some("txt") | None => by_name().unwrap_or(if head.content_type.is_some() {
            "txt"
        } else {
            "bin"
        }),
        Some(extension) => extension,
    }
}

fn by_media_type(text: &str) -> Option<&'static str> {
    let media = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let listed = FORMATS
        .iter()
        .find(|(_, types)| types.contains(&media.as_str()))
        .map(|(name, _)| *name);
    listed
        .or_else(|| media.ends_with("+json").then_some("json"))
        .or_else(|| media.ends_with("+xml").then_some("xml"))
}

fn by_name(name: &str) -> Option<&'static str> {
    let path = name
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut parts = path.rsplit('/').next().unwrap_or_default().rsplit('.');
    let mut last = parts.next()?;
    if ["gz", "zst", "gzip", "zstd"].contains(&last) {
        last = parts.next()?;
    }
    let last = ALIASES
        .iter()
        .find(|(alias, _)| *alias == last)
        .map_or(last, |(_, name)| name);
    FORMATS
        .iter()
        .find(|(name, _)| *name == last)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::Timestamp;

    #[test]
    fn the_extension_comes_from_a_fixed_list() {
        for (name, media, compression, first, extension, kept) in [
            (
                "https://x.org/a?b=c.csv",
                Some("application/json; charset=utf-8"),
                Compression::None,
                "{",
                "json",
                false,
            ),
            (
                "a.ndjson.gz",
                None,
                Compression::Gzip,
                "",
                "ndjson.gz",
                true,
            ),
            ("a.jsonl", None, Compression::None, "{", "ndjson", false),
            (
                "data",
                Some("application/vnd.api+json"),
                Compression::None,
                "{",
                "json",
                false,
            ),
            (
                "x.csv",
                Some("text/plain"),
                Compression::None,
                "a,b",
                "csv",
                false,
            ),
            (
                "a.parquet",
                None,
                Compression::None,
                "PAR1",
                "parquet",
                true,
            ),
            (
                "download",
                Some("application/octet-stream"),
                Compression::None,
                "PAR1",
                "parquet",
                true,
            ),
            (
                "../../etc/passwd.sh",
                None,
                Compression::None,
                "x",
                "bin",
                false,
            ),
            ("b.json", None, Compression::Zstd, "", "json.zst", true),
            ("b.json", None, Compression::None, "\x1f", "json", false),
        ] {
            let head = PayloadHead {
                ordinal: 0,
                name: name.to_owned(),
                received_at: Timestamp(0),
                content_type: media.map(str::to_owned),
                compression,
                attributes: Default::default(),
                messages: None,
            };
            let expected = Format {
                extension: extension.to_owned(),
                kept,
            };
            assert_eq!(of(&head, first.as_bytes()), expected, "{name}");
        }
    }
}
