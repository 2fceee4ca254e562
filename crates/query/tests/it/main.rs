//! SQL over a real lake: store in SQLite, files on disk, nothing faked but the clock.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod damaged;
mod duckdb;
mod fixture;
mod nested;
mod oracle;
mod postgres;
mod raw;
mod refused;
mod rivals;
mod system;
mod travel;
mod truth;
