//! The store as its callers see it.

mod branches;
mod concurrency;
mod heads;
mod kill;
mod leases;
mod model;
mod opening;
mod runs;
mod views;
mod world;
