//! What a source yields: payloads, in chunks, unchanged.
//!
//! A payload is one thing that arrived: a response body, a file, a message. It travels as [`Chunk`]s so that no
//! payload needs to fit in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Position, Timestamp};

/// How the bytes of a payload are compressed, as they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// What is known about a payload besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadHead {
    /// Counts the payloads of a run from 0; unique within the run and split.
    pub ordinal: u64,
    /// What people would call it: a URL without secrets, a file name.
    pub name: String,
    pub received_at: Timestamp,
    pub content_type: Option<String>,
    pub compression: Compression,
    /// Request or response headers, message keys: small, never secret.
    pub attributes: BTreeMap<String, String>,
}

/// A piece of a payload, in source order. The chunks of one payload are consecutive and share their head.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub head: Arc<PayloadHead>,
    pub bytes: Bytes,
    /// Whether the payload ends with this chunk.
    pub last: bool,
    /// Set when the source could resume right after this chunk; a commit may only end here.
    pub position: Option<Position>,
}

impl Chunk {
    /// A payload that came in one piece.
    pub fn whole(head: PayloadHead, bytes: Bytes, position: Option<Position>) -> Self {
        Self { head: Arc::new(head), bytes, last: true, position }
    }
}
