//! What is done with a pipeline's past: payloads of the raw zone are extracted again, refusals are closed, tables replaced.

pub(crate) mod adopt;
mod commit_times;
pub(crate) mod discard;
pub(crate) mod ledger;
mod passes;
pub(crate) mod rebuild;
pub(crate) mod reextraction;
pub(crate) mod replay;
pub(crate) mod reset;
