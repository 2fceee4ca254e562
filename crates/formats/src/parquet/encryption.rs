//! Detects encrypted files, which other errors do not explain.

use ::parquet::file::reader::{ChunkReader, Length};

use super::input::ObjectFile;
use super::plan::Refusal;
use super::thrift;

/// The trailer of a file: the length of its footer, and a mark.
const ENDING_BYTES: u64 = 8;

/// Largest footer that is inspected.
const FOOTER_BYTES_MAX: u64 = 64 << 20;

/// The field of the footer with the encryption of its columns (`FileMetaData.encryption_algorithm`).
const ALGORITHM_FIELD: i64 = 8;

/// The reason to reject an encrypted file; `None` for one that is not, or where this is unknown.
pub(super) fn encrypted(input: &ObjectFile) -> Option<Refusal> {
    let size = input.len();
    let before = size.checked_sub(ENDING_BYTES)?;
    let ending = input.get_bytes(before, ENDING_BYTES as usize).ok()?;
    let what = match ending.get(4..)? {
        b"PARE" => "the file is encrypted",
        b"PAR1" if has_encrypted_columns(input, before, ending.get(..4)?)? => {
            "columns of the file are encrypted"
        }
        _ => return None,
    };
    Some(Refusal {
        code: "encrypted_parquet",
        reason: format!(
            "{what}, and Forebay has no key: decrypt it with the tool that wrote it, and load the decrypted file"
        ),
    })
}

fn has_encrypted_columns(input: &ObjectFile, before: u64, length: &[u8]) -> Option<bool> {
    let length = u64::from(u32::from_le_bytes(length.try_into().ok()?));
    let start = before.checked_sub(length)?;
    if length > FOOTER_BYTES_MAX {
        return None;
    }
    let footer = input.get_bytes(start, usize::try_from(length).ok()?).ok()?;
    thrift::has_field(&footer, ALGORITHM_FIELD)
}
