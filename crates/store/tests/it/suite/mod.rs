//! What holds whichever database is behind the store; `super` says which one this time.

use super::*;

mod branches;
mod concurrency;
mod heads;
mod horizon;
mod kill;
mod leases;
mod merges;
mod model;
mod namespaces;
mod opening;
mod runs;
mod tags;
mod views;
