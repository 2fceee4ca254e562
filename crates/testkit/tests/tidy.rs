//! Rules about the project's own shape, held by tests: who may use whom, one owner per heavy dependency, component
//! folders equal their tables, a map that is complete, files that stay small.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines that a file may have.
const LINES_MAX: usize = 600;

/// Files that are longer, with the length they may not outgrow. The list may only shrink.
const LONG_FILES: &[(&str, usize)] = &[];

/// "A <- B" means B may use A; a crate may use everything that stands left of it in a row.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("config", &["core"]),
    ("objects", &["core"]),
    ("formats", &["core", "config"]),
    ("connectors", &["core", "config", "objects", "formats"]),
    ("store", &["core"]),
    ("lake", &["core", "objects", "store"]),
    ("journal", &["core", "objects", "store", "lake"]),
    (
        "pipeline",
        &[
            "core",
            "config",
            "objects",
            "formats",
            "connectors",
            "store",
            "lake",
            "journal",
        ],
    ),
    ("query", &["core", "objects", "store", "lake"]),
    (
        "control",
        &["core", "config", "store", "lake", "journal", "pipeline"],
    ),
    (
        "server",
        &[
            "core", "config", "formats", "store", "lake", "journal", "pipeline", "control",
        ],
    ),
    (
        "forebay",
        &[
            "core",
            "config",
            "objects",
            "formats",
            "connectors",
            "store",
            "lake",
            "journal",
            "pipeline",
            "control",
            "server",
            "query",
        ],
    ),
    ("testkit", &["core"]),
];

/// The one crate that may name each heavy dependency.
const OWNERS: &[(&str, &str)] = &[
    ("datafusion", "query"),
    ("sqlx", "store"),
    ("iceberg", "lake"),
    ("reqwest", "connectors"),
    ("tokio-postgres", "connectors"),
    ("serde-saphyr", "config"),
    ("axum", "server"),
    ("rdkafka", "connectors"),
    ("arrow-avro", "formats"),
    ("prost-reflect", "formats"),
    ("simd-json", "formats"),
];

/// Crates of which two versions would split the types.
const ONE_VERSION: &[&str] = &[
    "arrow",
    "parquet",
    "datafusion",
    "object_store",
    "sqlparser",
    "iceberg",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of the entries of a folder, ordered.
fn entries(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Dependencies of a crate, without those that only its tests use.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = read(format!("crates/{name}/Cargo.toml"));
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]"
            && let Some(dependency) = line
                .split(['.', ' ', '='])
                .next()
                .filter(|dependency| !dependency.is_empty())
        {
            found.insert(dependency.to_owned());
        }
    }
    found
}

#[test]
fn crates_use_only_what_the_arrows_allow() {
    let known: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for name in entries("crates") {
        let allowed = known
            .get(name.as_str())
            .unwrap_or_else(|| panic!("crate `{name}` is not in ARROWS"));
        for used in dependencies(&name)
            .iter()
            .filter_map(|dependency| dependency.strip_prefix("forebay-"))
        {
            assert!(
                allowed.contains(&used),
                "crate `{name}` must not use `{used}`"
            );
        }
    }
}

#[test]
fn a_heavy_dependency_has_one_owner() {
    for name in entries("crates") {
        for (dependency, owner) in OWNERS {
            let uses = dependencies(&name).contains(*dependency);
            assert!(
                !uses || name == *owner,
                "`{dependency}` belongs to `{owner}`, but `{name}` names it"
            );
        }
    }
}

#[test]
fn the_lock_file_has_one_version_of_the_spine() {
    let lock = read("Cargo.lock");
    for name in ONE_VERSION {
        let count = lock.matches(&format!("\nname = \"{name}\"\n")).count();
        assert_eq!(count, 1, "{count} versions of {name} in Cargo.lock");
    }
}

/// Modules below `folder` whose code implements `kind`, as paths: `file::source`.
fn components(folder: &str, kind: &str) -> BTreeSet<String> {
    let folder = root().join(folder);
    let mut files = Vec::new();
    rust_files(&folder, &mut files);
    let implements = |path: &&PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.contains(&format!("impl {kind} for Kind"))
    };
    let module = |path: &PathBuf| {
        let path = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.replace('/', "::")
    };
    files.iter().filter(implements).map(module).collect()
}

#[test]
fn component_folders_equal_their_tables() {
    for (folder, file, table, kind) in [
        ("connectors/src", "lib.rs", "SOURCES", "SourceKind"),
        ("connectors/src", "lib.rs", "SINKS", "SinkKind"),
        ("formats/src", "lib.rs", "EXTRACTORS", "ExtractorKind"),
        (
            "pipeline/src/platform",
            "mod.rs",
            "SOURCES",
            "PlatformSourceKind",
        ),
        (
            "pipeline/src/transform",
            "mod.rs",
            "TRANSFORMS",
            "TransformKind",
        ),
    ] {
        let folder = format!("crates/{folder}");
        let text = read(format!("{folder}/{file}"));
        let line = text
            .split(&format!("pub const {table}:"))
            .nth(1)
            .and_then(|rest| rest.split(';').next())
            .unwrap();
        // An element that a feature decides has an attribute before it.
        let listed: BTreeSet<String> = line
            .split("::Kind")
            .filter_map(|part| Some(part.rsplit_once('&')?.1.to_owned()))
            .filter(|name| !name.contains("dyn "))
            .collect();
        assert_eq!(
            listed,
            components(&folder, kind),
            "{table} of {folder}/{file} and the folders differ"
        );
    }
}

/// A new connector is a folder and a line: nothing else may know one of them.
#[test]
fn nothing_outside_of_its_folder_names_a_connector() {
    let systems: BTreeSet<String> = ["SourceKind", "SinkKind"]
        .iter()
        .flat_map(|kind| components("crates/connectors/src", kind))
        .map(|module| module.split("::").next().unwrap().to_owned())
        .collect();
    assert!(systems.len() > 3, "{systems:?}");
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    for path in files {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        if name.starts_with("crates/connectors/") || name.contains("/tests/") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for system in &systems {
            let named = format!("connectors::{system}::");
            assert!(!text.contains(&named), "{name} names `{named}`");
        }
    }
}

/// Modules that the map names, such as `engine::stages::load`, are where it says: below a crate or a module of that name.
#[test]
fn the_map_names_modules_that_exist() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    let modules: Vec<String> = files
        .iter()
        .map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap())
        .map(|path| path.trim_end_matches(".rs").trim_end_matches("/mod"))
        .map(|path| path.replace("/src/", "/").replace('/', "::"))
        .collect();
    let map = read("ARCHITECTURE.md");
    for code in map.split('`').skip(1).step_by(2) {
        let is_path = |c: char| c.is_ascii_lowercase() || c == '_' || c == ':';
        if code.contains("::") && code.chars().all(is_path) {
            let is_there = modules.iter().any(|m| m.ends_with(&format!("::{code}")));
            assert!(is_there, "ARCHITECTURE.md names `{code}`");
        }
    }
}

/// A dependency that no file names only costs time.
#[test]
fn every_dependency_is_used() {
    for name in entries("crates") {
        let mut files = Vec::new();
        rust_files(&root().join("crates").join(&name).join("src"), &mut files);
        let texts = files
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap());
        let source: String = texts.collect();
        for package in dependencies(&name) {
            let library = match package.as_str() {
                "md-5" => "md5".to_owned(),
                package => package.replace('-', "_"),
            };
            let is_named = source.contains(&format!("{library}::"))
                || source.contains(&format!("use {library}"));
            assert!(is_named, "crate {name} does not use `{package}`");
        }
    }
}

/// There is one write path: whoever commits goes through it.
#[test]
fn commits_are_made_in_one_place() {
    let mut files = Vec::new();
    rust_files(&root().join("crates/pipeline/src"), &mut files);
    let mut makers = BTreeSet::new();
    for path in files {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let makes = ["CommitRequest {", "Commit {", "PositionMove {"];
        if !name.contains("tests") && makes.iter().any(|made| text.contains(made)) {
            makers.insert(name.to_owned());
        }
    }
    let folder = "crates/pipeline/src/engine/commit/";
    assert!(
        !makers.is_empty() && makers.iter().all(|name| name.starts_with(folder)),
        "{makers:?}"
    );
}

/// Rows pass through most crates, so none may be forgotten when the profile decides how well each is compiled.
#[test]
fn the_quick_profile_names_every_crate() {
    let manifest = read("Cargo.toml");
    for name in entries("crates") {
        let package = match name.as_str() {
            "testkit" => continue,
            "forebay" => "forebay".to_owned(),
            name => format!("forebay-{name}"),
        };
        assert!(
            manifest.contains(&format!("[profile.quick.package.{package}]\n")),
            "Cargo.toml has no [profile.quick.package.{package}]"
        );
    }
}

#[test]
fn the_map_names_every_crate() {
    let map = read("ARCHITECTURE.md");
    for name in entries("crates") {
        assert!(
            map.contains(&format!("`crates/{name}`")),
            "ARCHITECTURE.md does not name crates/{name}"
        );
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_stay_small() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    assert!(files.len() > 50, "only {} files were found", files.len());
    let allowed: BTreeMap<_, _> = LONG_FILES.iter().copied().collect();
    for path in &files {
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        let limit = allowed.get(name.as_str()).copied().unwrap_or(LINES_MAX);
        assert!(
            lines <= limit,
            "{name} has {lines} lines, at most {limit} are allowed: split it by idea"
        );
    }
    for (name, limit) in LONG_FILES {
        let lines = read(name).lines().count();
        assert!(
            lines > LINES_MAX,
            "{name} has only {lines} lines now: take it off the list (it was allowed {limit})"
        );
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let is_inner = path.components().any(|part| part.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs");
        assert!(
            is_inner || text.starts_with("//!"),
            "{} does not open with `//!`",
            path.display()
        );
    }
}

/// `dev/advisories.toml`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisories {
    checked: String,
    scope: String,
    advisory: Vec<Advisory>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisory {
    id: String,
    package: String,
    title: String,
    /// Versions that have the fix; none where there is no fix.
    patched: Option<semver::VersionReq>,
    /// Why an affected version is in the lock file all the same.
    accepted: Option<String>,
    /// When that is looked at again.
    review_by: Option<String>,
}

#[derive(serde::Deserialize)]
struct LockFile {
    package: Vec<LockedPackage>,
}

#[derive(serde::Deserialize)]
struct LockedPackage {
    name: String,
    version: semver::Version,
}

#[test]
fn no_locked_package_has_an_advisory_that_is_not_accepted() {
    let list: Advisories = toml::from_str(&read("dev/advisories.toml")).unwrap();
    let lock: LockFile = toml::from_str(&read("Cargo.lock")).unwrap();
    assert!(!list.checked.is_empty() && !list.scope.is_empty());
    for advisory in &list.advisory {
        let affected = lock.package.iter().find(|package| {
            let is_patched = advisory
                .patched
                .as_ref()
                .is_some_and(|patched| patched.matches(&package.version));
            package.name == advisory.package && !is_patched
        });
        let Advisory {
            id, package, title, ..
        } = advisory;
        match (affected, &advisory.accepted) {
            (Some(found), None) => panic!(
                "{package} {} has {id} ({title}): raise it, or say in dev/advisories.toml why not",
                found.version
            ),
            (None, Some(_)) => {
                panic!("{id} does not concern {package} any more: take `accepted` out")
            }
            (Some(_), Some(_)) => assert!(advisory.review_by.is_some(), "{id} has no `review_by`"),
            (None, None) => {}
        }
    }
}
