//! End-to-end tests: the binary as a user runs it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod admin;
mod altered;
#[cfg(feature = "kafka")]
mod avro;
mod aws_sdks;
mod bitemporal;
mod bombs;
mod branches;
mod canaries;
mod checks;
mod clean;
mod cli;
mod columns;
#[cfg(feature = "kafka")]
mod compacted;
#[cfg(feature = "kafka")]
mod damaged;
mod demo;
mod faulty_disk;
mod file_sink;
mod files;
mod flights;
mod forebay;
mod formats;
mod guides;
mod hive;
mod hostile;
#[cfg(feature = "kafka")]
mod kafka;
mod keeping;
#[cfg(feature = "kafka")]
mod ledger;
mod load;
mod many_files;
mod models;
mod newcomer;
mod observe;
mod one_table;
mod parts;
mod peers;
mod postgres;
mod pulled;
mod raw;
mod read_only;
#[cfg(feature = "kafka")]
mod registry;
mod replace;
mod rest_catalog;
mod restored;
mod rollback;
mod s3;
mod scarce;
mod serve;
mod served;
#[cfg(feature = "kafka")]
mod shared;
mod spilled;
mod sql;
mod stored;
mod target;
mod upsert;
mod widened;
