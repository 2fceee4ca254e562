//! The server as its callers see it: requests in, answers out, and what the journal then holds.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod aws;
mod hostile;
mod ingest;
mod site;
mod surface;
