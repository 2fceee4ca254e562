//! The position of a split of a topic.

use std::collections::BTreeMap;

use forebay_core::{Error, Position, Result};
use serde::{Deserialize, Serialize};

use super::share::Starts;
use crate::source::REARRANGED;

/// The next offset of each partition that has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) next: BTreeMap<i32, i64>,
    /// Of the topic that was read, where the cluster has ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) topic_id: Option<String>,
    #[serde(default, skip_serializing_if = "State::is_read")]
    pub(super) state: State,
}

/// The state of a position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Read up to there.
    #[default]
    Read,
    /// Nothing has been read since the partitions were assigned.
    Dealt,
    /// Its partitions belong to other splits.
    Closed,
}

impl State {
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_read(&self) -> bool {
        *self == Self::Read
    }
}

impl Place {
    pub(super) fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn dealt(topic: &str, starts: Starts) -> Self {
        let state = State::Dealt;
        Self {
            next: starts.next,
            topic_id: starts.topic_id,
            state,
            ..Self::new(topic)
        }
    }

    pub(super) fn closed(topic: &str) -> Self {
        let state = State::Closed;
        Self {
            state,
            ..Self::new(topic)
        }
    }

    /// Errors: `Data` when it is not a position of a topic.
    pub(super) fn parse(position: &Position) -> Result<Self> {
        position.read("the position of a Kafka source is not a list of offsets")
    }

    /// The position to resume from.
    ///
    /// Errors: `Data` when it is not a position of a topic, `Config` when it belongs to another topic, `Conflict`
    /// `rearranged` when its partitions belong to other splits.
    pub(super) fn read(position: &Position, topic: &str) -> Result<Self> {
        let place = Self::parse(position)?;
        place.check_topic(topic)?;
        if place.state == State::Closed {
            let what = "another process divides the topic differently";
            return Err(
                Error::conflict(REARRANGED, what).with_hint("give every process the same `shares`")
            );
        }
        let state = State::Read;
        Ok(Self { state, ..place })
    }

    pub(super) fn check_topic(&self, topic: &str) -> Result<()> {
        if self.topic == topic {
            return Ok(());
        }
        let what = format!(
            "the pipeline has read topic {:?} so far, but its file configures topic {topic:?}",
            self.topic
        );
        Err(Error::config("other_topic", what)
            .with_hint("give the pipeline of the other topic another name, or run it with `--full` to start from the beginning"))
    }

    pub(super) fn write(&self) -> Result<Position> {
        Position::of(self)
    }
}
