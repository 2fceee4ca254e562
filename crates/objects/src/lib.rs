//! Objects in a bucket or a folder: how a store is opened, how an object is made once, and what its errors mean.
//!
//! Knows no table, no pipeline and no catalog. Nothing here overwrites or deletes an object.

pub mod address;
mod create;
mod error;
mod guard;
mod s3;
mod url;

pub use create::{Created, Medium, NewObject, PART_BYTES, PARTS_MAX, create, create_as};
pub use error::{GONE, MISMATCH, explain_objects, explain_text, from_objects, gone};
pub use s3::{AwsVariables, RETRY_FOR, S3Options};
pub use url::StorageUrl;

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");
