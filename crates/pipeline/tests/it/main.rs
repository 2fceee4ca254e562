//! Tests of the crate from outside, linked once.

mod check;
mod files;
mod http;
mod json;
mod raw;
