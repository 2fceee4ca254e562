//! Consecutive small pushes as one payload of [messages](forebay_core::Messages).
//!
//! A push keeps its offset, its time and its attributes (as the message's offset, time and headers). A push that is
//! compressed, large, or of another content type than the previous one begins a new payload.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use forebay_core::messages::{MESSAGES_BYTES, MESSAGES_MAX};
use forebay_core::{Compression, Error, Message, Messages, MessagesBuilder, Result};

use forebay_journal::Pushed;

/// Largest body that is packed with others.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// Takes the pushes of the next payload; more than one only if they can be packed. Empty when none wait.
pub(super) fn take(
    waiting: &mut VecDeque<Pushed>,
    packs: bool,
    count_max: Option<usize>,
) -> Vec<Pushed> {
    let Some(first) = waiting.front() else {
        return Vec::new();
    };
    if !packs || !is_small(first) {
        return waiting.drain(..1).collect();
    }
    let mut bytes = 0;
    let fits = |push: &&Pushed| {
        let before = bytes;
        bytes += push.body.len();
        before < MESSAGES_BYTES
            && is_small(push)
            && push.head.content_type == first.head.content_type
    };
    let count_max = count_max.unwrap_or(MESSAGES_MAX).min(MESSAGES_MAX);
    let count = waiting.iter().take(count_max).take_while(fits).count();
    waiting.drain(..count).collect()
}

fn is_small(push: &Pushed) -> bool {
    push.head.compression == Compression::None && push.body.len() <= SMALL_BYTES_MAX
}

/// Their concatenated bodies, and the metadata of each.
pub(super) fn pack(pushes: &[Pushed]) -> Result<(Bytes, Messages)> {
    let length = pushes.iter().map(|push| push.body.len()).sum();
    let mut bytes = Vec::with_capacity(length);
    let mut messages = MessagesBuilder::default();
    for push in pushes {
        bytes.extend_from_slice(&push.body);
        let attributes = &push.head.attributes;
        let headers = headers(attributes);
        messages.push(&Message {
            partition: 0,
            offset: i64::try_from(push.offset).map_err(too_far)?,
            timestamp: Some(push.head.at),
            key: attributes.get("partition_key").map(String::as_bytes),
            headers: &headers,
            length: Some(push.body.len()),
        });
    }
    Ok((bytes.into(), messages.finish()?))
}

fn headers(attributes: &BTreeMap<String, String>) -> Vec<(&str, Option<&[u8]>)> {
    attributes
        .iter()
        .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
        .collect()
}

fn too_far(error: std::num::TryFromIntError) -> Error {
    Error::bug(
        "journal_offset",
        "a journal has more bytes than can be counted",
    )
    .with_source(error)
}
