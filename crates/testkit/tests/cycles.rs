//! No two modules at the top of a crate use each other, directly or around a corner: each can be read, and moved, without the other.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Uses = BTreeMap<String, BTreeSet<String>>;

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The code of a file without its inline tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let tests = text.find("#[cfg(test)]\nmod ");
    text[..tests.unwrap_or(text.len())].to_owned()
}

/// Modules of its crate that a text names as `crate::name` or `crate::{name, …}`.
fn named(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let list = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split('}').next());
        for item in list.unwrap_or(rest).split(',') {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name: String = item.trim().chars().take_while(|c| is_part(*c)).collect();
            found.insert(name);
            if list.is_none() {
                break;
            }
        }
    }
    found
}

fn uses_of(path: &Path) -> BTreeSet<String> {
    if path.is_dir() {
        let inner = children(path).into_iter();
        let inner = inner.filter(|path| path.file_name().is_some_and(|name| name != "tests"));
        return inner.flat_map(|path| uses_of(&path)).collect();
    }
    let is_code = path.extension().is_some_and(|ending| ending == "rs");
    let is_test = path.file_name().is_some_and(|name| name == "tests.rs");
    match is_code && !is_test {
        true => named(&code(path)),
        false => BTreeSet::new(),
    }
}

/// What each module at the top of a crate uses of the others.
fn modules(source: &Path) -> Uses {
    let mut uses = Uses::new();
    for path in children(source) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !["lib", "main"].contains(&name.as_str()) {
            uses.entry(name).or_default().extend(uses_of(&path));
        }
    }
    let names: BTreeSet<String> = uses.keys().cloned().collect();
    for (name, used) in &mut uses {
        used.retain(|other| other != name && names.contains(other));
    }
    uses
}

/// Modules that are left when those are taken away that use none of the rest, again and again.
fn knot(mut uses: Uses) -> Vec<String> {
    loop {
        let free = |used: &BTreeSet<String>| used.iter().all(|name| !uses.contains_key(name));
        let free: Vec<String> = uses
            .iter()
            .filter(|(_, used)| free(used))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            return uses.into_keys().collect();
        }
        free.iter().for_each(|name| drop(uses.remove(name)));
    }
}

#[test]
fn no_modules_of_a_crate_use_each_other() {
    for path in children(&crates()) {
        let left = knot(modules(&path.join("src")));
        assert!(
            left.is_empty(),
            "{}: these modules, or some of them, use each other: {left:?}",
            path.display()
        );
    }
}

#[test]
fn a_knot_is_found() {
    let uses = |pairs: &[(&str, &[&str])]| {
        let uses = pairs.iter().map(|(name, used)| {
            let used = used.iter().map(|used| (*used).to_owned()).collect();
            ((*name).to_owned(), used)
        });
        uses.collect::<Uses>()
    };
    assert!(knot(uses(&[("a", &["b"]), ("b", &["c"]), ("c", &[])])).is_empty());
    assert_eq!(
        knot(uses(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])),
        ["a", "b", "c"]
    );
    let text = "use crate::{one, two::Three};\nlet x = crate::four::five();";
    let found = named(text);
    assert!(
        ["one", "two", "four"]
            .iter()
            .all(|name| found.contains(*name)),
        "{found:?}"
    );
}
