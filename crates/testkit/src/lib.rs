//! Helpers for tests only: a fake clock, a stub HTTP server, an object store that loses answers, real servers (Kafka,
//! Postgres, S3, a schema registry), a temporary workspace, the shared data.
//!
//! Only `[dev-dependencies]` name this crate. It knows `core` and none of the crates it helps to test.

mod again;
mod clock;
mod compress;
mod guides;
mod kafka;
mod keeper;
mod lossy;
mod no_sql;
mod postgres;
mod registry;
mod s3;
mod stub;
mod workspace;

pub use again::{again_on_s3, on_s3};
pub use clock::FakeClock;
pub use compress::{gzip, gzip_bomb, zstd};
pub use guides::{
    GuideBlock, GuideFile, GuideLanguage, guide_blocks, guide_files, inline_commands,
};
pub use kafka::KafkaServer;
pub use lossy::{Fault, LossyStore};
pub use no_sql::NoSql;
pub use postgres::PostgresServer;
pub use registry::RegistryServer;
pub use s3::S3Server;
pub use stub::{Behaviour, Reply, Request, StubHttp};
pub use workspace::{Workspace, shared_data, shared_files, variable};

/// Installs the process-wide TLS provider, as the binary does at its start. May be called by every test.
pub fn install_crypto() {
    // An error means that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
