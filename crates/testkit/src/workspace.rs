//! Folders that tests write to and read from.

use std::path::{Path, PathBuf};

/// A temporary folder that goes away with the value.
#[derive(Debug)]
pub struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    /// # Panics
    /// When the machine has no writable folder for temporary files.
    #[expect(
        clippy::new_without_default,
        reason = "making a folder is not a default"
    )]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("forebay-")
            .tempdir()
            .expect("a temporary folder can be made");
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, with the folders above it, and gives its path.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's input need not outlive a power cut"
    )]
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a folder in the workspace can be made");
        }
        std::fs::write(&path, bytes).expect("a file in the workspace can be written");
        path
    }
}

/// A variable of the environment that a developer sets to look into one case.
#[expect(clippy::disallowed_methods, reason = "only a developer sets it")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Real data stored beside the repository and never committed; `None`, with a line on stderr, where it is absent.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
pub fn shared_data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if folder.is_dir() {
        return folder.canonicalize().ok();
    }
    eprintln!("skipped: no shared data at {}", folder.display());
    None
}

/// Every file below a folder of the shared data, ordered; `None` where the data is absent.
///
/// # Panics
/// When the folder cannot be read.
pub fn shared_files(folder: &str) -> Option<Vec<PathBuf>> {
    let mut folders = vec![shared_data()?.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the shared data can be read") {
            let path = entry
                .expect("a folder of the shared data can be read")
                .path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Some(found)
}
