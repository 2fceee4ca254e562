//! Unsafe code: receives many messages with one call.
//!
//! librdkafka delivers 0.8 million messages per CPU second one at a time, and more than twice that in batches; the
//! batch call is only in the raw bindings. Messages borrow from the library and are released when the batch is dropped;
//! nothing here keeps a pointer longer.

#![expect(
    unsafe_code,
    reason = "the batch call of librdkafka has no safe wrapper"
)]

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::client::Listener;

/// The queue of a consumer. Keeps the consumer alive.
pub(super) struct Queue {
    queue: NonNull<raw::rd_kafka_queue_t>,
    consumer: Arc<BaseConsumer<Listener>>,
    room: Vec<*mut raw::rd_kafka_message_t>,
}

// SAFETY: librdkafka's handles may be used from any thread (rdkafka.h, "thread-safe"); the pointers in `room` are only
// there while a `Batch` borrows the queue.
unsafe impl Send for Queue {}

impl Queue {
    /// Receives at most `messages` with one call. `None` when the consumer has no group, and so no queue.
    pub(super) fn new(consumer: Arc<BaseConsumer<Listener>>, messages: usize) -> Option<Self> {
        // SAFETY: the client pointer is valid as long as the consumer, which we keep; the queue's own reference is
        // released in `drop`.
        let queue = unsafe { raw::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Some(Self {
            queue: NonNull::new(queue)?,
            consumer,
            room: vec![ptr::null_mut(); messages],
        })
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<Listener> {
        &self.consumer
    }

    /// The next messages; waits until the room is full or the time is up.
    pub(super) fn take(&mut self, wait: Duration) -> Batch<'_> {
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `room` has the capacity passed to the call, which writes at most that many pointers and returns how many.
        let taken = unsafe {
            raw::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                wait,
                self.room.as_mut_ptr(),
                self.room.len(),
            )
        };
        // A negative count means that nothing could be received.
        let taken = usize::try_from(taken).unwrap_or(0);
        Batch {
            messages: &mut self.room[..taken],
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it after this.
        unsafe { raw::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Messages of one call.
pub(super) struct Batch<'q> {
    messages: &'q mut [*mut raw::rd_kafka_message_t],
}

impl Batch<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = Taken<'_>> {
        // SAFETY: the call gave valid messages, which live until the batch is dropped.
        self.messages
            .iter()
            .map(|message| Taken(unsafe { &**message }))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.messages.iter_mut() {
            // SAFETY: each message is ours to destroy, once.
            unsafe { raw::rd_kafka_message_destroy(*message) };
            *message = ptr::null_mut();
        }
    }
}

/// A message, or an error in place of one.
pub(super) struct Taken<'b>(&'b raw::rd_kafka_message_t);

/// A header: a name, and a value that may be missing.
pub(super) type Header<'b> = (&'b str, Option<&'b [u8]>);

impl<'b> Taken<'b> {
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        let is_error = self.0.err != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        is_error.then(|| self.0.err.into())
    }

    /// The text of the error; only an error has one.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is valid; the text, if there is one, ends with a zero and lives as long as the message.
        unsafe {
            let text = raw::rd_kafka_message_errstr(self.0);
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }

    pub(super) fn partition(&self) -> i32 {
        self.0.partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.0.offset
    }

    pub(super) fn key(&self) -> Option<&'b [u8]> {
        bytes(self.0.key.cast_const().cast(), self.0.key_len)
    }

    pub(super) fn value(&self) -> Option<&'b [u8]> {
        bytes(self.0.payload.cast_const().cast(), self.0.len)
    }

    /// Milliseconds since 1970.
    pub(super) fn timestamp(&self) -> Option<i64> {
        let mut kind = raw::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid, and `kind` is ours.
        let millis = unsafe { raw::rd_kafka_message_timestamp(self.0, &raw mut kind) };
        (millis >= 0).then_some(millis)
    }

    /// Adds the headers to `all`; returns `false` for a name that is not UTF-8.
    pub(super) fn headers(&self, all: &mut Vec<Header<'b>>) -> bool {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid; the headers belong to it.
        let found = unsafe { raw::rd_kafka_message_headers(self.0, &raw mut headers) };
        if found != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return true;
        }
        for n in 0.. {
            let mut name = ptr::null();
            let mut value = ptr::null();
            let mut length = 0;
            // SAFETY: the headers are valid; the three places are ours; the call returns an error beyond the last header.
            let found = unsafe {
                raw::rd_kafka_header_get_all(
                    headers,
                    n,
                    &raw mut name,
                    &raw mut value,
                    &raw mut length,
                )
            };
            if found != raw::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return true;
            }
            // SAFETY: a name ends with a zero and lives as long as the message.
            let Ok(name) = unsafe { CStr::from_ptr(name) }.to_str() else {
                return false;
            };
            all.push((name, bytes(value.cast(), length)));
        }
        true
    }
}

fn bytes<'b>(start: *const u8, length: usize) -> Option<&'b [u8]> {
    // SAFETY: librdkafka gives a start and as many bytes behind it, which live as long as the message; no value is null.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, length) })
}
