//! The earthquakes that the binary carries (see `assets/demo/DATA.md` for their source and licence).

use std::io::Read;

use forebay_core::{Error, Result};
use serde::Deserialize;

const QUAKES: &[u8] = include_bytes!("../../assets/demo/earthquakes.ndjson.gz");

/// One feature of the API.
#[derive(Debug, Clone)]
pub(crate) struct Quake {
    /// Milliseconds since the Unix epoch; the list is ordered by it.
    pub(crate) updated_ms: i64,
    /// The feature as GeoJSON text.
    pub(crate) json: String,
}

#[derive(Deserialize)]
struct Feature {
    properties: Properties,
}

#[derive(Deserialize)]
struct Properties {
    updated: i64,
}

/// All of them, ordered by the time of their last update.
pub(crate) fn quakes() -> Result<Vec<Quake>> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::bug("demo_data", format!("the demo's data is broken: {error}"))
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(QUAKES)
        .read_to_string(&mut text)
        .map_err(|error| broken(&error))?;
    text.lines()
        .map(|line| {
            let feature: Feature = serde_json::from_str(line).map_err(|error| broken(&error))?;
            Ok(Quake {
                updated_ms: feature.properties.updated,
                json: line.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_data_is_there_and_ordered() {
        let quakes = super::quakes().unwrap();
        assert_eq!(quakes.len(), 1_707);
        assert!(quakes.is_sorted_by_key(|quake| quake.updated_ms));
    }
}
