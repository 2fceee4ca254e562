//! The splits of a pipeline: which of them this process works on, under a lease each.

pub(crate) mod assignment;
pub(crate) mod lease;
pub(crate) mod repartition;
