//! Connections that a source and a sink of the same system share.

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kafka")]
pub mod registry;
pub mod wire;
