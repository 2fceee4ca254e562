//! What a snapshot's summary counts: what it added, and what the table holds after it.

use std::collections::{HashMap, HashSet};

use iceberg::spec::Summary;

use crate::DataFile;

/// `total-…` after a snapshot = the parent's + `added-…` - `deleted-…` or `removed-…`.
const TOTALS: [(&str, &str, &str); 6] = [
    ("total-data-files", "added-data-files", "deleted-data-files"),
    (
        "total-delete-files",
        "added-delete-files",
        "removed-delete-files",
    ),
    ("total-records", "added-records", "deleted-records"),
    ("total-files-size", "added-files-size", "removed-files-size"),
    (
        "total-position-deletes",
        "added-position-deletes",
        "removed-position-deletes",
    ),
    (
        "total-equality-deletes",
        "added-equality-deletes",
        "removed-equality-deletes",
    ),
];

/// Figures of one snapshot by their name in the summary; zeros are left out.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<&'static str, u64>);

impl Counts {
    pub(super) fn of_added(files: &[DataFile]) -> Self {
        let partitions: HashSet<_> = files
            .iter()
            .map(|file| (file.spec_id, file.file.partition()))
            .collect();
        Self(HashMap::from([
            ("added-data-files", files.len() as u64),
            ("added-records", files.iter().map(|file| file.rows).sum()),
            (
                "added-files-size",
                files.iter().map(|file| file.bytes).sum(),
            ),
            ("changed-partition-count", partitions.len() as u64),
        ]))
    }

    pub(super) fn summary(&self, parent: Option<&Summary>) -> HashMap<String, String> {
        let own = |name: &str| self.0.get(name).copied().unwrap_or(0);
        let before = |name: &str| parent?.additional_properties.get(name)?.parse::<u64>().ok();
        let figures = self.0.iter().filter(|(_, value)| **value > 0);
        let mut summary: HashMap<String, String> = figures
            .map(|(name, value)| ((*name).to_owned(), value.to_string()))
            .collect();
        for (total, added, removed) in TOTALS {
            let value = before(total)
                .unwrap_or(0)
                .saturating_add(own(added))
                .saturating_sub(own(removed));
            summary.insert(total.to_owned(), value.to_string());
        }
        summary
    }
}
