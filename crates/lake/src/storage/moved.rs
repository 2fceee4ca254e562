//! Files of a lake whose folder was copied or moved, together with its catalog.
//!
//! Iceberg names files by absolute locations, so those of the tables still begin with the folder of before. They are found
//! below the folder of now: a table is recognized by its UUID, a file of the raw zone by its ULID. The metadata keeps the old
//! locations, also for new files of such a table. Nothing outside the folder of now is ever read.

use std::path::Path;

use forebay_core::Error;
use parking_lot::Mutex;
use uuid::Uuid;

/// Earlier folders of a lake that are remembered.
const FORMER_ROOTS_MAX: usize = 16;

/// Characters of a ULID.
const ULID_LENGTH: usize = 26;

/// The folders in which the lake was before.
#[derive(Debug, Default)]
pub(super) struct FormerRoots(Mutex<Vec<String>>);

impl FormerRoots {
    /// The part of `location` below the folder of the lake, which is `dir` now; `None` when it is not a file of this lake.
    pub(super) fn below<'a>(&self, location: &'a str, dir: &Path) -> Option<&'a str> {
        location.strip_prefix("file://")?;
        let mut roots = self.0.lock();
        let known = roots.iter().find_map(|root| below(location, root));
        if known.is_some() || roots.len() >= FORMER_ROOTS_MAX {
            return known;
        }
        let root = guesses(location)
            .find(|guess| dir.join(guess.proof).exists())?
            .root;
        tracing::debug!(from = root, to = %dir.display(), "the lake was copied or moved");
        roots.push(root.to_owned());
        below(location, root)
    }
}

fn below<'a>(location: &'a str, root: &str) -> Option<&'a str> {
    location.strip_prefix(root)?.strip_prefix('/')
}

/// What may be the root of a location.
struct RootGuess<'a> {
    root: &'a str,
    /// What is below the root of the lake, if it is.
    proof: &'a str,
}

fn guesses(location: &str) -> impl Iterator<Item = RootGuess<'_>> {
    let slashes = location.rmatch_indices('/');
    slashes.filter_map(|(at, _)| {
        let root = &location[..at];
        let rest = &location[at + 1..];
        let proof = table_folder(rest).or_else(|| raw_file(rest))?;
        Some(RootGuess { root, proof })
    })
}

/// `tables/<uuid>` of a path below a root.
fn table_folder(rest: &str) -> Option<&str> {
    let name = rest.strip_prefix("tables/")?.split('/').next()?;
    Uuid::parse_str(name).ok()?;
    rest.get(.."tables/".len() + name.len())
}

/// All of a path of the raw zone.
fn raw_file(rest: &str) -> Option<&str> {
    let (_, file) = rest.strip_prefix("raw/")?.rsplit_once('/')?;
    let (name, _) = file.split_once('.')?;
    (name.len() == ULID_LENGTH).then_some(rest)
}

/// A location that is not below the root of the lake.
pub(super) fn outside_lake(location: &str, root: &str) -> Error {
    let Some(RootGuess { root: former, .. }) = guesses(location).next() else {
        let what = format!("{location} is not a file of this lake");
        let error = Error::unsupported("outside_lake", what).with_context("root", root);
        return error
            .with_hint("a lake reads files below its own root only: copy the table into it");
    };
    let before = former.strip_prefix("file://").unwrap_or(former);
    let now = root.strip_prefix("file://").unwrap_or(root);
    let what = format!(
        "the files of the table are in {before}, but the storage of this workspace is {now}: it was copied or moved, or `url` of `[storage]` was changed"
    );
    Error::unsupported("outside_lake", what)
        .with_context("file", location)
        .with_hint(format!(
            "make the storage available as {before} again: move it back, mount it there, or set `url` of `[storage]` to it"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "0190b0a0-0000-7000-8000-000000000001";

    #[test]
    fn a_root_is_before_the_folder_of_a_table() {
        let location = format!("file:///old/tables/x/.forebay/tables/{TABLE}/data/a.parquet");
        let roots: Vec<_> = guesses(&location).map(|guess| guess.root).collect();
        assert_eq!(roots, ["file:///old/tables/x/.forebay"]);
        let other = guesses("file:///old/tables/orders/data/a").next();
        assert!(other.is_none());
    }

    #[test]
    fn files_are_found_in_the_folder_that_a_lake_was_moved_to() {
        let dir = tempfile::tempdir().unwrap();
        let roots = FormerRoots::default();
        let paths = [
            format!("tables/{TABLE}/metadata/0.json"),
            "raw/raw/all/01M8N5884EMA13F5HBX7XGHEET.index.parquet".to_owned(),
        ];
        for (path, root) in paths.iter().zip(["file:///old", "file:///older"]) {
            let location = format!("{root}/{path}");
            assert_eq!(roots.below(&location, dir.path()), None);
            let file = dir.path().join(path);
            std::fs::create_dir_all(&file).unwrap();
            assert_eq!(roots.below(&location, dir.path()), Some(path.as_str()));
            let other = format!("{root}/anything");
            assert_eq!(roots.below(&other, dir.path()), Some("anything"));
            let elsewhere = location.replace(root, "s3://bucket");
            assert_eq!(roots.below(&elsewhere, dir.path()), None);
        }
        assert_eq!(roots.below("file:///oldest/raw/p", dir.path()), None);
    }

    #[test]
    fn the_error_names_both_folders() {
        let location = format!("file:///old/tables/{TABLE}/data/a.parquet");
        let error = outside_lake(&location, "file:///new");
        assert!(
            error
                .message()
                .contains("are in /old, but the storage of this workspace is /new")
        );
        assert!(error.hint().unwrap().contains("/old again"));
    }
}
