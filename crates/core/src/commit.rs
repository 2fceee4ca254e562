//! Identities that a commit carries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{Error, Result, Timestamp};

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Ulid);

        impl $name {
            /// A new id that sorts by `at`; `random` must come from a good generator.
            pub fn new(at: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(u64::try_from(at.millis()).unwrap_or(0), random))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Lower case: it is also used in paths and refs.
                f.write_str(&self.0.to_string().to_ascii_lowercase())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Ulid::from_string(&text.to_ascii_uppercase()).map(Self).map_err(|_| {
                    Error::config("bad_id", format!("{text:?} is not a {}", stringify!($name)))
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

ulid_id! {
    /// One change of the lake, chosen before it is tried, so that an unknown result can be looked up.
    CommitId
}

ulid_id! {
    /// One execution of a pipeline.
    RunId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_text() {
        let early = CommitId::new(Timestamp(1_000_000), 7);
        let late = CommitId::new(Timestamp(2_000_000), 1);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<CommitId>().ok(), Some(early));
        assert!("nope".parse::<RunId>().is_err());
    }
}
