//! The files of a new snapshot: each of them once, those of its parent as they were, new ones as they are.

use std::collections::{HashMap, HashSet};

use forebay_core::{Context, Error, Result};
use iceberg::spec::{
    FormatVersion, ManifestEntryRef, ManifestFile, ManifestStatus, Operation, SnapshotRef,
    TableMetadata,
};
use object_store::path::Path;
use sha2::{Digest, Sha256};

use crate::Lake;
use crate::scan::{load_live, read_live};
use crate::snapshot::read_list;

use super::commit::as_bad_update;
use super::data_files::{FileChecks, check_form, file_key};
use super::manifests::check_line;
use super::rules::bad_update;
use super::snapshots::{KnownManifests, TableFolder, check_metadata_file};

/// New manifests of one commit.
const MANIFESTS_MAX: usize = 10_000;
/// Files in new manifests of one commit.
const FILES_MAX: usize = 500_000;
/// Rows of a table: sums of them must not overflow.
const ROWS_MAX: u64 = 1 << 50;

/// SHA-256, cut: of a name, or of an entry.
type Fingerprint = [u8; 16];

/// What is known of the files of a commit.
#[derive(Default)]
pub(super) struct CheckedFiles {
    /// New manifests that passed.
    manifests: HashMap<Path, CheckedManifest>,
    files: usize,
    /// Files of the snapshots that new ones are based on, and of new ones, each with its sequence number.
    sequences: HashMap<Fingerprint, i64>,
    /// Entries of such files, whose figures are true.
    entries: HashSet<Fingerprint>,
}

struct CheckedManifest {
    line: ManifestFile,
    files: LiveFiles,
}

/// The live files of a manifest.
#[derive(Default)]
struct LiveFiles {
    names: Vec<Fingerprint>,
    rows: u64,
}

/// A snapshot that is new.
pub(super) struct SnapshotContent<'t> {
    pub(super) lake: &'t Lake,
    pub(super) table: &'t TableMetadata,
    pub(super) folder: &'t TableFolder<'t>,
    pub(super) snapshot: &'t SnapshotRef,
    /// Those that it is based on; `None` for a table that comes as it is.
    pub(super) known: Option<&'t KnownManifests>,
}

impl SnapshotContent<'_> {
    /// Errors: `Data` `bad_update`, `not_a_file`, `Unsupported` `update_refused`; those of the object store.
    pub(super) async fn check(&self, checked: &mut CheckedFiles) -> Result<()> {
        let list = read_list(self.table, self.lake.storage(), self.snapshot).await?;
        let mut lines = HashMap::new();
        for line in list {
            self.folder.check("a manifest", &line.manifest_path)?;
            let path = self.lake.storage().path(&line.manifest_path)?;
            if lines.insert(path, line).is_some() {
                return Err(bad_update("the snapshot has a manifest twice"));
            }
        }
        let mut live = LiveNames::default();
        let mut fresh = Vec::new();
        for (path, line) in &lines {
            if self.is_known(path, line) {
                live.add_known(&self.known_files(line).await?)?;
            } else if !checked.has(path, line) {
                fresh.push((path, line));
            }
        }
        if !fresh.is_empty() {
            self.note_replaced(&lines, checked).await?;
        }
        for (path, line) in fresh {
            let files = self.check_manifest(path, line, checked).await;
            let files = files.context("file", &line.manifest_path)?;
            let line = line.clone();
            checked
                .manifests
                .insert(path.clone(), CheckedManifest { line, files });
        }
        for (path, _) in lines {
            if let Some(manifest) = checked.manifests.get(&path) {
                live.add_new(&manifest.files)?;
            }
        }
        Ok(())
    }

    fn is_known(&self, path: &Path, line: &ManifestFile) -> bool {
        let known = self.known.and_then(|known| known.get(path));
        known.is_some_and(|known| is_same_line(known, line))
    }

    async fn known_files(&self, line: &ManifestFile) -> Result<LiveFiles> {
        let live = load_live(self.table, self.lake.storage(), line).await?;
        let mut files = LiveFiles::default();
        for entry in live.entries.iter() {
            files.add(self.name_of(entry)?, entry)?;
        }
        Ok(files)
    }

    /// Remembers the files of manifests that do not stay: new manifests may have them.
    async fn note_replaced(
        &self,
        lines: &HashMap<Path, ManifestFile>,
        checked: &mut CheckedFiles,
    ) -> Result<()> {
        let known = self.known.into_iter().flatten();
        for (path, line) in known {
            if lines.get(path).is_some_and(|now| is_same_line(now, line)) {
                continue;
            }
            let live = load_live(self.table, self.lake.storage(), line).await?;
            for entry in live.entries.iter() {
                checked.note(self.name_of(entry)?, entry, line.partition_spec_id);
            }
        }
        Ok(())
    }

    async fn check_manifest(
        &self,
        path: &Path,
        line: &ManifestFile,
        checked: &mut CheckedFiles,
    ) -> Result<LiveFiles> {
        if checked.manifests.len() >= MANIFESTS_MAX {
            return Err(bad_update(format!(
                "a commit adds more than {MANIFESTS_MAX} manifests"
            )));
        }
        self.check_line_numbers(line)?;
        check_metadata_file(self.lake, self.folder, &line.manifest_path).await?;
        let live = read_live(self.table, self.lake.storage(), line).await;
        let live = live.map_err(|error| as_bad_update(explained(path, error)))?;
        checked.files += live.entries.len();
        if checked.files > FILES_MAX {
            return Err(bad_update(format!(
                "a commit has more than {FILES_MAX} files in new manifests"
            )));
        }
        check_line(self.table, line, &live.entries)?;
        let mut files = LiveFiles::default();
        let mut unknown = Vec::new();
        for entry in live.entries.iter() {
            check_form(self.folder, entry.data_file())?;
            let name = self.name_of(entry)?;
            self.check_origin(checked, &name, entry)?;
            files.add(name, entry)?;
            if !checked
                .entries
                .contains(&fingerprint(entry, line.partition_spec_id))
            {
                unknown.push(ManifestEntryRef::clone(entry));
            }
        }
        let checks = FileChecks {
            lake: self.lake,
            table: self.table,
            folder: self.folder,
            spec_id: line.partition_spec_id,
        };
        checks.run(&unknown).await?;
        for (name, entry) in files.names.iter().zip(live.entries.iter()) {
            checked.note(*name, entry, line.partition_spec_id);
        }
        Ok(files)
    }

    fn check_line_numbers(&self, line: &ManifestFile) -> Result<()> {
        if self
            .table
            .partition_spec_by_id(line.partition_spec_id)
            .is_none()
        {
            let spec = line.partition_spec_id;
            return Err(bad_update(format!(
                "a manifest has the unknown partition spec {spec}"
            )));
        }
        let is_later = line.sequence_number > self.snapshot.sequence_number();
        match self.is_numbered() && (is_later || line.sequence_number < 0) {
            true => Err(bad_update(
                "a manifest has a sequence number after that of its snapshot",
            )),
            false => Ok(()),
        }
    }

    /// Where a file of the snapshot comes from: its sequence number decides which deletes apply to it, and what is new.
    fn check_origin(
        &self,
        checked: &CheckedFiles,
        name: &Fingerprint,
        entry: &ManifestEntryRef,
    ) -> Result<()> {
        if !self.is_numbered() {
            return Ok(());
        }
        let sequence = entry.sequence_number().unwrap_or(-1);
        let own = self.snapshot.sequence_number();
        if !(0..=own).contains(&sequence) {
            return Err(bad_update(
                "a file has a sequence number after that of its snapshot, or none",
            ));
        }
        let is_added = entry.status() == ManifestStatus::Added
            && entry.snapshot_id() == Some(self.snapshot.snapshot_id());
        if is_added {
            let is_append = self.snapshot.summary().operation == Operation::Append;
            return match is_append && sequence != own {
                true => Err(bad_update(
                    "an append adds a file under an older sequence number",
                )),
                false => Ok(()),
            };
        }
        match (checked.sequences.get(name), self.known) {
            (Some(known), _) if *known != sequence => Err(bad_update(
                "a file that was there has another sequence number than before",
            )),
            (None, Some(_)) => Err(bad_update(
                "a file that the snapshot does not add is not in its parent",
            )),
            _ => Ok(()),
        }
    }

    /// Since version 2 files have sequence numbers.
    fn is_numbered(&self) -> bool {
        self.table.format_version() > FormatVersion::V1
    }

    fn name_of(&self, entry: &ManifestEntryRef) -> Result<Fingerprint> {
        let file = entry.data_file();
        let path = self.lake.storage().path(file.file_path())?;
        Ok(cut(Sha256::digest(file_key(&path, file))))
    }
}

impl CheckedFiles {
    fn has(&self, path: &Path, line: &ManifestFile) -> bool {
        let known = self.manifests.get(path);
        known.is_some_and(|known| is_same_line(&known.line, line))
    }

    fn note(&mut self, name: Fingerprint, entry: &ManifestEntryRef, spec_id: i32) {
        self.sequences
            .insert(name, entry.sequence_number().unwrap_or(0));
        self.entries.insert(fingerprint(entry, spec_id));
    }
}

impl LiveFiles {
    fn add(&mut self, name: Fingerprint, entry: &ManifestEntryRef) -> Result<()> {
        self.names.push(name);
        self.rows = add_rows(self.rows, entry.record_count())?;
        Ok(())
    }
}

/// The live files of the snapshot so far.
#[derive(Default)]
struct LiveNames {
    names: HashSet<Fingerprint>,
    rows: u64,
}

impl LiveNames {
    fn add_known(&mut self, files: &LiveFiles) -> Result<()> {
        self.names.extend(&files.names);
        self.rows = add_rows(self.rows, files.rows)?;
        Ok(())
    }

    fn add_new(&mut self, files: &LiveFiles) -> Result<()> {
        self.rows = add_rows(self.rows, files.rows)?;
        match files.names.iter().all(|name| self.names.insert(*name)) {
            true => Ok(()),
            false => Err(bad_update(
                "the snapshot has a file twice, so its rows would be doubled",
            )),
        }
    }
}

fn add_rows(rows: u64, more: u64) -> Result<u64> {
    let sum = rows.checked_add(more).filter(|sum| *sum <= ROWS_MAX);
    sum.ok_or_else(|| bad_update(format!("the table would have more than {ROWS_MAX} rows")))
}

/// Whether two lists say the same of a manifest, as far as scans use it.
fn is_same_line(one: &ManifestFile, other: &ManifestFile) -> bool {
    let figures = |line: &ManifestFile| {
        (
            (line.content, line.partition_spec_id),
            (line.sequence_number, line.added_snapshot_id),
            (line.added_files_count, line.existing_files_count),
            (line.added_rows_count, line.existing_rows_count),
        )
    };
    figures(one) == figures(other) && one.partitions == other.partitions
}

/// All that is compared with the file, and the partition.
fn fingerprint(entry: &ManifestEntryRef, spec_id: i32) -> Fingerprint {
    let file = entry.data_file();
    let mut hash = Sha256::new();
    let mut add = |part: String| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(file.file_path().to_owned());
    add(format!(
        "{:?} {:?} {spec_id}",
        file.content_type(),
        file.file_format()
    ));
    add(format!(
        "{} {}",
        file.record_count(),
        file.file_size_in_bytes()
    ));
    add(format!(
        "{:?} {:?}",
        file.content_offset(),
        file.content_size_in_bytes()
    ));
    add(format!(
        "{:?} {:?}",
        file.referenced_data_file(),
        file.split_offsets()
    ));
    add(format!("{:?}", file.partition()));
    let mut nulls: Vec<_> = file.null_value_counts().iter().collect();
    nulls.sort_unstable();
    add(format!("{nulls:?}"));
    for bounds in [file.lower_bounds(), file.upper_bounds()] {
        let mut bounds: Vec<_> = bounds.iter().collect();
        bounds.sort_unstable_by_key(|(id, _)| **id);
        add(format!("{bounds:?}"));
    }
    let mut nans: Vec<_> = file.nan_value_counts().iter().collect();
    nans.sort_unstable();
    add(format!("{nans:?}"));
    cut(hash.finalize())
}

fn cut(digest: impl AsRef<[u8]>) -> Fingerprint {
    let mut cut = Fingerprint::default();
    cut.iter_mut()
        .zip(digest.as_ref())
        .for_each(|(byte, from)| *byte = *from);
    cut
}

/// Why a manifest cannot be read, in one message: a client sees no causes.
fn explained(path: &Path, error: Error) -> Error {
    let name = path.filename().unwrap_or_default();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    let what = format!("{} {name}{}", error.message(), cause.unwrap_or_default());
    match error.code() {
        "iceberg_invalid" => bad_update(what).with_source(error),
        _ => error,
    }
}
