//! Where statements spill and payloads are decompressed: folders below the workspace's `spill`, each deleted when its work is done.
//!
//! A killed process leaves its folder; the next one that makes a folder removes it. A lock file beside each folder, which the
//! system unlocks when the process ends in any way, marks the folders in use. Where nothing can be locked, nothing is removed.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Held while folders are made and removed, so that no process takes a folder for left behind that is being made.
const GUARD: &str = "guard.lock";
/// Names that are tried for a new folder: another container may have the same process id.
const NAMES_MAX: usize = 1_000;

/// Folders made by this process.
static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// A folder to spill to, removed when this is dropped.
#[derive(Debug)]
pub struct SpillFolder {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl SpillFolder {
    /// Makes a folder below `root`, and removes those that ended processes left there. Blocks.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let guard = open(&root.join(GUARD))?;
        match guard.lock() {
            Ok(()) => remove_leftovers(root),
            Err(error) => tracing::debug!(%error, "cannot lock the spill folder"),
        }
        for _ in 0..NAMES_MAX {
            let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let path = root.join(format!("{}-{number}", std::process::id()));
            if path.exists() {
                continue;
            }
            let lock = open(&lock_of(&path))?;
            // A file system without locks has no process that removes leftovers either.
            let _ = lock.try_lock();
            std::fs::create_dir(&path)?;
            return Ok(Self { path, _lock: lock });
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

fn lock_of(folder: &Path) -> PathBuf {
    folder.with_extension("lock")
}

/// Best effort: a failed removal is retried with the next folder.
fn remove_leftovers(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_lock = path
            .extension()
            .is_some_and(|extension| extension == "lock");
        let folder = path.with_extension("");
        if entry.file_name() == GUARD || (is_lock && folder.exists()) {
            continue;
        }
        if !is_in_use(&folder) {
            remove(&folder);
        }
    }
}

/// Whether a process holds the folder's lock. A folder without a lock file was left by a version that had none.
fn is_in_use(folder: &Path) -> bool {
    match File::open(lock_of(folder)) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
        },
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn remove(folder: &Path) {
    let removed = match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::remove_file(lock_of(folder)),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(%error, folder = %folder.display(), "failed to remove a spill folder");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(root).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != GUARD)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_stays() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spill");
        let used = SpillFolder::create(&root).unwrap();
        File::create(used.path().join("rows")).unwrap();
        for left in ["1-0", "datafusion-abc"] {
            std::fs::create_dir(root.join(left)).unwrap();
            File::create(root.join(left).join("rows")).unwrap();
        }
        File::create(root.join("1-0.lock")).unwrap();
        File::create(root.join("2-0.lock")).unwrap();
        let own = SpillFolder::create(&root).unwrap();
        assert_eq!(names(&root).len(), 4, "{:?}", names(&root));
        assert!(used.path().join("rows").exists());
        drop(own);
        drop(used);
        assert_eq!(names(&root), Vec::<String>::new());
    }
}
