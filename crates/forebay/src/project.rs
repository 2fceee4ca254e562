//! A project: a folder with `forebay.toml`, `pipelines/*.yaml` and `tests/*.sql`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_config::{Diagnostics, Variables, suggest};
use forebay_core::{Error, Ident, Result, SqlEngine, TableName};
use forebay_pipeline::spec::{PipelineSpec, find_cycle};

use crate::options::Global;
use crate::settings::ProcessVariables;

/// Folder of the pipeline files.
pub(crate) const PIPELINES: &str = "pipelines";

/// Folder of the tests: SQL files that must find nothing.
pub(crate) const TESTS: &str = "tests";

/// File of the settings.
const SETTINGS: &str = "forebay.toml";

/// Whether a folder holds a project: settings, or pipelines.
pub(crate) fn is_project(folder: &Path) -> bool {
    folder.join(SETTINGS).exists() || folder.join(PIPELINES).exists()
}

/// Every pipeline file of the project, ordered by name.
pub(crate) fn pipelines(folder: &Path) -> Result<Vec<PathBuf>> {
    files(&folder.join(PIPELINES), &["yaml", "yml"])
}

/// Every test of the project, ordered by name.
pub(crate) fn tests(folder: &Path) -> Result<Vec<PathBuf>> {
    files(&folder.join(TESTS), &["sql"])
}

/// The error of a command when no pipeline file loads the table that it names.
pub(crate) fn no_loader(table: &str) -> Error {
    let message = format!("no pipeline of this project loads {table}");
    Error::not_found("no_such_table", message)
        .with_hint("run `forebay check` to list the pipelines and their tables")
}

/// The table that a command names. A pipeline's name in its place is an error that names the pipeline's table.
pub(crate) fn table(folder: &Path, text: &str, engine: &Arc<dyn SqlEngine>) -> Result<TableName> {
    text.parse().map_err(|error: Error| {
        let file = find(folder, text).ok();
        // A parameter is no part of a table's name.
        let spec = file.and_then(|file| load(&file, &ProcessVariables::default(), engine).ok());
        let target = spec.and_then(|spec| spec.load.lake().map(|lake| lake.table.to_string()));
        match target {
            Some(table) => error.with_hint(format!("`{text}` is a pipeline; its table is {table}")),
            None => error.with_hint("run `forebay tables` to list the tables"),
        }
    })
}

fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let unreadable = |error| {
        Error::config(
            "unreadable_folder",
            format!("failed to read {}", folder.display()),
        )
        .with_source(error)
    };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| extensions.contains(&e))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The file that a user means by `name`: a path, or the name of a pipeline of the project.
pub(crate) fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let known = pipelines(folder)?;
    let stem = |path: &PathBuf| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    if let Some(path) = known.iter().find(|path| stem(path) == name) {
        return Ok(path.clone());
    }
    let names: Vec<String> = known.iter().map(stem).collect();
    let error = Error::config(
        "no_such_pipeline",
        format!(
            "pipeline `{name}` not found in {}",
            folder.join(PIPELINES).display()
        ),
    );
    let near = suggest::nearest(name, names.iter().map(String::as_str));
    Err(match near {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None if !names.is_empty() => {
            error.with_hint(format!("the pipelines are {}", names.join(", ")))
        }
        None => error.with_hint(
            "run `forebay init` to create a project with a first pipeline, `forebay demo` for a whole example",
        ),
    })
}

/// A stamp of the state of a file, without reading it.
pub(crate) fn stamp(path: &Path) -> Result<String> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        Error::config(
            "unreadable_file",
            format!("failed to read the metadata of {}", path.display()),
        )
        .with_source(error)
    })?;
    let size = metadata.size();
    let inode = metadata.ino();
    Ok(format!(
        "{size}-{inode}-{}-{}",
        metadata.ctime(),
        metadata.ctime_nsec()
    ))
}

/// Reads and checks one pipeline file.
pub(crate) fn load(
    path: &Path,
    variables: &dyn Variables,
    engine: &Arc<dyn SqlEngine>,
) -> std::result::Result<PipelineSpec, Diagnostics> {
    forebay_pipeline::spec::load(path, variables, engine)
}

/// The pipelines of some files, and an error for each file that has none.
pub(crate) struct Loaded {
    pub(crate) specs: Vec<Arc<PipelineSpec>>,
    pub(crate) errors: Vec<Error>,
}

/// Loads every file; two files with one name are an error of the second.
pub(crate) fn load_all(
    files: &[PathBuf],
    variables: &dyn Variables,
    engine: &Arc<dyn SqlEngine>,
) -> Loaded {
    let mut loaded = Loaded {
        specs: Vec::new(),
        errors: Vec::new(),
    };
    let mut names: BTreeMap<Ident, &Path> = BTreeMap::new();
    for file in files {
        match load_or_error(file, variables, engine) {
            Ok(spec) => match names.get(&spec.name) {
                Some(first) => loaded
                    .errors
                    .push(duplicate_pipeline(&spec.name, first, file)),
                None => {
                    names.insert(spec.name.clone(), file);
                    loaded.specs.push(Arc::new(spec));
                }
            },
            Err(error) => loaded.errors.push(error),
        }
    }
    loaded
}

/// The cycles that these pipelines close, among all of the project. Invalid files of others are ignored.
pub(crate) fn cycles(
    global: &Global,
    specs: &[Arc<PipelineSpec>],
    variables: &dyn Variables,
    engine: &Arc<dyn SqlEngine>,
) -> Vec<Error> {
    let reads = |spec: &Arc<PipelineSpec>| spec.source.tables().is_some();
    if !specs.iter().any(reads) {
        return Vec::new();
    }
    let files = pipelines(&global.project).unwrap_or_default();
    let others = load_all(&files, variables, engine).specs;
    let is_other = |other: &&Arc<PipelineSpec>| !specs.iter().any(|spec| spec.name == other.name);
    let all: Vec<&PipelineSpec> = specs
        .iter()
        .chain(others.iter().filter(is_other))
        .map(Arc::as_ref)
        .collect();
    specs
        .iter()
        .filter_map(|spec| find_cycle(spec, &all))
        .collect()
}

/// Two files with one name would share positions and tables, and each would skip the data that the other has read.
pub(crate) fn duplicate_pipeline(name: &Ident, first: &Path, second: &Path) -> Error {
    Error::config(
        "duplicate_pipeline",
        format!(
            "{} and {} are both named `{name}`",
            first.display(),
            second.display()
        ),
    )
    .with_hint("change `pipeline:` in one of them")
}

/// [`load`], with all faults as one error.
pub(crate) fn load_or_error(
    path: &Path,
    variables: &dyn Variables,
    engine: &Arc<dyn SqlEngine>,
) -> Result<PipelineSpec> {
    load(path, variables, engine).map_err(|diagnostics| as_error(path, &diagnostics))
}

/// [`load_or_error`], with no line of the file in the error: for logs and HTTP responses.
pub(crate) fn load_or_error_without_lines(
    path: &Path,
    variables: &dyn Variables,
    engine: &Arc<dyn SqlEngine>,
) -> Result<PipelineSpec> {
    load(path, variables, engine)
        .map_err(|diagnostics| as_error(path, &diagnostics.without_snippets()))
}

fn as_error(path: &Path, diagnostics: &Diagnostics) -> Error {
    let count = diagnostics.0.len();
    let errors = if count == 1 {
        "1 error"
    } else {
        &format!("{count} errors")
    };
    Error::config(
        "bad_pipeline",
        format!("{} has {errors}\n\n{diagnostics}", path.display()),
    )
}
