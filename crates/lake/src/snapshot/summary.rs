//! The counts of a snapshot's summary: rows and files added, and the totals of the table.

use std::collections::{HashMap, HashSet};

use iceberg::spec::Summary;

use crate::DataFile;
use crate::scan::{FileContent, TableFile};

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
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(HashMap<&'static str, u64>);

impl Counts {
    pub(super) fn of_added<'f>(files: impl Iterator<Item = &'f DataFile> + Clone) -> Self {
        let partitions: HashSet<_> = files
            .clone()
            .map(|file| (file.spec_id, file.file.partition()))
            .collect();
        Self(HashMap::from([
            ("added-data-files", files.clone().count() as u64),
            ("added-records", files.clone().map(|file| file.rows).sum()),
            ("added-files-size", files.map(|file| file.bytes).sum()),
            ("changed-partition-count", partitions.len() as u64),
        ]))
    }

    /// Adds position delete files.
    pub(super) fn add_deletes(&mut self, files: &[DataFile]) {
        let rows = files.iter().map(|file| file.rows).sum();
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        self.0.extend([
            ("added-delete-files", files.len() as u64),
            ("added-position-deletes", rows),
        ]);
        *self.0.entry("added-files-size").or_default() += bytes;
    }

    /// Of files that replace all files of a table.
    pub(super) fn of_replaced<'f>(
        added: impl Iterator<Item = &'f DataFile> + Clone,
        replaced: &[TableFile],
    ) -> Self {
        let mut counts = Self::of_added(added);
        let of = |is_data: bool| {
            let files = replaced.iter();
            files.filter(move |file| (file.content == FileContent::Data) == is_data)
        };
        let rows = |content: FileContent| {
            let files = replaced.iter().filter(|file| file.content == content);
            files.map(|file| file.rows).sum::<u64>()
        };
        let vectors = rows(FileContent::DeletionVector);
        counts.0.extend([
            ("deleted-data-files", of(true).count() as u64),
            ("removed-delete-files", of(false).count() as u64),
            ("deleted-records", rows(FileContent::Data)),
            (
                "removed-position-deletes",
                rows(FileContent::PositionDeletes) + vectors,
            ),
            (
                "removed-files-size",
                replaced.iter().map(|file| file.bytes).sum(),
            ),
        ]);
        counts
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
