//! Every row of `SINKS` and `SOURCES` keeps the contract of `sink.rs` and `source.rs`, whatever system it talks to.
//!
//! A connector is tested as soon as its line stands in a table: without a site of its own in [`sites`] the first test fails. Which
//! checks apply is decided by its capabilities. A site whose system is not installed is left out.

mod sinks;
mod sites;
mod sources;

use std::collections::BTreeSet;

use forebay_connectors::{SINKS, SOURCES};

#[test]
fn every_connector_has_a_site() {
    let names = |names: Vec<&'static str>| names.into_iter().collect::<BTreeSet<_>>();
    let sinks = SINKS.iter().map(|kind| kind.name()).collect();
    let sources = SOURCES.iter().map(|kind| kind.name()).collect();
    assert_eq!(
        names(sinks),
        names(sites::SINK_SITES.iter().map(|site| site.0).collect())
    );
    assert_eq!(
        names(sources),
        names(sites::SOURCE_SITES.iter().map(|site| site.0).collect())
    );
}
