//! Other encodings than UTF-8.
//!
//! Latin-1 is split directly, because its delimiters are ASCII, and converted to UTF-8 field by field. UTF-16 is converted
//! to UTF-8 before it is split; a position in the UTF-8 text is converted back to one in the payload by counting.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The encoding of a file's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// A record with other bytes is quarantined. A byte order mark at the start is skipped.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1: every byte is the character of that number.
    #[serde(rename = "latin1")]
    Latin1,
    /// ANSI of Windows in Western Europe: as ISO 8859-1, with `€`, dashes and curly quotes.
    #[serde(rename = "windows-1252")]
    Windows1252,
    /// Byte order by the mark at the start, little-endian without one.
    #[serde(rename = "utf-16")]
    Utf16,
}

/// Replaces invalid UTF-16 (half of a pair): never valid in UTF-8, so the record is rejected later.
const INVALID: u8 = 0xff;

/// UTF-16 to UTF-8, pushed.
#[derive(Debug, Default)]
pub(super) struct Utf16 {
    big_endian: Option<bool>,
    /// First byte of a unit whose second byte is missing so far.
    half: Option<u8>,
    /// First unit of a pair whose second is missing so far.
    high: Option<u16>,
}

impl Utf16 {
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            match self.half.take() {
                None => self.half = Some(byte),
                Some(first) => self.unit([first, byte], out),
            }
        }
    }

    /// The payload is complete.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.high.take().is_some() {
            out.push(INVALID);
        }
        if self.half.take().is_some() {
            out.push(INVALID);
        }
    }

    fn unit(&mut self, bytes: [u8; 2], out: &mut Vec<u8>) {
        let big_endian = *self.big_endian.get_or_insert(bytes == [0xfe, 0xff]);
        let unit = if big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        };
        let pair = self.high.take();
        match (pair, unit) {
            (Some(high), 0xdc00..=0xdfff) => push(char::decode_utf16([high, unit]).next(), out),
            (pair, unit) => {
                if pair.is_some() {
                    out.push(INVALID);
                }
                match unit {
                    0xd800..=0xdbff => self.high = Some(unit),
                    unit => push(char::decode_utf16([unit]).next(), out),
                }
            }
        }
    }
}

fn push(decoded: Option<Result<char, std::char::DecodeUtf16Error>>, out: &mut Vec<u8>) {
    match decoded {
        Some(Ok(character)) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        _ => out.push(INVALID),
    }
}

impl Encoding {
    /// Bytes of the payload that gave these bytes of the text.
    pub(super) fn source_bytes(self, text: &[u8]) -> u64 {
        match self {
            Self::Utf8 | Self::Latin1 | Self::Windows1252 => text.len() as u64,
            Self::Utf16 => {
                let units = text.iter().map(|byte| match byte {
                    0x80..=0xbf => 0,
                    0xf0..=0xf7 => 2,
                    _ => 1,
                });
                units.sum::<u64>() * 2
            }
        }
    }

    /// The text in its original encoding.
    pub(super) fn to_source(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Utf8 | Self::Latin1 | Self::Windows1252 => text.to_vec(),
            Self::Utf16 => String::from_utf8_lossy(text)
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
        }
    }
}

impl Encoding {
    /// Whether each byte is a character, so that no text is invalid.
    pub(super) fn is_single_byte(self) -> bool {
        matches!(self, Self::Latin1 | Self::Windows1252)
    }

    /// Text of single-byte characters as UTF-8.
    pub(super) fn decode(self, bytes: &[u8]) -> String {
        let characters = bytes.iter().copied();
        match self {
            Self::Windows1252 => characters.map(windows_1252).collect(),
            _ => characters.map(char::from).collect(),
        }
    }
}

/// Characters 0x80 to 0x9f of windows-1252, as the WHATWG's Encoding Standard has them.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn windows_1252(byte: u8) -> char {
    let special = byte.checked_sub(0x80).map(usize::from);
    special
        .and_then(|at| WINDOWS_1252.get(at))
        .copied()
        .unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn utf16_comes_out_as_it_went_in(text in "\\PC{0,60}", cut in 1_usize..9, big in any::<bool>()) {
            let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            let source: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect();
            let mut decoder = Utf16::default();
            let mut out = Vec::new();
            for piece in source.chunks(cut) {
                decoder.push(piece, &mut out);
            }
            decoder.finish(&mut out);
            prop_assert_eq!(out.strip_prefix("\u{feff}".as_bytes()), Some(text.as_bytes()));
            prop_assert_eq!(Encoding::Utf16.source_bytes(&out), source.len() as u64);
        }
    }

    #[test]
    fn half_a_pair_is_not_text() {
        let mut decoder = Utf16::default();
        let mut out = Vec::new();
        decoder.push(&[0x00, 0xd8, 0x41, 0x00, 0x00, 0xdc, 0x01], &mut out);
        decoder.finish(&mut out);
        assert_eq!(out, [INVALID, b'A', INVALID, INVALID]);
    }
}
