//! Files: folders of this machine and buckets, as a source and as a target.

pub mod sink;
pub mod source;
