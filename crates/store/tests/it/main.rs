//! The store as its callers see it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod branches;
mod concurrency;
mod heads;
mod kill;
mod leases;
mod model;
mod opening;
mod runs;
mod views;
mod world;
