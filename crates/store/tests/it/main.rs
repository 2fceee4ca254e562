//! The store as its callers see it: one suite on both databases, and what is particular to each.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]
#![allow(
    clippy::duplicate_mod,
    reason = "the suite is compiled once for each database"
)]

mod mark;
mod on_postgres;
mod on_sqlite;
mod postgres;
mod sqlite;
mod world;
