//! Files of a new project.

use std::borrow::Cow;
use std::path::Path;

use forebay_core::{Error, Result};

pub(crate) const SETTINGS: &str = include_str!("../../assets/demo/forebay.toml");
const QUAKES: &str = include_str!("../../assets/demo/pipelines/quakes.yaml");
const TEST: &str = include_str!("../../assets/demo/tests/quakes.sql");

/// A file to write below a project's folder.
pub(crate) struct File {
    pub(crate) path: Cow<'static, str>,
    text: String,
}

impl File {
    pub(crate) fn new(path: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Writes the file unless it exists: edits of the user stay.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(self.path.as_ref());
        if path.exists() {
            return Ok(());
        }
        let failed = |error| {
            Error::unavailable(
                "write_failed",
                format!("failed to write {}", path.display()),
            )
            .with_source(error)
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a file of the user's, who sees whether it is there"
        )]
        std::fs::write(&path, &self.text).map_err(failed)
    }
}

/// JSON Schema of pipeline files, for editors.
pub(crate) fn pipeline_schema() -> Result<File> {
    let schema = forebay_pipeline::spec::pipeline_schema();
    let text = serde_json::to_string_pretty(&schema).map_err(|error| {
        Error::bug("schema_json", "failed to write the schema").with_source(error)
    })?;
    Ok(File::new("pipeline.schema.json", text + "\n"))
}

/// The demo's project.
pub(super) fn demo() -> Result<Vec<File>> {
    Ok(vec![
        File::new("forebay.toml", SETTINGS),
        File::new("pipelines/quakes.yaml", QUAKES),
        File::new("tests/quakes.sql", TEST),
        File::new(".gitignore", ".forebay/\n"),
        pipeline_schema()?,
    ])
}
