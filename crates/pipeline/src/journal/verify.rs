//! Reading a journal on the disk to the end, to find what is missing or damaged; and accepting a loss.
//!
//! It may run beside the server that writes the journal. Nothing is changed but by [`Journals::accept_losses`].

use std::fs::File;
use std::path::PathBuf;

use forebay_core::{Error, Ident, Result};

use super::gap::{accept_gap, list_gaps};
use super::mark::read_mark;
use super::opened::Journals;
use super::scan::{Found, Scan};
use super::segment::{Folder, Segment, StoredId, failed};
use super::{Limits, Place, blocking};

/// Something that is wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFinding {
    pub problem: String,
    /// Acknowledged records are gone for good: [`Journals::accept_losses`] lets the pipeline pass over them.
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
            let is_journal = path.join("id").exists();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(pipeline) = stem.filter(|_| is_mark || is_journal) {
                pipelines.extend(pipeline.parse::<Ident>().ok());
            }
        }
        pipelines.sort();
        pipelines.dedup();
        Ok(pipelines)
    }

    /// What is wrong with the journal of a pipeline on the disk.
    ///
    /// Errors: those of the disk and of the store.
    pub async fn verify(&self, pipeline: &Ident) -> Result<Vec<JournalFinding>> {
        let site = self.disk_site(pipeline);
        // Before the records: a server may be writing.
        let mark = read_mark(&site.mark)?;
        if !site.folder.exists() {
            let lost = mark.filter(|mark| mark.offset > 0);
            let finding = lost.map(|mark| JournalFinding {
                problem: format!(
                    "journal {} is gone; it was acknowledged up to offset {}",
                    mark.journal, mark.offset
                ),
                is_loss: true,
            });
            return Ok(finding.into_iter().collect());
        }
        let folder = Folder {
            path: site.folder.clone(),
        };
        let (id, damaged) = match folder.read_id()? {
            StoredId::Whole(id) => (Some(id), None),
            StoredId::Missing => (None, None),
            StoredId::Damaged => {
                let named = mark.as_ref().map(|mark| mark.journal.clone());
                (
                    named,
                    Some("the file `id` with the journal's name is damaged"),
                )
            }
        };
        let committed = match &id {
            Some(id) => self.committed_offset(pipeline, id).await?,
            None => 0,
        };
        let own = mark.filter(|mark| id.as_ref() == Some(&mark.journal));
        let acknowledged = own.map_or(0, |mark| mark.offset);
        let mut found = blocking(move || findings(&folder, committed, acknowledged)).await?;
        found.extend(damaged.map(|problem| JournalFinding {
            problem: problem.to_owned(),
            is_loss: false,
        }));
        Ok(found)
    }

    /// Lets the pipeline pass over acknowledged records that are gone; gives how many ranges there were.
    ///
    /// Errors: as [`Journals::of`].
    pub async fn accept_losses(&self, pipeline: &Ident) -> Result<usize> {
        // Whoever opens the journal writes down what is missing; a server that has it open has done so.
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

fn findings(folder: &Folder, committed: u64, acknowledged: u64) -> Result<Vec<JournalFinding>> {
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
        let is_committed = segment.end <= committed && !is_newest;
        let is_explained = read.end >= segment.end || folder.gap_at(read.end)?.is_some();
        let is_torn = is_newest && read.end >= acknowledged;
        if is_committed || is_explained || is_torn {
            continue;
        }
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
        let is_loss = false;
        found.push(JournalFinding { problem, is_loss });
    }
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
            "{name} is damaged: pushes that are repeated under its idempotency keys are taken again"
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
