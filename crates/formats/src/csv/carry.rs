//! State carried from one part of a file to the next when an earlier run stopped between them: names of the columns and the
//! line number. It is stored in the contract, in the same commit as the position, and then as an attribute of the payload
//! of the next part.

use forebay_core::{Error, PayloadHead, Result};
use serde::{Deserialize, Serialize};

/// The attribute of a payload that starts in the middle of a file.
const ATTRIBUTE: &str = "csv.carried";

/// A file of which a part has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Carry {
    /// Name of the payload.
    pub(super) file: String,
    /// Names of the columns, in the order of the file.
    pub(super) names: Vec<String>,
    /// Line that the next record begins on.
    pub(super) line: u64,
}

impl Carry {
    /// The attribute for a payload that resumes this file, if `head` is one.
    pub(super) fn attribute_for(&self, head: &PayloadHead) -> Option<(String, String)> {
        if !goes_on(head) || head.name != self.file {
            return None;
        }
        let text = serde_json::to_string(self).ok()?;
        Some((ATTRIBUTE.to_owned(), text))
    }

    /// The carried state of a payload.
    ///
    /// Errors: `Data` `bad_carry` when this module did not write it.
    pub(super) fn of(head: &PayloadHead) -> Result<Option<Self>> {
        let Some(text) = head.attributes.get(ATTRIBUTE) else {
            return Ok(None);
        };
        serde_json::from_str(text).map(Some).map_err(|error| {
            let what = format!(
                "the attribute {ATTRIBUTE:?} of {} cannot be read",
                head.name
            );
            Error::data("bad_carry", what).with_source(error)
        })
    }
}

/// Whether a payload starts in the middle of its file.
pub(super) fn goes_on(head: &PayloadHead) -> bool {
    head.attributes.contains_key(PayloadHead::OFFSET_ATTRIBUTE)
}
