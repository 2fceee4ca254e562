//! Files that other programs have put below the root: only regular ones are opened. A pipe would never end, a device or a folder
//! fails in words of the system, a symbolic link may lead to the files of others.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path as FsPath, PathBuf};

use forebay_core::{Error, Result};
use forebay_objects::from_objects;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{LakeStorage, LocalRoot, disk_error};

impl LakeStorage {
    /// Bytes of a file in `folder`; `None` when it is missing. On a local disk it is looked at and not opened.
    ///
    /// Errors: `Data` `not_a_file`, `Unsupported` `update_refused` for one that a link in the folder leads out of it.
    pub(crate) async fn file_size(&self, path: &Path, folder: &Path) -> Result<Option<u64>> {
        if let Some(local) = &self.local {
            return local.file_size(path, folder).await;
        }
        match self.objects().head(path).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(from_objects("look for an object", path, error)),
        }
    }
}

impl LocalRoot {
    async fn file_size(&self, path: &Path, folder: &Path) -> Result<Option<u64>> {
        let file = self.file(path);
        let dir = self.file(folder);
        let found = tokio::task::spawn_blocking(move || find(&file, &dir)).await;
        let found = found.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        let found = found.map_err(|e| disk_error("look for a file", path, e))?;
        match found {
            FoundFile::Missing => Ok(None),
            FoundFile::Regular(size) => Ok(Some(size)),
            FoundFile::Other(kind) => Err(not_a_file(path, kind)),
            FoundFile::Outside => {
                let what = "a link leads out of the folder of the table";
                Err(Error::unsupported("update_refused", what).with_context("file", path))
            }
        }
    }

    /// Errors: `Data` `not_a_file`. A missing file is not an error here.
    pub(super) async fn check_regular(&self, path: &Path) -> Result<()> {
        let found = tokio::fs::metadata(self.file(path)).await;
        match found.as_ref().ok().and_then(other_kind) {
            Some(kind) => Err(not_a_file(path, kind)),
            None => Ok(()),
        }
    }
}

enum FoundFile {
    Missing,
    Regular(u64),
    Other(&'static str),
    Outside,
}

fn find(file: &FsPath, folder: &FsPath) -> std::io::Result<FoundFile> {
    let is_missing =
        |e: &std::io::Error| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(e) if is_missing(&e) => return Ok(FoundFile::Missing),
        Err(e) => return Err(e),
    };
    if let Some(kind) = other_kind(&metadata) {
        return Ok(FoundFile::Other(kind));
    }
    let real: PathBuf = std::fs::canonicalize(file)?;
    match real.starts_with(std::fs::canonicalize(folder)?) {
        true => Ok(FoundFile::Regular(metadata.len())),
        false => Ok(FoundFile::Outside),
    }
}

/// What it is, when it is not a regular file.
fn other_kind(metadata: &Metadata) -> Option<&'static str> {
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => None,
        (false, true) => Some("a folder"),
        (false, false) => Some("a pipe or a device"),
    }
}

fn not_a_file(path: &Path, kind: &str) -> Error {
    let what = format!("{path} is {kind}, not a regular file");
    Error::data("not_a_file", what)
}
