//! A body, read within limits of size, memory and time, and looked at far enough to know that it can be read again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use forebay_core::{Clock, Compression, Error, Result};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use super::expand;
use super::room::{Held, Room};

/// How long a caller may take to send a body.
const READ_TIME_MAX: Duration = Duration::from_secs(60);

/// Compressed bodies that are looked into at once: each may need a window of 8 MiB and a processor.
const EXPANDED_AT_ONCE_MAX: usize = 4;

/// Reads bodies; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    room: Room,
    expanding: Arc<Semaphore>,
}

impl Default for Bodies {
    fn default() -> Self {
        let (room, expanding) = (Room::default(), Semaphore::new(EXPANDED_AT_ONCE_MAX));
        let expanding = Arc::new(expanding);
        Self { room, expanding }
    }
}

/// What was sent, before anybody has looked into it.
#[derive(Debug)]
pub(crate) struct Sent {
    /// As it came.
    pub(crate) bytes: Bytes,
    coding: Coding,
    /// Room in memory, given back when this is dropped.
    held: Held,
}

/// What is kept of a body.
#[derive(Debug)]
pub(crate) struct Kept {
    /// As it came, unless it came in a compression that the raw zone does not know.
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
        self.room.held()
    }

    /// Takes a body in, as it comes.
    ///
    /// Errors: `Data` `push_too_large` before or while it is read, `empty_body`, `bad_encoding`, `broken_push`; `Unavailable`
    /// `slow_push`, `server_busy` when other bodies fill the memory there is for them.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        bytes_max: u64,
        clock: &dyn Clock,
    ) -> Result<Sent> {
        let coding = coding(headers)?;
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > bytes_max) {
            return Err(too_large(bytes_max));
        }
        let mut held = self.room.take(0)?;
        let room = usize::try_from(length.unwrap_or(0)).unwrap_or(0);
        let bytes = tokio::select! {
            bytes = collect(body, room, bytes_max, &mut held) => bytes?,
            () = clock.sleep(READ_TIME_MAX) => return Err(slow()),
        };
        if bytes.is_empty() {
            let what = "the body is empty: there is nothing to keep";
            return Err(Error::data("empty_body", what));
        }
        Ok(Sent {
            bytes,
            coding,
            held,
        })
    }

    /// Makes sure that a compressed body is whole and no bomb: who sent it is told now, not a log later. The room is to be
    /// held for as long as the bytes are.
    ///
    /// Errors: `Data` `corrupt_gzip`, `corrupt_zstd`, `corrupt_brotli`, `ratio_exceeded`, `push_too_large`.
    pub(crate) async fn keep(&self, sent: Sent) -> Result<(Kept, Held)> {
        let Sent {
            bytes,
            coding,
            held,
        } = sent;
        if coding == Coding::Kept(Compression::None) {
            let (compression, decoded) = (Compression::None, None);
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
            Error::bug("body_task", "looking into a body panicked").with_source(error)
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

/// One encoding at most: what is compressed twice only looks smaller to whoever guards the door.
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

async fn collect(mut body: Body, room: usize, bytes_max: u64, held: &mut Held) -> Result<Bytes> {
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
        if whole.is_empty() && data.len() >= room {
            // The common small push: one frame, no copy.
            whole = BytesMut::from(data);
        } else {
            whole.reserve(room.saturating_sub(whole.len()).max(data.len()));
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

pub(super) fn too_large(bytes_max: u64) -> Error {
    let what =
        format!("the body has more than {bytes_max} bytes, which is what this pipeline takes");
    Error::data("push_too_large", what).with_hint("send it in parts, or raise `source.push.body`")
}

fn unknown(encoding: &str) -> Error {
    let what = format!("`Content-Encoding: {encoding}` is not known");
    Error::data("bad_encoding", what).with_hint("gzip, zstd, br and identity are")
}

fn slow() -> Error {
    let what = format!("the body did not come within {} s", READ_TIME_MAX.as_secs());
    Error::unavailable("slow_push", what)
}
