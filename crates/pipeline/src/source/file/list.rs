//! Finding files: a pattern to the regular files that match it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use forebay_core::{Error, Result, Timestamp};

use super::shown;

/// Most files that one pattern may match.
const FILES_MAX: usize = 1_000_000;

/// Deepest folder that `**` goes down to.
const DEPTH_MAX: usize = 64;

const MATCH: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// A checked `path`.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// The folders before the first wildcard.
    fixed: PathBuf,
    /// What follows, folder by folder; empty for a plain path.
    rest: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    /// `**`: any number of folders.
    Any,
    One(glob::Pattern),
}

/// What identifies a state of a file without reading it. Any change of the content changes `changed`, which nobody can
/// set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) size: u64,
    pub(super) modified: Timestamp,
    /// Nanoseconds.
    pub(super) changed: (i64, i64),
    pub(super) inode: u64,
    pub(super) device: u64,
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let micros = metadata
            .mtime()
            .saturating_mul(1_000_000)
            .saturating_add(metadata.mtime_nsec() / 1_000);
        Self {
            size: metadata.size(),
            modified: Timestamp(micros),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }
}

/// A change this close to now may be followed by another that leaves the same times.
const FRESH: std::time::Duration = std::time::Duration::from_secs(2);

impl Stat {
    /// Whether the file changed so recently that a further change might not show.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let changed = Timestamp(
            self.changed
                .0
                .saturating_mul(1_000_000)
                .saturating_add(self.changed.1 / 1_000),
        );
        now.since(changed) < FRESH && changed.since(now) < FRESH
    }
}

/// A regular file.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// For people, and as identity: the path below the project.
    pub(super) name: String,
    pub(super) stat: Stat,
}

impl Pattern {
    /// Says what is wrong with a pattern that cannot be.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "`path` is empty: write a file or a pattern such as `data/*.csv`".to_owned(),
            );
        }
        if text.contains('\0') {
            return Err("`path` holds a NUL byte".to_owned());
        }
        if text.contains("://") {
            return Err(format!(
                "{text:?} is a URL: this source reads local files, `http` reads URLs"
            ));
        }
        let is_wild = |part: &str| part.contains(['*', '?', '[']);
        let mut parts = text.split('/').peekable();
        let mut fixed = PathBuf::from(if text.starts_with('/') { "/" } else { "" });
        while let Some(part) = parts.next_if(|part| !is_wild(part)) {
            fixed.push(part);
        }
        let rest = parts
            .filter(|part| !part.is_empty())
            .map(Part::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self { fixed, rest })
    }

    /// The regular files that match.
    ///
    /// Errors: `NotFound` `no_such_file` for a plain path without a file, `Denied` for a folder that may not be read,
    /// `Config` `too_many_files`.
    pub(super) fn list(&self, project: &Path) -> Result<Vec<Found>> {
        let project = project
            .canonicalize()
            .map_err(|error| failed(error, project))?;
        let fixed = project.join(&self.fixed);
        let mut walk = Walk {
            allowed: vec![project.clone()],
            project,
            found: Vec::new(),
        };
        if self.rest.is_empty() {
            walk.allowed
                .extend(fixed.parent().and_then(|folder| folder.canonicalize().ok()));
            walk.plain(&fixed)?;
        } else if let Ok(folder) = fixed.canonicalize() {
            walk.allowed.push(folder);
            walk.folder(&clean(&fixed), &self.rest, 0)?;
        }
        Ok(walk.found)
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Ok(Self::Any);
        }
        let pattern = glob::Pattern::new(text);
        pattern
            .map(Self::One)
            .map_err(|error| format!("{text:?} is not a pattern: {}", error.msg))
    }
}

struct Walk {
    project: PathBuf,
    /// Folders that a link may lead into.
    allowed: Vec<PathBuf>,
    found: Vec<Found>,
}

impl Walk {
    fn plain(&mut self, path: &Path) -> Result<()> {
        if let Err(error) = std::fs::symlink_metadata(path) {
            return Err(failed(error, path)
                .with_hint("check `source.file.path`; it is relative to the project folder"));
        }
        match self.check(path) {
            Ok(()) => Ok(()),
            Err(Refusal::Because(why)) => {
                let what = format!(
                    "{} is not a file that can be taken: {why}",
                    shown(path, &self.project)
                );
                Err(Error::denied("not_a_regular_file", what))
            }
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    fn folder(&mut self, folder: &Path, parts: &[Part], depth: usize) -> Result<()> {
        let Some((part, rest)) = parts.split_first() else {
            return Ok(());
        };
        if matches!(part, Part::Any) && !rest.is_empty() {
            self.folder(folder, rest, depth)?;
        }
        let entries = std::fs::read_dir(folder).map_err(|error| failed(error, folder))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(error, folder))?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match part {
                Part::Any if name.starts_with('.') => {}
                Part::Any if is_folder && depth >= DEPTH_MAX => {
                    self.warn(&path, "it lies too deep");
                }
                Part::Any if is_folder => self.folder(&path, parts, depth + 1)?,
                Part::Any if rest.is_empty() => self.take(&path)?,
                Part::Any => {}
                Part::One(pattern) if !pattern.matches_with(&name, MATCH) => {}
                Part::One(_) if rest.is_empty() && is_folder => {}
                Part::One(_) if rest.is_empty() => self.take(&path)?,
                Part::One(_) if is_folder => self.folder(&path, rest, depth + 1)?,
                Part::One(_) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &Path) -> Result<()> {
        match self.check(path) {
            Ok(()) => Ok(()),
            Err(Refusal::Because(why)) => {
                self.warn(path, why);
                Ok(())
            }
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    /// Adds a regular file, or says why not.
    fn check(&mut self, path: &Path) -> Result<(), Refusal> {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(_) => {
                return Err(Refusal::Because(
                    "it is a link to nothing, or was just removed",
                ));
            }
        };
        if !self.allowed.iter().any(|folder| real.starts_with(folder)) {
            return Err(Refusal::Because(
                "it is a link that leads out of the project",
            ));
        }
        let metadata =
            std::fs::metadata(&real).map_err(|error| Refusal::Failed(failed(error, path)))?;
        if !metadata.is_file() {
            return Err(Refusal::Because(
                "it is not a regular file (a folder, pipe, socket or device)",
            ));
        }
        if self.found.len() >= FILES_MAX {
            let what = format!("`path` matches more than {FILES_MAX} files");
            return Err(Refusal::Failed(
                Error::config("too_many_files", what).with_hint("narrow `source.file.path`"),
            ));
        }
        let name = shown(path, &self.project);
        self.found.push(Found {
            path: path.to_owned(),
            name,
            stat: Stat::of(&metadata),
        });
        Ok(())
    }

    fn warn(&self, path: &Path, why: &str) {
        tracing::warn!(file = %shown(path, &self.project), "passed over: {why}");
    }
}

enum Refusal {
    Because(&'static str),
    Failed(Error),
}

/// Without `.` and needless separators, so that a file has one name.
fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .collect()
}

/// An I/O error as one of ours.
pub(super) fn failed(error: std::io::Error, path: &Path) -> Error {
    use std::io::ErrorKind;
    let what = match error.kind() {
        ErrorKind::NotFound => Error::not_found("no_such_file", "there is no such file"),
        ErrorKind::PermissionDenied => Error::denied("file_denied", "the file may not be read"),
        _ => Error::unavailable("file_read_failed", "failed to read the file"),
    };
    what.with_source(error).with_context("file", path.display())
}
