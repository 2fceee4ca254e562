//! Where a reader of a split stands.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// A source's own description of "everything up to here has been taken": small JSON that only that source reads.
///
/// A position moves in the commit that holds the data before it, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub Value);

impl Position {
    /// Largest position in bytes of JSON; a source that needs more must bound what it remembers.
    pub const BYTES_MAX: usize = 1 << 20;

    /// The position of a split that was set back: it is read from its start, as a split that was never read.
    pub fn start() -> Self {
        Self(Value::Null)
    }

    /// Whether this is [`Self::start`].
    pub fn is_start(&self) -> bool {
        self.0.is_null()
    }

    /// A place as a position.
    ///
    /// # Errors
    /// `Bug` when the place is not JSON.
    pub fn of<T: Serialize>(place: &T) -> Result<Self> {
        let value = serde_json::to_value(place);
        value.map(Self).map_err(|error| {
            Error::bug("position", "failed to write a position").with_source(error)
        })
    }

    /// The place that [`Self::of`] was given; `what` says what is wrong when it is none.
    ///
    /// # Errors
    /// `Data` `bad_position`.
    pub fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        T::deserialize(&self.0)
            .map_err(|error| Error::data("bad_position", what).with_source(error))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
