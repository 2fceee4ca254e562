//! Files of a folder, each taken once.
//!
//! ```yaml
//! pipeline: readings
//! source:
//!   file: {path: "data/*.ndjson", settle: 10s}
//! extract:
//!   json: {}
//! load:
//!   stdout: {format: ndjson}
//! ```
//!
//! A file is known by its path, size and content: the same name with new content is taken again, as a new payload. A file
//! that changes while it is read is left for the next run. `.gz` and `.zst` files (by first bytes, else by name) are
//! decompressed on the way to the extractor and kept compressed in the raw zone. Only regular files are read: a pipe, a
//! device or a link that leads out of the project and of the folder that `path` names is passed over with a warning.
//! Names that begin with a dot are matched only by a pattern that begins with one. The source never writes.
//!
//! Where records are lines, a large uncompressed file can be committed in the middle; a later run goes on there after it
//! has checked that what was taken is still the same.

mod list;
mod read;
mod taken;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::unit::Span;
use forebay_core::{Error, Ident, Position, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::file::Document;
use crate::source::{Source, SourceContext, SourceKind, SplitReader};

/// `source: {file: …}`.
#[derive(Debug)]
pub struct Kind;

/// Takes files of a folder, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// A file, or a pattern with `*`, `?`, `[…]` and `**`; relative to the project folder.
    pub path: String,
    /// A file that changed more recently than this is left for the next run: somebody may still be writing it.
    #[serde(default = "no_time")]
    pub settle: Span,
    /// The order in which files are taken.
    #[serde(default)]
    pub order: Order,
}

/// The order in which files are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By path.
    #[default]
    Name,
    /// The file that changed longest ago first.
    Modified,
}

fn no_time() -> Span {
    Span(std::time::Duration::ZERO)
}

impl SourceKind for Kind {
    fn name(&self) -> &'static str {
        "file"
    }

    fn summary(&self) -> &'static str {
        "files of a folder, each taken once"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<FileConfig>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Source>> {
        let file: FileConfig = config.parse()?;
        let place = config.get("path").unwrap_or_else(|| config.clone());
        let pattern =
            list::Pattern::parse(&file.path).map_err(|what| place.error("bad_path", what))?;
        Ok(Box::new(Files {
            config: file,
            pattern,
        }))
    }
}

/// A configured file source.
#[derive(Debug)]
struct Files {
    config: FileConfig,
    pattern: list::Pattern,
}

/// The one split: files are few and large more often than many and small.
const SPLIT: &str = "files";

#[async_trait]
impl Source for Files {
    async fn splits(&self, _context: &SourceContext) -> Result<Vec<Ident>> {
        Ok(vec![SPLIT.parse()?])
    }

    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let state = match position {
            Some(position) if !context.full => taken::State::read(position)?,
            _ => taken::State::default(),
        };
        let (pattern, project) = (self.pattern.clone(), context.project.clone());
        let found = blocking(move || pattern.list(&project)).await?;
        let files = self.select(found, &context, &state);
        Ok(Box::new(read::Reader::new(Arc::new(context), state, files)))
    }
}

impl Files {
    /// The files to look at, in order. The one that was left in the middle comes first.
    fn select(
        &self,
        mut found: Vec<list::Found>,
        context: &SourceContext,
        state: &taken::State,
    ) -> Vec<list::Found> {
        let now = context.clock.now();
        let settle = self.config.settle.0;
        let left = state.partial.as_ref().map(|partial| partial.file.as_str());
        found.retain(|file| {
            let settled = settle.is_zero() || now.since(file.stat.modified) >= settle;
            if !settled {
                tracing::info!(file = %file.name, "left for the next run: it changed less than `settle` ago");
            }
            settled || Some(file.name.as_str()) == left
        });
        match self.config.order {
            Order::Name => found.sort_by(|a, b| a.path.cmp(&b.path)),
            Order::Modified => {
                found.sort_by(|a, b| (a.stat.modified, &a.path).cmp(&(b.stat.modified, &b.path)));
            }
        }
        found.sort_by_key(|file| Some(file.name.as_str()) != left);
        found
    }
}

/// Runs file system calls off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::bug("file_task", "a file task panicked").with_source(error))?
}

/// A path as people see it: below the project without the project, bytes that are no text as `\xNN`.
fn shown(path: &std::path::Path, project: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let path: PathBuf = path.strip_prefix(project).unwrap_or(path).to_owned();
    let chunks = path.as_os_str().as_bytes().utf8_chunks();
    chunks
        .map(|chunk| {
            let escaped: String = chunk
                .invalid()
                .iter()
                .map(|byte| format!("\\x{byte:02x}"))
                .collect();
            let text: String = chunk.valid().chars().flat_map(plain).collect();
            text + &escaped
        })
        .collect()
}

/// Control characters would reach terminals and logs.
fn plain(character: char) -> Vec<char> {
    if character.is_control() {
        character.escape_default().collect()
    } else {
        vec![character]
    }
}
