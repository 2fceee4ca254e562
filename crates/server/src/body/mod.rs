//! A body, read within limits of size, memory and time, and checked far enough to know that it can be read again.
//!
//! A caller with a valid token reads into the large room. A body that has to be read before its signature can be checked is read into a
//! small one, of which each peer has a share, and has to arrive quickly: unauthenticated callers take no memory from authenticated ones.

mod expand;
mod room;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use forebay_core::{Clock, Compression, Error, Result};
use forebay_pipeline::platform::push::SIGNED_BYTES_MAX;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use self::room::{Held, Room};
use crate::peers::PeerKey;

/// How long a caller may take to send a body.
const READ_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of all bodies that are being read or made durable: one of the largest, or many of the usual ones.
const BODIES_BYTES_MAX: usize = 80 << 20;

/// Bytes of all bodies whose signature is not checked yet.
const UNPROVEN_BYTES_MAX: usize = 2 * UNPROVEN_SHARE_MAX;

/// The part of them that one peer may have: the largest body that a signature covers.
const UNPROVEN_SHARE_MAX: usize = SIGNED_BYTES_MAX;

/// How often the progress of an unauthenticated body is checked.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Bytes that an unproven body must bring in each window, or end.
const RATE_BYTES_MIN: usize = 64 << 10;

/// Compressed bodies that are looked into at once: each may need a window of 8 MiB and a processor.
const EXPANDED_AT_ONCE_MAX: usize = 4;

/// Reads bodies; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    room: Room,
    unproven: Room,
    expanding: Arc<Semaphore>,
}

impl Default for Bodies {
    fn default() -> Self {
        let expanding = Arc::new(Semaphore::new(EXPANDED_AT_ONCE_MAX));
        Self {
            room: Room::new(BODIES_BYTES_MAX, BODIES_BYTES_MAX),
            unproven: Room::new(UNPROVEN_BYTES_MAX, UNPROVEN_SHARE_MAX),
            expanding,
        }
    }
}

/// Whose body is read, and how much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) bytes_max: u64,
    pub(crate) peer: PeerKey,
    /// Whether the caller may push, as far as can be known before its body is.
    pub(crate) is_proven: bool,
}

/// A received body, before it is parsed.
#[derive(Debug)]
pub(crate) struct Sent {
    /// As received.
    pub(crate) bytes: Bytes,
    coding: Coding,
    /// Room in memory, given back when this is dropped.
    pub(crate) held: Held,
}

/// The stored form of a body.
#[derive(Debug)]
pub(crate) struct Kept {
    /// As received, unless its compression is not supported by the raw zone.
    pub(crate) bytes: Bytes,
    pub(crate) compression: Compression,
    /// The compression that was undone.
    pub(crate) decoded: Option<&'static str>,
}

/// `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Kept(Compression),
    Brotli,
}

impl Bodies {
    /// Bytes that are held now.
    pub(crate) fn bytes(&self) -> usize {
        self.room.held() + self.unproven.held()
    }

    /// Takes a body in, as it comes.
    ///
    /// Errors: `Data` `push_too_large` before or while it is read, `empty_body`, `bad_encoding`, `broken_push`; `Unavailable`
    /// `slow_push`, `server_busy` when other bodies fill the memory there is for them.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        reading: Reading,
        clock: &dyn Clock,
    ) -> Result<Sent> {
        let Reading {
            mut bytes_max,
            peer,
            is_proven,
        } = reading;
        if !is_proven {
            bytes_max = bytes_max.min(SIGNED_BYTES_MAX as u64);
        }
        let coding = coding(headers)?;
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > bytes_max) {
            return Err(too_large(bytes_max));
        }
        let room = if is_proven {
            &self.room
        } else {
            &self.unproven
        };
        let mut held = room.take(peer, 0)?;
        let come = AtomicUsize::new(0);
        let taking = Taking {
            length: usize::try_from(length.unwrap_or(0)).unwrap_or(0),
            bytes_max,
            come: &come,
        };
        let bytes = tokio::select! {
            bytes = collect(body, taking, &mut held) => bytes?,
            () = clock.sleep(READ_TIME_MAX) => return Err(slow()),
            () = wait_for_slowness(clock, &come), if !is_proven => return Err(slow()),
        };
        if bytes.is_empty() {
            let what = "the body is empty";
            return Err(Error::data("empty_body", what));
        }
        Ok(Sent {
            bytes,
            coding,
            held,
        })
    }

    /// Accepts a body with a valid signature: it frees memory for bodies that are not authenticated yet.
    ///
    /// Errors: `Unavailable` `server_busy`.
    pub(crate) fn admit(&self, sent: &mut Sent, peer: PeerKey) -> Result<()> {
        sent.held = self.room.take(peer, sent.held.bytes())?;
        Ok(())
    }

    /// Makes sure that a compressed body is complete and not a bomb: the caller gets the error, not only a later log. The room is
    /// held for as long as the bytes.
    ///
    /// Errors: `Data` `corrupt_gzip`, `corrupt_zstd`, `corrupt_brotli`, `ratio_exceeded`, `push_too_large`.
    pub(crate) async fn keep(&self, sent: Sent) -> Result<(Kept, Held)> {
        let Sent {
            bytes,
            coding,
            held,
        } = sent;
        if coding == Coding::Kept(Compression::None) {
            let compression = Compression::None;
            let decoded = None;
            let kept = Kept {
                bytes,
                compression,
                decoded,
            };
            return Ok((kept, held));
        }
        let turn = self.expanding.clone().acquire_owned().await;
        let work = move || {
            let _turn = turn;
            expanded(bytes, coding, held)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            Error::bug("body_task", "checking a body panicked").with_source(error)
        })?
    }
}

fn expanded(bytes: Bytes, coding: Coding, mut held: Held) -> Result<(Kept, Held)> {
    let (bytes, compression, decoded) = match coding {
        Coding::Kept(compression) => {
            expand::check(compression, &bytes)?;
            (bytes, compression, None)
        }
        Coding::Brotli => {
            let plain = expand::brotli(&bytes, &mut held)?;
            (plain, Compression::None, Some("br"))
        }
    };
    let kept = Kept {
        bytes,
        compression,
        decoded,
    };
    Ok((kept, held))
}

/// One encoding at most: a body compressed twice only looks smaller to the limits.
fn coding(headers: &HeaderMap) -> Result<Coding> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let named = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut named = named
        .map(|name| name.trim_ascii().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != b"identity");
    let (Some(name), more) = (named.next(), named.next()) else {
        return Ok(Coding::Kept(Compression::None));
    };
    if more.is_some() {
        let what = "the body is compressed more than once";
        return Err(Error::data("bad_encoding", what).with_hint("compress it once"));
    }
    match &name[..] {
        b"gzip" | b"x-gzip" => Ok(Coding::Kept(Compression::Gzip)),
        b"zstd" => Ok(Coding::Kept(Compression::Zstd)),
        b"br" => Ok(Coding::Brotli),
        other => Err(unknown(&String::from_utf8_lossy(other))),
    }
}

/// How much of a body is taken, and how far it is.
struct Taking<'a> {
    /// The length announced by the caller.
    length: usize,
    bytes_max: u64,
    come: &'a AtomicUsize,
}

async fn collect(mut body: Body, taking: Taking<'_>, held: &mut Held) -> Result<Bytes> {
    let Taking {
        length, bytes_max, ..
    } = taking;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Error::data("broken_push", "the connection broke before the body ended")
                .with_source(error)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if (whole.len() + data.len()) as u64 > bytes_max {
            return Err(too_large(bytes_max));
        }
        held.grow(data.len())?;
        taking.come.fetch_add(data.len(), Ordering::Relaxed);
        if whole.is_empty() && data.len() >= length {
            // The common small push: one frame, no copy.
            whole = BytesMut::from(data);
        } else {
            whole.reserve(growth(&whole, length, data.len()));
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// The memory reserved for a body follows the bytes received, not the length announced by the caller.
fn growth(whole: &BytesMut, length: usize, more: usize) -> usize {
    let missing = length.saturating_sub(whole.len());
    missing.min(whole.len().max(RATE_BYTES_MIN)).max(more)
}

/// Returns when a body brings less than it must.
async fn wait_for_slowness(clock: &dyn Clock, come: &AtomicUsize) {
    let mut before = 0;
    loop {
        clock.sleep(RATE_WINDOW).await;
        let now = come.load(Ordering::Relaxed);
        if now - before < RATE_BYTES_MIN {
            return;
        }
        before = now;
    }
}

fn too_large(bytes_max: u64) -> Error {
    let what = format!("the body has more than {bytes_max} bytes, the limit of this pipeline");
    Error::data("push_too_large", what).with_hint("send it in parts, or raise `source.push.body`")
}

fn unknown(encoding: &str) -> Error {
    let what = format!("`Content-Encoding: {encoding}` is not supported");
    Error::data("bad_encoding", what).with_hint("use gzip, zstd, br or identity")
}

fn slow() -> Error {
    let what = format!(
        "the body did not arrive within {} s, or a signed one at less than {} KiB in {} s",
        READ_TIME_MAX.as_secs(),
        RATE_BYTES_MIN >> 10,
        RATE_WINDOW.as_secs()
    );
    Error::unavailable("slow_push", what)
}
