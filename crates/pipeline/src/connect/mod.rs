//! Connections that a source and a sink of the same system share, and those that are neither.

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kafka")]
pub mod registry;
pub mod telemetry;
pub mod wire;
