//! `forebay docs`, for developers: writes the reference.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use forebay_core::{Error, Result};

use crate::reference;

#[derive(Debug, Args)]
pub(crate) struct Docs {
    /// Folder of the pages
    folder: PathBuf,
}

impl Docs {
    pub(super) fn run(&self) -> Result<ExitCode> {
        for page in reference::pages(super::command())? {
            let path = self.folder.join(page.name);
            #[expect(
                clippy::disallowed_methods,
                reason = "a page that can be written again"
            )]
            let written = std::fs::create_dir_all(&self.folder)
                .and_then(|()| std::fs::write(&path, &page.text));
            written.map_err(|error| {
                let message = format!("failed to write {}", path.display());
                Error::unavailable("write_failed", message).with_source(error)
            })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_is_what_the_code_declares() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
        let pages = reference::pages(super::super::command()).unwrap();
        let write = reference::COMMAND;
        for page in &pages {
            let path = folder.join(page.name);
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                kept == page.text,
                "docs/reference/{} differs from the code: run `{write}`",
                page.name
            );
        }
        for entry in std::fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(
                pages.iter().any(|page| *page.name == name),
                "docs/reference/{name:?} is no page: delete it"
            );
        }
    }
}
