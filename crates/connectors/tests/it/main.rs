//! Tests of the crate from outside, linked once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod conformance;
mod files;
mod growing;
mod http;
mod s3;
