//! Files of a folder or a bucket, each loaded once.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! A file is identified by its path and content, and after a move by its content and modification time. The same name
//! with new content, even content that it had before, is loaded again as a new payload. If a file of lines has grown
//! and still begins with the content loaded before, only the appended part is loaded, with its header (`recognize.rs`).
//! A file that changes while it is read is left for the next run. `.gz` and `.zst` files (detected by their first
//! bytes, else by name) are decompressed on the way to the extractor and kept compressed in the raw zone. Only regular
//! files are read: a pipe, a device, or a link that leads out of the folder before the first wildcard or into the
//! workspace, is skipped with a warning. Names that begin with a dot match only a pattern that begins with one. The
//! source never writes.
//!
//! Where records are lines, a large uncompressed file can be committed in the middle; a later run resumes there after
//! it has checked that the part already loaded is unchanged.
//!
//! Objects of an S3-compatible store are read by the same rules:
//!
//! ```yaml
//! pipeline: readings
//! source:
//!   file:
//!     path: "s3://bucket/readings/**/*.ndjson.gz"
//!     s3: {endpoint: "https://minio.example.org", access_key_id: me, secret_access_key: "${secret:minio}"}
//! extract:
//!   json: {}
//! load:
//!   stdout: {format: ndjson}
//! ```
//!
//! A path that ends with `/` means everything below it. Only keys below the folders before the first wildcard are
//! listed. An object whose entity tag is the same is not read again.

mod compressed;
mod digest;
mod folder;
mod followed;
mod growth;
mod listing;
mod local;
mod nothing;
mod object;
mod older;
mod opened;
mod pattern;
mod read;
mod recognize;
mod record;
mod rotation;
mod streams;
mod taken;
mod taken_files;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::unit::Span;
use forebay_core::{Error, Ident, Position, Result};
use forebay_objects::{AwsVariables, RETRY_FOR, S3Options, StorageUrl};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::folder::{Folder, Found};
use self::listing::{Listed, Listing, Recognition, Renamed};
use self::pattern::Pattern;
use crate::source::{Source, SourceCapabilities, SourceContext, SourceKind, SplitReader};
use forebay_config::{Component, Document};
use forebay_formats::file_columns::{FileColumns, FileRules};

/// `source: {file: …}`.
#[derive(Debug)]
pub struct Kind;

/// Loads files of a folder or a bucket, each once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// A file, or a pattern with `*`, `?`, `[…]` and `**`; relative to the project folder, or `s3://BUCKET/…`.
    pub path: String,
    /// Connection settings for an `s3://` path.
    #[serde(default)]
    pub s3: Option<S3Options>,
    /// A file that changed more recently than this is left for the next run: it may still be written.
    #[serde(default = "no_time")]
    pub settle: Span,
    /// The order in which files are loaded.
    #[serde(default)]
    pub order: Order,
    /// Whether a file that grew is followed: only the appended part is loaded. By default a file of lines is followed
    /// when it begins with the content loaded before. `true` also leaves an incomplete last line for later and follows
    /// a renamed file; `false` loads the whole file again.
    #[serde(default)]
    pub follow: Option<bool>,
    /// How files are identified.
    #[serde(default)]
    pub identity: FileIdentity,
    /// Columns for the source file of a row.
    #[serde(default)]
    pub columns: FileColumns,
    /// Adds columns for Hive partition folders such as `date=2025-01-31`, of text or of their declared type.
    #[serde(default)]
    pub hive: bool,
}

/// How files are identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileIdentity {
    /// Path and content; a file that was moved (same content and time, the old path is gone) is the same.
    #[default]
    Auto,
    /// Path and content: a moved file is a new file.
    Name,
    /// Content alone: one of several files with the same content is loaded.
    Content,
}

/// The order in which files are loaded.
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

impl Component for Kind {
    fn name(&self) -> &'static str {
        "file"
    }

    fn summary(&self) -> &'static str {
        "files of a folder or a bucket, each loaded once"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<FileConfig>()
    }
}

impl SourceKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Source>> {
        let file: FileConfig = config.parse()?;
        let at = |key| config.get(key).unwrap_or_else(|| config.clone());
        let place = Place::of(&file.path).map_err(|what| at("path").error("bad_path", what))?;
        if let Some(s3) = &file.s3 {
            s3.check()
                .map_err(|what| at("s3").error("bad_s3_options", what))?;
            if matches!(place, Place::Local(_)) {
                let what = "`s3` is set, but `path` is not an `s3://` path";
                return Err(at("s3").error("bad_s3_options", what));
            }
        }
        let rules = FileRules {
            columns: file.columns.clone(),
            hive: file.hive,
        };
        Ok(Box::new(Files {
            config: file,
            place,
            rules,
        }))
    }
}

/// A configured file source.
#[derive(Debug)]
struct Files {
    config: FileConfig,
    place: Place,
    rules: FileRules,
}

/// A checked `path`.
#[derive(Debug, Clone)]
enum Place {
    Local(Pattern),
    Bucket { bucket: String, pattern: Pattern },
}

impl Place {
    fn of(path: &str) -> Result<Self, String> {
        Ok(match StorageUrl::parse(path)? {
            StorageUrl::Local(path) => Self::Local(Pattern::parse(&path.to_string_lossy())?),
            StorageUrl::S3 { bucket, key } => Self::Bucket {
                bucket,
                pattern: Pattern::parse_key(&key)?,
            },
        })
    }
}

/// The one split: files are few and large more often than many and small.
const SPLIT: &str = "files";

#[async_trait]
impl Source for Files {
    fn check_environment(&self, aws: &AwsVariables) -> Result<()> {
        if let Place::Local(_) = self.place {
            return Ok(());
        }
        let options = self.config.s3.clone().unwrap_or_default();
        options
            .check_with(aws)
            .map_err(|what| Error::config("bad_s3_options", what))
    }

    async fn splits(&self, _context: &SourceContext) -> Result<Vec<Ident>> {
        Ok(vec![SPLIT.parse()?])
    }

    fn capabilities(&self) -> SourceCapabilities<'_> {
        SourceCapabilities {
            file_rules: Some(&self.rules),
            ..SourceCapabilities::default()
        }
    }

    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let state = match position {
            Some(position) if !context.full => {
                taken::State::read(position, context.position_storage.as_deref()).await?
            }
            _ => taken::State::default(),
        };
        let folder = self.folder(&context)?;
        let Listed {
            state,
            present,
            unknown,
            has_news,
        } = folder.list(Listed::new(state)).await?;
        if present.is_empty() && state.count() == 0 {
            let why = folder.explain_nothing().await?;
            tracing::warn!(path = %self.config.path, "no file matches `source.file.path`: {why}");
        }
        let rules = self.recognition();
        let listing = Listing::new(&state.files, present, rules.recognition);
        let files = self.select(unknown, &context, &state);
        let selected = read::Selected {
            files,
            listing,
            has_news,
        };
        let context = Arc::new(context);
        let reader = read::Reader::new(context, folder, state, rules, selected);
        Ok(Box::new(reader))
    }
}

impl Files {
    fn recognition(&self) -> read::Rules {
        let FileConfig {
            identity, follow, ..
        } = &self.config;
        read::Rules {
            follow: *follow,
            recognition: Recognition {
                moved: *identity != FileIdentity::Name,
                copies: *identity == FileIdentity::Content,
                renamed: match follow {
                    _ if *identity == FileIdentity::Name => Renamed::Never,
                    Some(true) => Renamed::Any,
                    Some(false) => Renamed::Never,
                    None => Renamed::Rotated,
                },
            },
        }
    }

    fn folder(&self, context: &SourceContext) -> Result<Arc<dyn Folder>> {
        match self.place.clone() {
            Place::Local(pattern) => Ok(Arc::new(local::LocalFolder {
                pattern,
                project: context.project.clone(),
                workspace: workspace(context),
            })),
            Place::Bucket { bucket, pattern } => {
                let options = self.config.s3.clone().unwrap_or_default();
                let objects = options.open(&bucket, &context.aws, RETRY_FOR)?;
                Ok(Arc::new(object::ObjectFolder {
                    objects,
                    bucket,
                    pattern,
                }))
            }
        }
    }

    /// The files to check, in order. A partially loaded file comes first.
    fn select(
        &self,
        mut found: Vec<Found>,
        context: &SourceContext,
        state: &taken::State,
    ) -> Vec<Found> {
        let now = context.clock.now();
        let settle = self.config.settle.0;
        found.retain(|file| {
            let settled = settle.is_zero() || now.since(file.stat.modified) >= settle;
            if !settled {
                tracing::info!(file = %file.name, "left for the next run: it changed less than `settle` ago");
            }
            settled || state.is_left(file)
        });
        match self.config.order {
            Order::Name => found.sort_by(|a, b| a.path.cmp(&b.path)),
            Order::Modified => {
                found.sort_by(|a, b| (a.stat.modified, &a.path).cmp(&(b.stat.modified, &b.path)));
            }
        }
        found.sort_by_key(|file| !state.is_left(file));
        found
    }
}

/// The workspace folder on this disk: no link may lead into it.
fn workspace(context: &SourceContext) -> PathBuf {
    match context
        .lake_root
        .as_deref()
        .and_then(|root| root.strip_prefix("file://"))
    {
        Some(folder) => PathBuf::from(folder),
        None => context.project.join(WORKSPACE),
    }
}

/// Where the workspace of a project is by default.
const WORKSPACE: &str = ".forebay";

/// Runs file system calls off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::bug("file_task", "a file task panicked").with_source(error))?
}

/// A path for display: relative to the project if inside it, with invalid UTF-8 bytes as `\xNN`. It identifies the
/// file, so it must be unique: a backslash in the name is doubled.
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
    if character.is_control() || character == '\\' {
        character.escape_default().collect()
    } else {
        vec![character]
    }
}
