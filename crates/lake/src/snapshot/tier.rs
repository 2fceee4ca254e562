//! Which manifests one commit merges.
//!
//! Manifests are in tiers by their number of files, each tier [`FAN`] times the one below. When a tier has [`FAN`]
//! manifests they become one of the next tier. So a commit of one file reads and writes few entries, an entry is written
//! again once a tier, and a table of n small commits has about `FAN` manifests a tier and one for every
//! [`FILES_TARGET`] files. A manifest that is big enough is never merged again, and stays in the caches of readers.

use std::collections::BTreeMap;

use iceberg::spec::ManifestFile;

use super::is_data;

/// Manifests of one tier that become one of the next.
pub(super) const FAN: usize = 16;
/// Files of a merged manifest, at most.
const FILES_TARGET: u64 = 4_096;
/// Size of a merged manifest, about.
const BYTES_TARGET: i64 = 8 << 20;
/// Bytes of manifests that one commit reads to merge them; the rest waits for a later one.
const BYTES_AT_ONCE_MAX: i64 = 16 << 20;
/// Assumed size of an entry where a manifest does not have its number of entries.
const ENTRY_BYTES: i64 = 1 << 10;

/// Manifests that become fewer in one commit, oldest first, and those that stay as they are.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) merged: Vec<ManifestFile>,
    pub(super) kept: Vec<ManifestFile>,
}

/// One tier of one partition spec and content, the smallest that is full. At most one is merged in a commit: each
/// stays short, and the next commit continues.
pub(super) fn choose(manifests: Vec<ManifestFile>) -> Choice {
    let mut tiers: BTreeMap<(u32, i32, bool), Vec<usize>> = BTreeMap::new();
    for (at, manifest) in manifests.iter().enumerate() {
        if let Some(tier) = tier(manifest) {
            let group = (tier, manifest.partition_spec_id, is_data(manifest));
            tiers.entry(group).or_default().push(at);
        }
    }
    let Some(mut full) = tiers.into_values().find(|tier| tier.len() >= FAN) else {
        return Choice {
            merged: Vec::new(),
            kept: manifests,
        };
    };
    // Neighbours in time have much in common.
    full.sort_by_key(|at| manifests[*at].min_sequence_number);
    let mut bytes = 0;
    full.retain(|at| {
        bytes += manifests[*at].manifest_length;
        bytes <= BYTES_AT_ONCE_MAX
    });
    let mut choice = Choice::default();
    let mut manifests: Vec<Option<ManifestFile>> = manifests.into_iter().map(Some).collect();
    choice.merged = full
        .into_iter()
        .filter_map(|at| manifests[at].take())
        .collect();
    choice.kept = manifests.into_iter().flatten().collect();
    choice
}

/// `None`: big enough. Half the target is, so that merging always makes fewer.
fn tier(manifest: &ManifestFile) -> Option<u32> {
    let files = files(manifest);
    if manifest.manifest_length >= BYTES_TARGET / 2 || files >= FILES_TARGET / 2 {
        return None;
    }
    Some(files.max(1).ilog(FAN as u64))
}

fn files(manifest: &ManifestFile) -> u64 {
    match (manifest.added_files_count, manifest.existing_files_count) {
        (Some(added), Some(existing)) => u64::from(added) + u64::from(existing),
        _ => u64::try_from(manifest.manifest_length / ENTRY_BYTES).unwrap_or(0),
    }
}

/// Into how many manifests `files` entries go whose manifests had `bytes` together.
pub(super) fn parts(files: usize, bytes: i64) -> usize {
    let by_files = (files as u64).div_ceil(FILES_TARGET);
    let by_bytes = u64::try_from(bytes)
        .unwrap_or(0)
        .div_ceil(BYTES_TARGET as u64);
    usize::try_from(by_files.max(by_bytes).max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    use iceberg::spec::ManifestContentType;

    fn manifest(sequence: i64, files: u32, bytes: i64) -> ManifestFile {
        ManifestFile {
            manifest_path: format!("m{sequence}"),
            manifest_length: bytes,
            partition_spec_id: 0,
            content: ManifestContentType::Data,
            sequence_number: sequence,
            min_sequence_number: sequence,
            added_snapshot_id: 1,
            added_files_count: Some(files),
            existing_files_count: Some(0),
            deleted_files_count: Some(0),
            added_rows_count: None,
            existing_rows_count: None,
            deleted_rows_count: None,
            partitions: None,
            key_metadata: None,
            first_row_id: None,
        }
    }

    /// The numbers of files per manifest after this many commits of one file.
    fn after(commits: i64) -> (Vec<u32>, usize) {
        let mut table = Vec::new();
        let mut rewritten = 0;
        for sequence in 0..commits {
            let choice = choose(table);
            table = choice.kept;
            if !choice.merged.is_empty() {
                let files = choice
                    .merged
                    .iter()
                    .map(|m| m.added_files_count.unwrap())
                    .sum();
                rewritten += files as usize;
                assert_eq!(parts(files as usize, 0), 1);
                table.push(manifest(choice.merged[0].sequence_number, files, 1 << 10));
            }
            table.push(manifest(sequence, 1, 1 << 10));
        }
        (
            table.iter().map(|m| m.added_files_count.unwrap()).collect(),
            rewritten,
        )
    }

    #[test]
    fn many_commits_leave_few_manifests_and_write_each_entry_few_times() {
        for commits in [15, 16, 300, 5_000, 20_000] {
            let (files, rewritten) = after(commits);
            assert_eq!(files.iter().map(|n| i64::from(*n)).sum::<i64>(), commits);
            let full = (commits as u64 / (FILES_TARGET / 2)) as usize;
            assert!(files.len() <= 3 * FAN + full, "{commits}: {files:?}");
            assert!(rewritten as i64 <= 3 * commits, "{rewritten} of {commits}");
        }
    }

    #[test]
    fn big_ones_and_other_kinds_are_left_alone() {
        let mut all: Vec<_> = (0..40).map(|n| manifest(n, 3_000, 1 << 20)).collect();
        assert!(choose(all.clone()).merged.is_empty(), "enough files");
        all = (0..40).map(|n| manifest(n, 1, 4 << 20)).collect();
        assert!(choose(all.clone()).merged.is_empty(), "enough bytes");
        all = (0..15).map(|n| manifest(n, 1, 1)).collect();
        all.extend((0..15).map(|n| ManifestFile {
            content: ManifestContentType::Deletes,
            ..manifest(n, 1, 1)
        }));
        assert!(choose(all).merged.is_empty(), "deletes and data apart");
    }

    #[test]
    fn one_commit_reads_so_much_and_always_makes_fewer() {
        let all: Vec<_> = (0..40).rev().map(|n| manifest(n, 2_000, 3 << 20)).collect();
        let choice = choose(all);
        let sequences: Vec<_> = choice.merged.iter().map(|m| m.sequence_number).collect();
        assert_eq!(sequences, [0, 1, 2, 3, 4], "the oldest, up to 16 MiB");
        assert_eq!(choice.kept.len(), 35);
        assert!(parts(5 * 2_000, 15 << 20) < 5);
    }
}
