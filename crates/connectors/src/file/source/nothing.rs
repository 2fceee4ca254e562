//! Why a pattern matches nothing, and what may be meant by it: for display, and therefore only a guess.

use std::path::{Path, PathBuf};

use super::pattern::{Part, Pattern};
use super::shown;
use forebay_config::suggest;

/// Names of a folder that are read for a guess.
const NAMES_MAX: usize = 1_000;

/// Names that are shown where no guess is possible.
const NAMES_SHOWN_MAX: usize = 5;

/// One sentence without a full stop.
pub(super) fn explain(pattern: &Pattern, project: &Path) -> String {
    if pattern.text.contains('{') && pattern.text.contains('}') {
        let what = "braces are not expanded; write one pattern that covers all, such as `data/*`, or a pipeline for each";
        return what.to_owned();
    }
    let fixed = project.join(&pattern.fixed);
    if !fixed.is_dir() {
        return missing_folder(&fixed, project);
    }
    missing_file(&fixed, pattern, project)
}

/// Names the first folder that is not there, and the nearest that is.
fn missing_folder(fixed: &Path, project: &Path) -> String {
    let mut there = PathBuf::new();
    for part in fixed.components() {
        let next = there.join(part);
        if next.is_dir() {
            there = next;
            continue;
        }
        let name = part.as_os_str().to_string_lossy();
        let folders: Vec<String> = names(&there, true);
        let what = format!("the folder {} does not exist", shown(&next, project));
        return match suggest::nearest(&name, folders.iter().map(String::as_str)) {
            Some(meant) => {
                let meant = shown(&there.join(meant), project);
                format!("{what}; did you mean {meant}/?")
            }
            None => what,
        };
    }
    format!("{} is not a folder", shown(fixed, project))
}

/// Lists the files in the folder instead.
fn missing_file(folder: &Path, pattern: &Pattern, project: &Path) -> String {
    let place = match shown(folder, project) {
        name if name.is_empty() => "the project folder".to_owned(),
        name => name,
    };
    let files = names(folder, false);
    let [part] = pattern.rest.as_slice() else {
        return format!("nothing below {place} matches");
    };
    if let Some(name) = files.iter().find(|name| part.takes_in_any_case(name)) {
        return format!("did you mean {name}? Upper and lower case differ");
    }
    if let Part::One(one) = part
        && let Some(name) = suggest::nearest(one.as_str(), files.iter().map(String::as_str))
    {
        return format!("did you mean {name} in {place}?");
    }
    if files.is_empty() {
        return format!("{place} holds no files");
    }
    let some: Vec<&str> = files
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(String::as_str)
        .collect();
    format!("{place} holds {}", some.join(", "))
}

/// Names of the folders or the files in a folder, in order, as they can be shown.
fn names(folder: &Path, is_folder: bool) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .take(NAMES_MAX)
        .filter(|entry| entry.path().is_dir() == is_folder)
        .map(|entry| shown(Path::new(&entry.file_name()), folder))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    names
}
