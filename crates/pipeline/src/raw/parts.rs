//! Parts of payloads: a run that commits inside a payload leaves an entry for each part, consecutive in the index.

use crate::raw::RawEntry;

/// Attribute of an entry that is a part of a payload: `1`, `2`, … in order, and `3/3` for the last. A commit fell inside the
/// payload; its bytes are those of all parts of the same ordinal, one after the other. A payload in one piece has none.
pub const PART_ATTRIBUTE: &str = "part";

/// The value of [`PART_ATTRIBUTE`] for part `n`.
pub(super) fn label(n: u32, last: bool) -> String {
    if last {
        format!("{n}/{n}")
    } else {
        n.to_string()
    }
}

/// Puts the parts of each payload together.
#[derive(Debug, Default)]
pub struct Parts {
    held: Vec<RawEntry>,
}

impl Parts {
    /// Takes the next entry of the index, and returns the payload before it if that ended there, whether or not all of it
    /// ever arrived.
    pub fn push(&mut self, entry: RawEntry) -> Option<Vec<RawEntry>> {
        if self.continues(&entry) {
            self.held.push(entry);
            return None;
        }
        let before = std::mem::replace(&mut self.held, vec![entry]);
        (!before.is_empty()).then_some(before)
    }

    /// Whether the entry goes on with the payload whose parts are held.
    pub fn continues(&self, entry: &RawEntry) -> bool {
        self.held.last().is_some_and(|last| follows(entry, last))
    }

    /// The held entries, when nothing can follow them.
    pub fn whole(&mut self) -> Option<Vec<RawEntry>> {
        let part = self.held.last()?.attributes.get(PART_ATTRIBUTE);
        let ends = part.is_none_or(|part| part.contains('/'));
        ends.then(|| std::mem::take(&mut self.held))
    }

    /// The held entries, once there is nothing more.
    pub fn finish(self) -> Option<Vec<RawEntry>> {
        (!self.held.is_empty()).then_some(self.held)
    }
}

fn follows(entry: &RawEntry, last: &RawEntry) -> bool {
    let same = (&entry.name, entry.received_at, &entry.split)
        == (&last.name, last.received_at, &last.split);
    same && number(last).is_some_and(|last| number(entry) == Some(last + 1))
}

fn number(entry: &RawEntry) -> Option<u64> {
    let part = entry.attributes.get(PART_ATTRIBUTE)?;
    part.split('/').next()?.parse().ok()
}
