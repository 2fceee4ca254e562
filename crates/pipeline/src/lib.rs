//! The data path: from a source to a committed table.
//!
//! The modules stand in flow order and carry the names of the keys in a pipeline file. A component (a source, an
//! extractor, a transform, a sink) is one file in its stage's folder plus one line in that folder's table.
//! Positions move in the commit that [`load`] makes and nowhere else. This crate never runs a query engine: SQL goes
//! through [`forebay_core::SqlEngine`].

pub mod file;

pub mod connect;

pub mod source;

pub mod journal;

pub mod raw;

pub mod extract;

pub mod transform;

pub mod buffer;

pub mod load;

pub mod text;

pub mod quarantine;
pub mod run;

pub mod position_objects;
pub mod timing;

mod base64;
mod cover;
mod rows;
