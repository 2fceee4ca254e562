//! End-to-end tests: the binary as a user runs it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod clean;
mod cli;
mod columns;
mod demo;
mod files;
mod flights;
mod forebay;
#[cfg(feature = "kafka")]
mod kafka;
mod load;
mod observe;
mod parts;
mod postgres;
mod restored;
mod s3;
mod serve;
mod served;
mod sql;
mod stored;
mod target;
