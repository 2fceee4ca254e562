//! The id that a cluster gives a topic when it creates it (KIP-516): a topic created again under the same name has another.
//!
//! The admin call is only in the raw bindings. Clusters before Kafka 2.8 have no ids.

#![expect(
    unsafe_code,
    reason = "the admin call of librdkafka has no safe wrapper"
)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as raw;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::kafka::client::Listener;

/// The id of a topic that exists, in base64; `None` where the cluster has none.
pub(super) fn read_topic_id(
    client: &Client<Listener>,
    topic: &str,
    wait: Duration,
) -> KafkaResult<Option<String>> {
    let name = CString::new(topic)?;
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as the client. The collection copies the name, the call copies the collection; queue, event
    // and collection are ours and released once, after the last use of anything that they own.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = raw::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let queue = raw::rd_kafka_queue_new(rk);
        raw::rd_kafka_DescribeTopics(rk, topics, ptr::null(), queue);
        let event = raw::rd_kafka_queue_poll(queue, wait);
        let id = match event.is_null() {
            true => Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::OperationTimedOut,
            )),
            false => described_id(event),
        };
        raw::rd_kafka_event_destroy(event);
        raw::rd_kafka_queue_destroy(queue);
        raw::rd_kafka_TopicCollection_destroy(topics);
        id
    }
}

/// # Safety
/// `event` answers `DescribeTopics` for one topic.
unsafe fn described_id(event: *mut raw::rd_kafka_event_t) -> KafkaResult<Option<String>> {
    // SAFETY: the event owns everything that is read here; an answer without an error has one description.
    unsafe {
        match RDKafkaErrorCode::from(raw::rd_kafka_event_error(event)) {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::UnsupportedFeature => return Ok(None),
            code => return Err(KafkaError::MetadataFetch(code)),
        }
        let result = raw::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = raw::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count == 0 {
            return Ok(None);
        }
        let id = raw::rd_kafka_TopicDescription_topic_id(*topics);
        if id.is_null() || raw::rd_kafka_Uuid_most_significant_bits(id) == 0 {
            return Ok(None);
        }
        let text = CStr::from_ptr(raw::rd_kafka_Uuid_base64str(id));
        Ok(Some(text.to_string_lossy().into_owned()))
    }
}
