//! Where a topic is read to.

use std::collections::BTreeMap;

use forebay_core::{Error, Position, Result};
use serde::{Deserialize, Serialize};

/// The next offset of each partition that has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) next: BTreeMap<i32, i64>,
}

impl Place {
    pub(super) fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            next: BTreeMap::new(),
        }
    }

    /// Errors: `Data` when it is not a position of a topic, `Config` when it is one of another topic.
    pub(super) fn read(position: &Position, topic: &str) -> Result<Self> {
        let place: Self =
            position.read("the position of a Kafka source is not a list of offsets")?;
        if place.topic != topic {
            let what = format!(
                "the pipeline has read topic {:?} so far, and its file names {topic:?}",
                place.topic
            );
            return Err(Error::config("other_topic", what)
                .with_hint("give the pipeline of the other topic another name, or run it with --full to begin anew"));
        }
        Ok(place)
    }

    pub(super) fn write(&self) -> Result<Position> {
        Position::of(self)
    }
}
