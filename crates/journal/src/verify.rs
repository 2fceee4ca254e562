//! Reads a journal on disk to the end, to find missing or damaged records; and accepts a loss.
//!
//! It may run beside the server that writes the journal. Only [`Journals::accept_losses`] changes anything.

use std::fs::File;
use std::path::{Path, PathBuf};

use forebay_core::{Error, Ident, Result};

use super::gap::{accept_gap, list_gaps};
use super::mark::{StoredMark, read_mark};
use super::opened::Journals;
use super::scan::{Found, Scan};
use super::segment::{Folder, Segment, StoredId, failed};
use super::{Limits, Place, blocking};

const DAMAGED_ID: &str = "the file `id` with the journal's name is damaged";

/// A problem of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFinding {
    pub problem: String,
    /// Acknowledged records are gone for good: [`Journals::accept_losses`] lets the pipeline skip them.
    pub is_loss: bool,
}

impl Journals {
    /// Pipelines that have a journal on the disk, or had one.
    pub fn on_this_disk(&self) -> Result<Vec<Ident>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error, &self.folder)),
        };
        let mut pipelines = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(error, &self.folder))?.path();
            let is_mark = path.extension().is_some_and(|found| found == "mark");
            let is_journal = path.is_dir();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(pipeline) = stem.filter(|_| is_mark || is_journal) {
                pipelines.extend(pipeline.parse::<Ident>().ok());
            }
        }
        pipelines.sort();
        pipelines.dedup();
        Ok(pipelines)
    }

    /// The problems of the journal of a pipeline on disk.
    ///
    /// Errors: those of the disk and of the store.
    pub async fn verify(&self, pipeline: &Ident) -> Result<Vec<JournalFinding>> {
        let site = self.disk_site(pipeline);
        // Before the records: a server may be writing.
        let mark = read_mark(&site.mark)?;
        if !site.folder.exists() {
            return Ok(without_folder(&mark).into_iter().collect());
        }
        let folder = Folder {
            path: site.folder.clone(),
        };
        let named = mark.whole().map(|mark| mark.journal.clone());
        let (id, damaged) = match folder.read_id()? {
            StoredId::Whole(id) if folder.has_exact_id(&id)? => (Some(id), None),
            StoredId::Whole(id) => (Some(id), Some(DAMAGED_ID)),
            StoredId::Missing if folder.segments()?.is_empty() => (None, None),
            StoredId::Missing => (
                named,
                Some("the file `id` with the journal's name is missing"),
            ),
            StoredId::Damaged => (named, Some(DAMAGED_ID)),
        };
        let committed = match &id {
            Some(id) => self.committed_offset(pipeline, id).await?,
            None => 0,
        };
        let acknowledged = mark.acknowledged(id.as_ref());
        let mut found = blocking(move || {
            let mut found: Vec<_> = damaged_mark(&site.mark, &mark, &folder)?
                .into_iter()
                .collect();
            found.extend(findings(&folder, committed, acknowledged)?);
            Ok(found)
        })
        .await?;
        found.extend(damaged.map(|problem| JournalFinding {
            problem: problem.to_owned(),
            is_loss: false,
        }));
        Ok(found)
    }

    /// Lets the pipeline skip acknowledged records that are gone; returns the number of ranges.
    ///
    /// Errors: as [`Journals::of`].
    pub async fn accept_losses(&self, pipeline: &Ident) -> Result<usize> {
        // Opening the journal records the missing ranges; a server that has it open has done so.
        match self.of(pipeline, Place::Disk, Limits::default()).await {
            Ok(_) => {}
            Err(error) if error.code() == "journal_open" => {}
            Err(error) => return Err(error),
        }
        let folder = self.disk_site(pipeline).folder;
        let gaps = list_gaps(&folder)?;
        let mut accepted = 0;
        for gap in gaps.into_iter().filter(|gap| gap.is_lost) {
            accept_gap(&folder, gap)?;
            accepted += 1;
        }
        Ok(accepted)
    }
}

fn without_folder(mark: &StoredMark) -> Option<JournalFinding> {
    let problem = match mark {
        StoredMark::Whole(mark) if mark.offset > 0 => format!(
            "journal {} is gone; it was acknowledged up to offset {}",
            mark.journal, mark.offset
        ),
        StoredMark::Damaged => "the journal is gone and its mark is damaged".to_owned(),
        StoredMark::Whole(_) | StoredMark::Missing => return None,
    };
    let is_loss = true;
    Some(JournalFinding { problem, is_loss })
}

/// The finding for a mark without the acknowledged offset of the records in the folder.
fn damaged_mark(path: &Path, mark: &StoredMark, folder: &Folder) -> Result<Option<JournalFinding>> {
    let what = match mark {
        StoredMark::Whole(_) => return Ok(None),
        StoredMark::Damaged => "damaged",
        // A server may have made the journal since the mark was looked for.
        StoredMark::Missing if folder.segments()?.is_empty() || path.exists() => return Ok(None),
        StoredMark::Missing => "missing",
    };
    let problem = format!(
        "the mark {} is {what}: cannot check whether acknowledged pushes are missing from the end of the journal; \
         the next process that opens the journal writes a new mark",
        path.display()
    );
    let is_loss = false;
    Ok(Some(JournalFinding { problem, is_loss }))
}

/// `acknowledged` is `None` when unknown.
pub(super) fn findings(
    folder: &Folder,
    committed: u64,
    acknowledged: Option<u64>,
) -> Result<Vec<JournalFinding>> {
    let keys = folder.damaged_keys()?.into_iter();
    let mut found: Vec<_> = keys.map(damaged_keys).collect();
    for gap in list_gaps(&folder.path)?
        .into_iter()
        .filter(|gap| gap.is_lost)
    {
        found.push(JournalFinding {
            problem: format!(
                "acknowledged pushes are missing: offsets {} to {} ({} bytes)",
                gap.start,
                gap.end,
                gap.end - gap.start
            ),
            is_loss: true,
        });
    }
    let segments = folder.segments()?;
    let mut end = 0;
    for (n, segment) in segments.iter().enumerate() {
        let is_newest = n + 1 == segments.len();
        let read = read_segment(folder, *segment)?;
        end = read.end;
        let is_committed = segment.end <= committed && !is_newest && !read.is_damaged;
        let is_explained = read.end >= segment.end || folder.gap_at(read.end)?.is_some();
        let is_torn = is_newest && acknowledged.is_some_and(|offset| read.end >= offset);
        if is_committed || is_explained || is_torn {
            continue;
        }
        let is_loss = is_newest && acknowledged.is_none();
        if is_newest && !read.is_damaged {
            continue;
        }
        let problem = if read.is_damaged {
            format!(
                "{} is damaged at offset {}",
                segment_name(segment),
                read.end
            )
        } else {
            format!(
                "{} ends at offset {}, the next segment begins at {}",
                segment_name(segment),
                read.end,
                segment.end
            )
        };
        found.push(JournalFinding { problem, is_loss });
    }
    let acknowledged = acknowledged.unwrap_or(0);
    let floor = acknowledged.max(committed);
    if end < floor && folder.gap_at(end)?.is_none() {
        found.push(JournalFinding {
            problem: format!(
                "it ends at offset {end}, but was acknowledged up to {acknowledged} and committed up to {committed}"
            ),
            is_loss: acknowledged > committed.max(end),
        });
    }
    Ok(found)
}

fn damaged_keys(file: PathBuf) -> JournalFinding {
    let name = file.file_name().unwrap_or_default().display().to_string();
    JournalFinding {
        problem: format!(
            "{name} is damaged: repeated pushes under its idempotency keys are accepted again"
        ),
        is_loss: false,
    }
}

fn segment_name(segment: &Segment) -> String {
    format!("segment {:020}", segment.base)
}

struct SegmentEnd {
    end: u64,
    is_damaged: bool,
}

fn read_segment(folder: &Folder, segment: Segment) -> Result<SegmentEnd> {
    let path = folder.file(segment.base);
    let file = File::open(&path).map_err(|error| failed(error, &path))?;
    let mut scan = Scan::new(file, segment.base, segment.base);
    loop {
        let next: Result<Found, Error> = scan.next().map_err(|error| failed(error, &path));
        let is_damaged = match next? {
            Found::Record(..) => continue,
            Found::End => false,
            Found::Damaged(_) => true,
        };
        return Ok(SegmentEnd {
            end: scan.offset,
            is_damaged,
        });
    }
}
