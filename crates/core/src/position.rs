//! The position of a reader in a split.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// A source's own description of its progress: small JSON that only that source reads.
///
/// A position moves only in the commit that holds the data before it. State that would make it large is stored in objects
/// that it names under the key `objects` ([`PositionObject`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub Value);

impl Position {
    /// Largest position in bytes of JSON; a source that needs more must limit its state.
    pub const BYTES_MAX: usize = 1 << 20;

    /// The position of a split that was set back: it is read from its start, as a split that was never read.
    pub fn start() -> Self {
        Self(Value::Null)
    }

    /// Whether this is [`Self::start`].
    pub fn is_start(&self) -> bool {
        self.0.is_null()
    }

    /// A serialized value as a position.
    ///
    /// # Errors
    /// `Bug` when the value cannot be serialized as JSON.
    pub fn of<T: Serialize>(place: &T) -> Result<Self> {
        let value = serde_json::to_value(place);
        value.map(Self).map_err(|error| {
            Error::bug("position", "failed to write a position").with_source(error)
        })
    }

    /// The value passed to [`Self::of`]; `what` is the error message if it has another shape.
    ///
    /// # Errors
    /// `Data` `bad_position`.
    pub fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        T::deserialize(&self.0)
            .map_err(|error| Error::data("bad_position", what).with_source(error))
    }
}

/// An object of the storage that holds a part of a position. It is written before the commit that names it, and never
/// changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionObject {
    /// Below the root of the storage.
    pub path: String,
    /// Of its bytes, in hex.
    pub sha256: String,
    pub bytes: u64,
    /// Number of entries, in the source's own unit.
    pub entries: u64,
}

impl Position {
    /// The folder of all position objects: one folder a run below it.
    pub const OBJECTS_FOLDER: &str = "positions";

    /// The key under which a position of any source names its objects.
    pub const OBJECTS_KEY: &str = "objects";

    /// The objects that it needs.
    ///
    /// # Errors
    /// `Data` `bad_position` when the key holds something else.
    pub fn objects(&self) -> Result<Vec<PositionObject>> {
        let Some(named) = self.0.get(Self::OBJECTS_KEY) else {
            return Ok(Vec::new());
        };
        Vec::deserialize(named).map_err(|error| {
            let what = "the objects that a position names cannot be read";
            Error::data("bad_position", what).with_source(error)
        })
    }

    /// The same position, with other objects of the same content in place of those that it names.
    ///
    /// # Errors
    /// `Bug` when the objects cannot be written as JSON.
    pub fn with_objects(mut self, objects: &[PositionObject]) -> Result<Self> {
        if let Some(named) = self.0.get_mut(Self::OBJECTS_KEY) {
            *named = Self::of(&objects)?.0;
        }
        Ok(self)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
