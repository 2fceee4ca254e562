//! File records of version 0.1.0: read, never written. They hold neither the size of a file nor its time of change.

use sha2::{Digest, Sha256};

use super::folder::Found;
use super::record::{first, look_digest};
use forebay_formats::base64;

const PLACE: usize = 6;
const CONTENT: usize = 8;
const LOOK: usize = 6;

/// Hashes of name and size, of the content, and of the stat.
pub(super) type OlderRecord = [u8; PLACE + CONTENT + LOOK];

/// The state of a file according to the records.
pub(super) enum Known {
    New,
    Same(OlderRecord),
    Touched,
}

/// The records of a position, in order.
pub(super) fn read(text: &str) -> Option<Vec<OlderRecord>> {
    let bytes = base64::decode(text)?;
    let records = bytes.chunks_exact(PLACE + CONTENT + LOOK);
    if !records.remainder().is_empty() {
        return None;
    }
    let mut records: Vec<OlderRecord> = records.map(first).collect();
    records.sort_unstable();
    Some(records)
}

pub(super) fn known(records: &[OlderRecord], file: &Found) -> Known {
    let same_place = at(records, file);
    let look = first::<LOOK>(&look_digest(&file.stat));
    match same_place
        .iter()
        .find(|record| record[PLACE + CONTENT..] == look)
    {
        Some(record) => Known::Same(*record),
        None if same_place.is_empty() => Known::New,
        None => Known::Touched,
    }
}

pub(super) fn has_content(records: &[OlderRecord], file: &Found, sha256: &[u8; 32]) -> bool {
    let mut same_place = at(records, file).iter();
    same_place.any(|record| record[PLACE..PLACE + CONTENT] == sha256[..CONTENT])
}

/// The beginning of the content's digest.
pub(super) fn content(record: &OlderRecord) -> [u8; CONTENT] {
    first(&record[PLACE..])
}

fn at<'a>(records: &'a [OlderRecord], file: &Found) -> &'a [OlderRecord] {
    let place = place_hash(file);
    let from = records.partition_point(|record| record[..PLACE] < place[..]);
    let to = records.partition_point(|record| record[..PLACE] <= place[..]);
    &records[from..to]
}

fn place_hash(file: &Found) -> [u8; PLACE] {
    let digest = Sha256::new()
        .chain_update(file.name.as_bytes())
        .chain_update(file.stat.size.to_be_bytes());
    first(&digest.finalize())
}

/// A record as version 0.1.0 wrote it.
#[cfg(test)]
pub(super) fn record(file: &Found, sha256: &[u8; 32]) -> OlderRecord {
    let mut record = [0; PLACE + CONTENT + LOOK];
    record[..PLACE].copy_from_slice(&place_hash(file));
    record[PLACE..PLACE + CONTENT].copy_from_slice(&sha256[..CONTENT]);
    record[PLACE + CONTENT..].copy_from_slice(&first::<LOOK>(&look_digest(&file.stat)));
    record
}
