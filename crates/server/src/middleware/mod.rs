//! Middleware of every request: checks before it, metrics and logs after it.

pub(crate) mod access;
mod observe;

pub(crate) use observe::observe;
