//! End-to-end tests: the binary as a user runs it.

mod cli;
mod demo;
mod files;
mod flights;
mod forebay;
