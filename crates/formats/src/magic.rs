//! Files that are not text, by their first bytes.
//!
//! A text extractor finds columns and records in anything, if only one with a name of control characters. Detects
//! well-known formats only, and never rejects an unknown one.

use forebay_core::{Compression, Error};

/// Code of the error for such a payload.
pub const FOREIGN_FORMAT: &str = "foreign_format";

/// Bytes that are inspected: the mark of tar is the last, at 257.
const TAR_MARK_AT: usize = 257;

/// A format with its first bytes, and the hint for the user.
struct KnownFormat {
    mark: &'static [u8],
    name: &'static str,
    hint: &'static str,
}

const UNPACK: &str = "unpack it, and point `path` at the files in it";
const USE_PARQUET: &str = "write `extract: {parquet: {}}`";
const EXPORT: &str = "export its data as CSV, JSON or Parquet";

/// From the formats' specifications; the list of marks agrees with file(1).
const FORMATS: &[KnownFormat] = &[
    known(
        b"PK\x03\x04",
        "a ZIP archive or an Office document",
        "unpack it; for an Excel workbook export the sheet as CSV",
    ),
    known(b"PK\x05\x06", "an empty ZIP archive", UNPACK),
    known(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Office document",
        "for an Excel workbook export the sheet as CSV",
    ),
    known(b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    known(b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    known(b"!<arch>\n", "an ar archive", UNPACK),
    known(b"PAR1", "a Parquet file", USE_PARQUET),
    known(b"PARE", "an encrypted Parquet file", "decrypt it first"),
    known(
        b"Obj\x01",
        "an Avro container file",
        "write `extract: {avro: {}}`",
    ),
    known(b"ARROW1\0\0", "an Arrow IPC file", "convert it to Parquet"),
    known(b"SQLite format 3\0", "an SQLite database", EXPORT),
    known(b"%PDF-", "a PDF document", EXPORT),
    known(b"\x7fELF", "a program", EXPORT),
    known(b"\x89PNG\r\n", "a PNG image", EXPORT),
    known(b"\xff\xd8\xff", "a JPEG image", EXPORT),
    known(
        b"BZh91AY&SY",
        "a bzip2 file",
        "unpack it, or compress it with gzip or zstd",
    ),
    known(
        b"BZh61AY&SY",
        "a bzip2 file",
        "unpack it, or compress it with gzip or zstd",
    ),
    known(
        b"\xfd7zXZ\0",
        "an xz file",
        "unpack it, or compress it with gzip or zstd",
    ),
    known(
        b"\x04\x22\x4d\x18",
        "an LZ4 file",
        "unpack it, or compress it with gzip or zstd",
    ),
];

/// Compressions that are handled elsewhere: a file's by its first bytes, a push's by its header.
const COMPRESSIONS: &[(&[u8], &str)] = &[(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd")];

const fn known(mark: &'static [u8], name: &'static str, hint: &'static str) -> KnownFormat {
    KnownFormat { mark, name, hint }
}

/// Markup, after blanks and a byte order mark, whatever the case of its letters.
const MARKUP: &[(&str, &str)] = &[
    ("<?xml", "an XML document"),
    ("<!doctype html", "an HTML page"),
    ("<html", "an HTML page"),
];

/// Why the first bytes of a payload, `outer` compression undone, are not of a format that an extractor reads; `None` where
/// they may be.
///
/// # Errors
/// `Data` `foreign_format`, for the payload as a whole.
pub fn foreign_format(start: &[u8], outer: Compression) -> Option<Error> {
    if let Some(error) = compressed(start, outer) {
        return Some(error);
    }
    let (name, hint) = recognised(start)?;
    let what =
        format!("the payload is {name}, which the pipeline's extractor does not read: {hint}");
    Some(Error::data(FOREIGN_FORMAT, what).with_hint(hint))
}

/// Detects data in a compression that is handled elsewhere.
pub(crate) fn compressed(start: &[u8], outer: Compression) -> Option<Error> {
    let (_, name) = COMPRESSIONS
        .iter()
        .find(|(mark, _)| start.starts_with(mark))?;
    let (what, hint) = match outer {
        Compression::None => (
            format!("the payload is compressed with {name}, but not declared as compressed"),
            format!("send it plain, or, in a push, with the header `Content-Encoding: {name}`"),
        ),
        _ => (
            format!("the payload is {name} inside of another compression"),
            "compress it once only".to_owned(),
        ),
    };
    let what = format!("{what}: {hint}");
    Some(Error::data(FOREIGN_FORMAT, what).with_hint(hint))
}

fn recognised(start: &[u8]) -> Option<(&'static str, &'static str)> {
    if let Some(format) = FORMATS.iter().find(|format| start.starts_with(format.mark)) {
        return Some((format.name, format.hint));
    }
    if is_orc(start) {
        return Some(("an ORC file", "convert it to Parquet"));
    }
    if is_portable_cpio(start) {
        return Some(("a cpio archive", UNPACK));
    }
    if start
        .get(TAR_MARK_AT..)
        .is_some_and(|rest| rest.starts_with(b"ustar"))
    {
        return Some(("a tar archive", UNPACK));
    }
    let text = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
    let text = text.trim_ascii_start();
    let markup = MARKUP.iter().find(|(mark, _)| {
        text.get(..mark.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(mark.as_bytes()))
    });
    markup.map(|(_, name)| (*name, "convert it to CSV, JSON or Parquet"))
}

/// `ORC` and binary data soon after: a column of a table may have that name.
fn is_orc(start: &[u8]) -> bool {
    const NEAR_BYTES: usize = 64;
    let behind = start.strip_prefix(b"ORC");
    behind.is_some_and(|rest| rest.iter().take(NEAR_BYTES).any(|byte| *byte < b'\t'))
}

/// `cpio -o -H newc` and `odc`: a magic number and more digits, without a separator that a table would have.
fn is_portable_cpio(start: &[u8]) -> bool {
    const HEADER_BYTES: usize = 54;
    let is_marked = start.starts_with(b"070701") || start.starts_with(b"070707");
    is_marked
        && start
            .get(..HEADER_BYTES)
            .is_some_and(|header| header.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_formats_are_named_and_text_is_not() {
        for (bytes, name) in [
            (&b"PK\x03\x04rest"[..], "ZIP"),
            (b"PAR1rest", "Parquet"),
            (b"\xef\xbb\xbf\n<?XML version", "XML"),
            (b"<!DOCTYPE html>", "HTML"),
            (b"SQLite format 3\0", "SQLite"),
            (b"ORC\n\x08\x03", "ORC"),
            (b"\x1f\x8b\x08", "Content-Encoding: gzip"),
        ] {
            let error = foreign_format(bytes, Compression::None).unwrap();
            assert!(error.message().contains(name), "{error}");
            assert!(error.hint().is_some());
        }
        let tar = [vec![b'a'; TAR_MARK_AT], b"ustar\0".to_vec()].concat();
        assert!(
            foreign_format(&tar, Compression::None)
                .unwrap()
                .message()
                .contains("tar")
        );
        for text in [
            "",
            "a,b\n1,2\n",
            "{\"a\":1}",
            "[1]",
            "ORDER,PRICE\n",
            "PK,NAME\n1,2\n",
            "<b>,c\n",
            "BZ,1\n",
            "<htm",
            "070700,1\n",
            "ORC\n1\n",
        ] {
            let found = foreign_format(text.as_bytes(), Compression::None);
            assert!(found.is_none(), "{text}");
        }
    }
}
