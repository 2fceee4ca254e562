//! Kafka: topics as a source and as a target, and the client that both share.

pub mod client;
pub mod sink;
pub mod source;
