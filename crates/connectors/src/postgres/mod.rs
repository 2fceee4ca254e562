//! Postgres: tables as a target, and the client with its URL, TLS and types.

mod client;
mod error;
pub mod sink;
mod tls;
mod types;
mod url;
