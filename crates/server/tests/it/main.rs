//! The server as its callers see it: requests in, answers out, and what the journal then holds.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod access;
mod aws;
mod connections;
mod hostile;
mod ingest;
mod signed;
mod site;
mod surface;
mod timed;
