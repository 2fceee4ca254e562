//! A pipeline as its file describes it, typed.

mod checks;
pub mod components;
mod cycle;
mod extraction;
mod fit;
mod schema;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use forebay_config::{
    Diagnostic, Diagnostics, Document, Finding, Resolved, SecretCover, SourceText, Span,
    TEXT_BYTES_MAX, Variables, findings, is_below, read_yaml, resolve, too_large,
};
use forebay_core::unit::{self, Size};
use forebay_core::{Error, Ident, Result, SqlEngine};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::buffer::BufferSpec;
use crate::transform::{self, Transform, check};
use forebay_formats::Extractor;
use forebay_formats::contract::ContractPolicy;
use forebay_journal::WRITERS;

pub use checks::{Check, Severity};
pub use components::{ConfiguredSource, ConfiguredTarget};
pub use cycle::find_cycle;
pub use schema::{PIPELINE_EXAMPLE, pipeline_schema};

/// `raw:` in a pipeline file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSpec {
    /// A raw object is sealed at this size.
    pub object_bytes: Size,
    /// zstd level for payloads that are not compressed already.
    #[schemars(range(min = 1, max = 19))]
    pub level: i32,
}

impl Default for RawSpec {
    fn default() -> Self {
        Self {
            object_bytes: Size(128 << 20),
            level: 1,
        }
    }
}

/// `schedule:` in a pipeline file: when `forebay serve` runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// From the start of one run to the start of the next. A run that takes longer is followed by the next at once.
    pub every: unit::Span,
}

/// One `transform:` element, with its name for messages.
#[derive(Debug)]
pub struct Step {
    pub name: String,
    pub transform: Box<dyn Transform>,
}

/// A checked pipeline, ready to run.
#[derive(Debug)]
pub struct PipelineSpec {
    pub name: Ident,
    /// `None`: it runs on request, or always when its source is continuous.
    pub schedule: Option<ScheduleSpec>,
    pub source: ConfiguredSource,
    /// `records` of the source, for extractors that take a path.
    pub records: Option<String>,
    pub raw: RawSpec,
    pub extract: Box<dyn Extractor>,
    pub schema: ContractPolicy,
    pub transform: Vec<Step>,
    pub buffer: BufferSpec,
    pub load: ConfiguredTarget,
    /// With any, a run lands on a branch and is published when all of them pass.
    pub checks: Vec<Check>,
    /// SHA-256 of the file's text, recorded with each run.
    pub digest: String,
    /// The secrets of the file, to redact in messages.
    pub(crate) secrets: SecretCover,
}

impl PipelineSpec {
    /// Whether refused records can be loaded after a fix, beside the rows that are there.
    pub fn takes_replay(&self) -> bool {
        self.load.lake().is_some() || self.load.is_transactional()
    }

    /// What is allowed and rarely meant, for people.
    pub fn warnings(&self) -> Vec<String> {
        let is_by_pass = self.source.capabilities().is_by_pass;
        let tables = self.source.tables();
        let moving = tables.filter(|_| is_by_pass && self.schedule.is_none());
        let moving = moving.map(|tables| &tables.moving);
        let moving = moving.filter(|moving| !moving.is_empty());
        let warning = |names: &BTreeSet<String>| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!(
                "{}: the statement uses {}, which changes without a commit, and it is run after commits only: give the pipeline a `schedule`",
                self.name,
                names.join(", ")
            )
        };
        let is_unscheduled = !self.checks.is_empty() && self.schedule.is_none();
        let unscheduled = is_unscheduled
            .then(|| checks::warn_of_missing_schedule(&self.name, &self.source))
            .flatten();
        moving.map(warning).into_iter().chain(unscheduled).collect()
    }

    /// Whether it runs for ever when allowed to: the source can be followed, and neither the target nor a schedule nor a check
    /// requires an end.
    pub fn is_continuous(&self) -> bool {
        let capabilities = self.source.capabilities();
        let may_end = capabilities.is_by_pass || !self.load.replaces();
        capabilities.is_continuous && may_end && self.schedule.is_none() && self.checks.is_empty()
    }
}

/// Reads and checks a pipeline file. All errors of the file are returned at once.
pub fn load(
    path: &Path,
    variables: &dyn Variables,
    engine: &Arc<dyn SqlEngine>,
) -> Result<PipelineSpec, Diagnostics> {
    let shown = path.display().to_string();
    let text = read(path).map_err(|fault| Diagnostics(vec![fault]))?;
    parse(&shown, &text, variables, engine)
}

#[expect(
    clippy::result_large_err,
    reason = "reported once per load, never on a hot path"
)]
fn read(path: &Path) -> Result<String, Diagnostic> {
    let shown = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        let help = "give the path of a pipeline file, such as `pipelines/quakes.yaml`".to_owned();
        Diagnostic::of_file(
            &shown,
            "unreadable_file",
            format!("failed to read the file: {error}"),
            Some(help),
        )
    };
    // Bounded by the bytes read, not by the file's size: it may be a pipe or still grow.
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(too_large(&shown, bytes.len()));
    }
    String::from_utf8(bytes)
        .map_err(|error| not_utf8(&shown, error.as_bytes(), error.utf8_error().valid_up_to()))
}

fn not_utf8(path: &str, bytes: &[u8], at: usize) -> Diagnostic {
    let readable = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let source = SourceText::new(path, &readable);
    let span = Span { start: at, end: at };
    let message = format!(
        "byte {at} is {:#04x}, which is not UTF-8",
        bytes.get(at).copied().unwrap_or_default()
    );
    let help = Some("save the file as UTF-8".to_owned());
    Diagnostic {
        code: "not_utf8",
        place: source.place(span),
        message,
        help,
        snippet: source.snippet(span),
    }
}

/// [`load()`] from text; `path` is only for messages.
pub fn parse(
    path: &str,
    text: &str,
    variables: &dyn Variables,
    engine: &Arc<dyn SqlEngine>,
) -> Result<PipelineSpec, Diagnostics> {
    let (document, mut found) = read_yaml(path, text);
    let Some(document) = document else {
        return Err(found);
    };
    let resolved = resolve(&document, variables, &components::kept_references());
    found.0.extend(resolved.diagnostics.0.iter().cloned());
    let mut build = Build::new(&resolved, engine);
    let spec = build.spec(digest(text));
    found
        .0
        .extend(build.found.into_iter().map(|finding| finding.diagnostic));
    match spec {
        Some(spec) if found.is_empty() => Ok(spec),
        _ => Err(Diagnostics(
            found
                .0
                .into_iter()
                .map(|found| resolved.hide(found))
                .collect(),
        )
        .sorted()),
    }
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Builds the parts of a pipeline. A part that the schema rejected is not built, the others are, so that all errors are
/// returned at once.
struct Build<'a> {
    resolved: &'a Resolved,
    document: &'a Document,
    engine: &'a Arc<dyn SqlEngine>,
    found: Vec<Finding>,
}

impl<'a> Build<'a> {
    fn new(resolved: &'a Resolved, engine: &'a Arc<dyn SqlEngine>) -> Self {
        let document = &resolved.document;
        let mut found = findings(document, &schema::schema_of(document));
        // An unresolved reference has been reported already.
        found.retain(|finding| !resolved.is_broken(&finding.path));
        Self {
            resolved,
            document,
            engine,
            found,
        }
    }

    fn spec(&mut self, digest: String) -> Option<PipelineSpec> {
        // Each part is built before any is used, or the first missing one would hide the errors of the rest.
        let engine = self.engine;
        let name = self.part("pipeline", name);
        let schedule = self.schedule();
        let source = self.component("source", |name, config| {
            ConfiguredSource::build(name, config, engine)
        });
        let raw = self.section::<RawSpec>("raw");
        let extract = self.extractor();
        let schema = self.policy();
        let transform = self.steps();
        let buffer = self.section::<BufferSpec>("buffer");
        let load = self.component("load", ConfiguredTarget::build);
        let checks = self.build_checks();
        let records = self.records();
        self.check_end(source.as_ref(), load.as_ref());
        self.check_own_extractor();
        self.check_tables(source.as_ref(), load.as_ref());
        self.check_columns(transform.as_deref(), load.as_ref());
        self.check_children(load.as_ref());
        self.check_bodies(source.as_ref());
        self.check_publishable(source.as_ref(), load.as_ref());
        self.check_made_columns(schema.as_ref(), transform.as_deref());
        let spec = PipelineSpec {
            name: name?,
            schedule: schedule?,
            source: source?,
            records,
            raw: raw?,
            extract: extract?,
            schema: schema?,
            transform: transform?,
            buffer: buffer?,
            load: load?,
            checks: checks?,
            digest,
            secrets: self.resolved.secrets(),
        };
        self.check_extraction(&spec);
        Some(spec)
    }

    /// Reports an error that would stop every run: a source that the extractor does not support.
    fn check_extraction(&mut self, spec: &PipelineSpec) {
        if !self.found.is_empty() {
            return;
        }
        self.part("extract", |document| {
            let fault = spec.extraction(None).err();
            fault.map_or(Ok(()), |fault| {
                let place = document.error(fault.code(), fault.message());
                Err(match fault.hint() {
                    Some(hint) => place.with_hint(hint),
                    None => place,
                })
            })
        });
    }

    /// The value at `key`, when it is present and valid by schema.
    fn valid(&self, key: &str) -> Option<Document> {
        self.document
            .get(key)
            .filter(|document| self.is_valid(document))
    }

    fn is_valid(&self, document: &Document) -> bool {
        let path = document.path();
        !self.resolved.is_broken(path)
            && !self
                .found
                .iter()
                .any(|finding| is_below(&finding.path, path))
    }

    fn made<T>(&mut self, document: &Document, made: Result<T>) -> Option<T> {
        let fault = |error| Finding {
            path: document.path().to_owned(),
            diagnostic: Diagnostic::from_error(&error, document),
        };
        made.map_err(|error| self.found.push(fault(error))).ok()
    }

    fn part<T>(&mut self, key: &str, make: impl FnOnce(&Document) -> Result<T>) -> Option<T> {
        let document = self.valid(key)?;
        let made = make(&document);
        self.made(&document, made)
    }

    /// A stage that is chosen by its only key.
    fn component<T>(
        &mut self,
        key: &str,
        make: impl FnOnce(&str, &Document) -> Result<T>,
    ) -> Option<T> {
        let (name, config) = self.valid(key)?.single()?;
        let made = make(&name, &config);
        self.made(&config, made)
    }

    /// The extractor, which a source may bring along.
    fn extractor(&mut self) -> Option<Box<dyn Extractor>> {
        if self.document.get("extract").is_some() {
            return self.component("extract", |name, config| {
                forebay_formats::find(name)?.build(config)
            });
        }
        let source = self.document.get("source").and_then(|it| it.single());
        source.and_then(|(name, _)| components::own_extractor(&name))
    }

    /// A stage that may be left out.
    fn section<T: DeserializeOwned + Default>(&mut self, key: &str) -> Option<T> {
        if self.document.get(key).is_none() {
            return Some(T::default());
        }
        self.part(key, Document::parse)
    }

    /// Outer `None`: it is present but invalid.
    fn schedule(&mut self) -> Option<Option<ScheduleSpec>> {
        if self.document.get("schedule").is_none() {
            return Some(None);
        }
        self.part("schedule", |document| {
            let schedule: ScheduleSpec = document.parse()?;
            if schedule.every.0.is_zero() {
                let place = document.get("every").unwrap_or_else(|| document.clone());
                return Err(place.error("bad_schedule", "`every` is 0: set a time such as 15m"));
            }
            Ok(Some(schedule))
        })
    }

    fn policy(&mut self) -> Option<ContractPolicy> {
        let policy = self.section::<ContractPolicy>("schema")?;
        let columns = self
            .valid("schema")
            .and_then(|schema| schema.get("columns"));
        for (name, rule) in &policy.columns {
            let Some(expression) = rule.check.as_deref() else {
                continue;
            };
            let place = columns
                .as_ref()
                .and_then(|columns| columns.get(name)?.get("check"));
            let checked = check::check_value(self.engine, rule.r#type, expression);
            if let Some(place) = place {
                self.made(&place, checked.map_err(|error| place.sql_error(&error)));
            }
        }
        Some(policy)
    }

    fn steps(&mut self) -> Option<Vec<Step>> {
        let Some(list) = self.document.get("transform") else {
            return Some(Vec::new());
        };
        let steps: Vec<Option<Step>> = list
            .elements()
            .iter()
            .enumerate()
            .map(|(i, step)| self.step(i, step))
            .collect();
        steps.into_iter().collect()
    }

    fn step(&mut self, index: usize, step: &Document) -> Option<Step> {
        let (kind, config) = step.single().filter(|_| self.is_valid(step))?;
        let kind = self.made(&config, transform::find(&kind))?;
        let faults = kind.faults(&config, self.engine);
        if !faults.is_empty() {
            faults.into_iter().for_each(|fault| {
                self.made(&config, Err::<(), _>(fault));
            });
            return None;
        }
        let transform = self.made(&config, kind.build(&config, self.engine))?;
        Some(Step {
            name: format!("transform[{index}]"),
            transform,
        })
    }

    fn records(&self) -> Option<String> {
        let (_, config) = self.document.get("source")?.single()?;
        config.get("records")?.as_str().map(str::to_owned)
    }
}

/// Errors: `Config` `reserved_name`.
fn name(document: &Document) -> Result<Ident> {
    let name: Ident = document.parse()?;
    if name.as_str() == WRITERS {
        let what = format!(
            "a pipeline cannot be named `{WRITERS}`: the name is reserved for leases of journals"
        );
        return Err(Error::config("reserved_name", what));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_not_utf8_is_named_with_its_place() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.yaml");
        #[expect(clippy::disallowed_methods, reason = "a test file need not be durable")]
        std::fs::write(&path, b"pipeline: a\nsource: \xff\n").expect("it is written");
        let found = read(&path).expect_err("it is not UTF-8");
        assert_eq!(
            (found.code, found.place.line, found.place.column),
            ("not_utf8", 2, 9)
        );
        assert_eq!(found.message, "byte 20 is 0xff, which is not UTF-8");
        let missing = read(&dir.path().join("b.yaml")).expect_err("there is no file");
        assert_eq!(missing.code, "unreadable_file");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_before_it_is_read_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.yaml");
        let file = std::fs::File::create(&path).expect("it is made");
        file.set_len(TEXT_BYTES_MAX as u64 * 50)
            .expect("it grows without taking space");
        assert_eq!(
            read(&path).expect_err("it is too large").code,
            "file_too_large"
        );
    }
}
