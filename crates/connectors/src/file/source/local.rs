//! Files of the local disk: a pattern to the regular files that match it, and reading them.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Error, Result, Timestamp};

use super::folder::{DEPTH_MAX, Folder, Found, Identity, OpenFile, Stat};
use super::listing::Listed;
use super::pattern::{Part, Pattern};
use super::{blocking, nothing, shown};

/// Files below a project that match a pattern.
#[derive(Debug)]
pub(super) struct LocalFolder {
    pub(super) pattern: Pattern,
    pub(super) project: PathBuf,
    /// Files of the workspace are never read through a link.
    pub(super) workspace: PathBuf,
}

#[async_trait]
impl Folder for LocalFolder {
    async fn list(&self, listed: Listed) -> Result<Listed> {
        let pattern = self.pattern.clone();
        let project = self.project.clone();
        let workspace = self.workspace.clone();
        blocking(move || list(&pattern, &project, &workspace, listed)).await
    }

    async fn explain_nothing(&self) -> Result<String> {
        let pattern = self.pattern.clone();
        let project = self.project.clone();
        blocking(move || Ok(nothing::explain(&pattern, &project))).await
    }

    async fn open(&self, found: &Found) -> Result<Option<Box<dyn OpenFile>>> {
        let path = found.path.clone();
        let bounds = Bounds::new(&self.pattern, &self.project, &self.workspace)?;
        blocking(move || match open_regular(&path, &bounds) {
            Ok((file, stat)) => Ok(Some(Box::new(LocalFile {
                file: Arc::new(file),
                path,
                stat,
            }) as Box<dyn OpenFile>)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error, &path)),
        })
        .await
    }
}

struct LocalFile {
    file: Arc<File>,
    path: PathBuf,
    stat: Stat,
}

#[async_trait]
impl OpenFile for LocalFile {
    fn stat(&self) -> &Stat {
        &self.stat
    }

    async fn read(&mut self, offset: u64, limit: usize, room: &mut Vec<u8>) -> Result<usize> {
        let file = Arc::clone(&self.file);
        let path = self.path.clone();
        let mut bytes = std::mem::take(room);
        let (bytes, got) = blocking(move || {
            let before = bytes.len();
            bytes.resize(before + limit, 0);
            let got = read_full(&file, offset, &mut bytes[before..])
                .map_err(|error| failed(error, &path))?;
            bytes.truncate(before + got);
            Ok((bytes, got))
        })
        .await?;
        *room = bytes;
        Ok(got)
    }

    /// A file that another one was moved over counts as changed.
    async fn unchanged(&mut self) -> Result<bool> {
        let path = self.path.clone();
        let expected = self.stat.clone();
        blocking(move || {
            Ok(std::fs::metadata(&path).is_ok_and(|metadata| stat_of(&metadata) == expected))
        })
        .await
    }

    async fn has_only_grown(&mut self) -> Result<bool> {
        let file = Arc::clone(&self.file);
        let size = self.stat.size;
        blocking(move || {
            Ok(file
                .metadata()
                .is_ok_and(|metadata| metadata.size() >= size))
        })
        .await
    }
}

fn stat_of(metadata: &Metadata) -> Stat {
    let micros = metadata
        .mtime()
        .saturating_mul(1_000_000)
        .saturating_add(metadata.mtime_nsec() / 1_000);
    Stat {
        size: metadata.size(),
        modified: Timestamp(micros),
        identity: Identity::Inode {
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        },
    }
}

/// Folders that may contain a file once its links are resolved.
#[derive(Debug, Clone)]
struct Bounds {
    /// The folder before the first wildcard, or that of a plain path.
    folder: Option<PathBuf>,
    /// The workspace, unless the path itself names it.
    barred: Option<PathBuf>,
}

impl Bounds {
    fn new(pattern: &Pattern, project: &Path, workspace: &Path) -> Result<Self> {
        let project = project
            .canonicalize()
            .map_err(|error| failed(error, project))?;
        let fixed = project.join(&pattern.fixed);
        let folder = if pattern.rest.is_empty() {
            fixed.parent().and_then(|folder| folder.canonicalize().ok())
        } else {
            fixed.canonicalize().ok()
        };
        let workspace = workspace.canonicalize().ok();
        let is_named = folder
            .as_ref()
            .zip(workspace.as_ref())
            .is_some_and(|(folder, workspace)| folder.starts_with(workspace));
        Ok(Self {
            folder,
            barred: workspace.filter(|_| !is_named),
        })
    }

    fn allow(&self, real: &Path) -> bool {
        let is_barred = self
            .barred
            .as_ref()
            .is_some_and(|barred| real.starts_with(barred));
        let is_inside = self
            .folder
            .as_ref()
            .is_some_and(|folder| real.starts_with(folder));
        is_inside && !is_barred
    }
}

/// Opens a regular file without ever waiting for a pipe. A link may have replaced it since it was listed, so the open
/// file is compared with the file at the path, links resolved.
fn open_regular(path: &Path, bounds: &Bounds) -> std::io::Result<(File, Stat)> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no longer a regular file"));
    }
    let real = path.canonicalize()?;
    let there = std::fs::symlink_metadata(&real)?;
    let is_same = (there.dev(), there.ino()) == (metadata.dev(), metadata.ino());
    if !is_same || !bounds.allow(&real) {
        return Err(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "the path leads to another file now",
        ));
    }
    let stat = stat_of(&metadata);
    Ok((file, stat))
}

fn read_full(file: &File, offset: u64, mut room: &mut [u8]) -> std::io::Result<usize> {
    let mut total = 0;
    while !room.is_empty() {
        match file.read_at(room, offset + total as u64) {
            Ok(0) => break,
            Ok(got) => {
                total += got;
                room = &mut room[got..];
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// The regular files that match.
///
/// Errors: `NotFound` `no_such_file` for a plain path without a file, `Denied` for a folder that may not be read,
/// and those of [`Listed::take`].
fn list(pattern: &Pattern, project: &Path, workspace: &Path, listed: Listed) -> Result<Listed> {
    let bounds = Bounds::new(pattern, project, workspace)?;
    let project = project
        .canonicalize()
        .map_err(|error| failed(error, project))?;
    let fixed = project.join(&pattern.fixed);
    let literal = clean(&project.join(&pattern.text));
    let mut walk = Walk {
        bounds,
        project,
        listed,
        literal: literal.clone(),
        has_literal: false,
    };
    if pattern.rest.is_empty() {
        walk.plain(&fixed)?;
    } else if fixed.canonicalize().is_ok() {
        walk.folder(&clean(&fixed), &pattern.rest, 0)?;
        // A file may be named `[x].csv`.
        if !walk.has_literal && literal.is_file() {
            walk.take(&literal)?;
        }
    }
    Ok(walk.listed)
}

struct Walk {
    project: PathBuf,
    /// Where a link may lead.
    bounds: Bounds,
    listed: Listed,
    /// The path of a file that is named like the pattern, and whether it was found.
    literal: PathBuf,
    has_literal: bool,
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
                let name = shown(path, &self.project);
                let what = format!("{name} is not a file that can be loaded: {why}");
                let error = Error::denied("not_a_regular_file", what);
                Err(match path.is_dir() {
                    true => error.with_hint(format!("write `{name}/` for all files below it, or a pattern such as `{name}/*.csv`")),
                    false => error,
                })
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
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match part {
                Part::Any if !part.takes(&name) => {}
                Part::Any if is_folder && depth >= DEPTH_MAX => {
                    self.warn(&path, "nested too deep");
                }
                Part::Any if is_folder => self.folder(&path, parts, depth + 1)?,
                Part::Any if rest.is_empty() => self.take(&path)?,
                Part::Any => {}
                Part::One(_) if !part.takes(&name) => {}
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

    /// Adds a regular file, or returns why not.
    fn check(&mut self, path: &Path) -> Result<(), Refusal> {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(_) => {
                return Err(Refusal::Because(
                    "it is a link to nothing, or was just removed",
                ));
            }
        };
        if !self.bounds.allow(&real) {
            return Err(Refusal::Because(
                "it is a link that leads out of the folder of `path`, or into the workspace",
            ));
        }
        let metadata = std::fs::symlink_metadata(&real)
            .map_err(|error| Refusal::Failed(failed(error, path)))?;
        if !metadata.is_file() {
            return Err(Refusal::Because(
                "it is not a regular file (a folder, pipe, socket or device)",
            ));
        }
        self.has_literal |= path == self.literal;
        let found = Found {
            path: path.to_owned(),
            name: shown(path, &self.project),
            stat: stat_of(&metadata),
        };
        self.listed.take(found).map_err(Refusal::Failed)
    }

    fn warn(&self, path: &Path, why: &str) {
        tracing::warn!(file = %shown(path, &self.project), "skipped: {why}");
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

/// Converts an I/O error.
fn failed(error: std::io::Error, path: &Path) -> Error {
    use std::io::ErrorKind;
    let what = match error.kind() {
        ErrorKind::NotFound => Error::not_found("no_such_file", "file not found"),
        ErrorKind::PermissionDenied => Error::denied("file_denied", "the file may not be read"),
        _ => Error::unavailable("file_read_failed", "failed to read the file"),
    };
    what.with_source(error).with_context("file", path.display())
}
