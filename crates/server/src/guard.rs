//! Inspects the head of each incoming request for faults that the HTTP library ignores.
//!
//! A request with both `Content-Length` and `Transfer-Encoding` is how one request is hidden in another behind a proxy that
//! believes the other of the two (RFC 9112, section 6.3). The library uses `Transfer-Encoding` silently, and closes the
//! connection after its response; here the request is detected, so that it can be refused. Requests that arrive before the response
//! to the one before them are left to the library.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a head that are inspected, more than the library accepts.
const HEAD_BYTES_MAX: usize = 128 << 10;

/// Headers of a head that are inspected: as many as the library accepts.
const HEADERS_MAX: usize = 100;

/// A connection whose request heads are inspected.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    /// Bytes that were read to detect the protocol, and are read again.
    begun: Vec<u8>,
    /// The begin of a head, when it did not come at once.
    part: Vec<u8>,
    at_head: bool,
    /// Whether it has heads that could be read here, which HTTP/2 has not.
    has_heads: bool,
    /// Set when a head names two lengths.
    ambiguous: Arc<AtomicBool>,
}

impl<S> Guarded<S> {
    /// `begun` has been read from the stream already.
    pub(crate) fn new(
        stream: S,
        begun: Vec<u8>,
        has_heads: bool,
        ambiguous: Arc<AtomicBool>,
    ) -> Self {
        Self {
            stream,
            begun,
            part: Vec::new(),
            at_head: has_heads,
            has_heads,
            ambiguous,
        }
    }

    fn look(&mut self, more: &[u8]) {
        let found = if self.part.is_empty() {
            lengths(more)
        } else {
            self.part.extend_from_slice(more);
            lengths(&self.part)
        };
        match found {
            Some(two) => {
                self.at_head = false;
                self.part = Vec::new();
                self.ambiguous.store(two, Ordering::Relaxed);
            }
            None if self.part.is_empty() => self.part.extend_from_slice(more),
            None => {}
        }
        self.at_head &= self.part.len() <= HEAD_BYTES_MAX;
    }
}

/// Whether a head names two lengths; `None` while it is incomplete. The library refuses invalid heads.
fn lengths(bytes: &[u8]) -> Option<bool> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(status) if status.is_partial() => None,
        Ok(_) => {
            let headers = &head.headers;
            let has = |name: &str| {
                headers
                    .iter()
                    .any(|one| one.name.eq_ignore_ascii_case(name))
            };
            Some(has("content-length") && has("transfer-encoding"))
        }
        Err(_) => Some(false),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.begun.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let count = self.begun.len().min(buffer.remaining());
            buffer.put_slice(&self.begun[..count]);
            self.begun.drain(..count);
        }
        if self.at_head {
            self.look(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    /// After an answer comes the next head.
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.at_head = self.has_heads;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.at_head = self.has_heads;
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lengths_are_found_however_the_head_comes() {
        let head =
            b"POST / HTTP/1.1\r\nTransfer-encoding: chunked\r\nCONTENT-LENGTH: 3\r\n\r\n0\r\n\r\n";
        for cut in 1..head.len() {
            let ambiguous = Arc::new(AtomicBool::new(false));
            let mut guarded = Guarded::new((), Vec::new(), true, ambiguous.clone());
            head.chunks(cut).for_each(|part| {
                if guarded.at_head {
                    guarded.look(part);
                }
            });
            assert!(ambiguous.load(Ordering::Relaxed), "cut at {cut}");
        }
        for fine in [
            &b"POST / HTTP/1.1\r\nContent-Length: 70\r\n\r\nTransfer-Encoding: chunked"[..],
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nContent-Length: 3\r\n\r\n",
            b"no head at all\r\n\r\n",
        ] {
            assert_eq!(lengths(fine), Some(false));
        }
    }
}
