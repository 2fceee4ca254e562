//! Tests of the crate from outside, linked once.

mod check;
mod http;
mod json;
