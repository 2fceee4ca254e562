//! The data path: from a source to a committed table.
//!
//! A pipeline file ([`spec`]) chooses connectors and formats of the crates below, or components of the [`platform`] itself,
//! which read and write the lake. [`engine`] joins them. Positions move in the commit that a run makes and nowhere else. This
//! crate never runs a query engine: SQL goes through [`forebay_core::SqlEngine`].

pub mod spec;

pub mod platform;

pub mod raw;

pub mod transform;

pub mod buffer;

pub mod engine;
pub mod quarantine;

pub mod position_objects;

mod rows;

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");
