//! The pattern in `path`: fixed folders, then wildcards folder by folder.

use std::path::PathBuf;

const MATCH: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// A checked pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// As written.
    pub(super) text: String,
    /// The folders before the first wildcard.
    pub(super) fixed: PathBuf,
    /// The pattern after them, folder by folder; empty for a plain path.
    pub(super) rest: Vec<Part>,
}

#[derive(Debug, Clone)]
pub(super) enum Part {
    /// `**`: any number of folders.
    Any,
    One(glob::Pattern),
}

impl Pattern {
    /// A path that ends with `/` means everything below it. The error says why a pattern is invalid.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "`path` is empty: write a file or a pattern such as `data/*.csv`".to_owned(),
            );
        }
        if text.contains('\0') {
            return Err("`path` contains a NUL byte".to_owned());
        }
        if text == "~" || text.starts_with("~/") {
            let what =
                "`~` is not expanded here: write the whole path, such as `/home/me/data/*.csv`";
            return Err(what.to_owned());
        }
        let is_wild = |part: &str| part.contains(['*', '?', '[']);
        let mut parts = text.split('/').peekable();
        let mut fixed = PathBuf::from(if text.starts_with('/') { "/" } else { "" });
        while let Some(part) = parts.next_if(|part| !is_wild(part)) {
            // Pushed, an empty part would leave a separator at the end.
            if !part.is_empty() {
                fixed.push(part);
            }
        }
        let mut rest: Vec<Part> = parts
            .filter(|part| !part.is_empty())
            .map(Part::parse)
            .collect::<Result<_, _>>()?;
        if text.ends_with('/') {
            rest.push(Part::Any);
        }
        let text = text.to_owned();
        Ok(Self { text, fixed, rest })
    }

    /// A pattern of keys in a bucket; one that is empty or ends with `/` means everything below.
    pub(super) fn parse_key(key: &str) -> Result<Self, String> {
        let below = key.is_empty() || key.ends_with('/');
        let key = key.strip_suffix('/').unwrap_or(key);
        if !key.is_empty() && key.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(format!(
                "{key:?} has a folder without a name, which no key of a bucket may have here"
            ));
        }
        match (key, below) {
            ("", _) => Self::parse("**"),
            (key, true) => Self::parse(&format!("{key}/**")),
            (key, false) => Self::parse(key),
        }
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Ok(Self::Any);
        }
        let pattern = glob::Pattern::new(text);
        pattern
            .map(Self::One)
            .map_err(|error| format!("{text:?} is not a pattern: {}", error.msg))
    }

    /// Whether it would match if upper and lower case were the same.
    pub(super) fn takes_in_any_case(&self, name: &str) -> bool {
        let any_case = glob::MatchOptions {
            case_sensitive: false,
            ..MATCH
        };
        match self {
            Self::Any => self.takes(name),
            Self::One(pattern) => pattern.matches_with(name, any_case),
        }
    }

    /// Whether this part alone matches the name of a folder or file.
    pub(super) fn takes(&self, name: &str) -> bool {
        match self {
            Self::Any => !name.starts_with('.'),
            Self::One(pattern) => pattern.matches_with(name, MATCH),
        }
    }
}

/// Whether the parts match the names of a path, all of both.
pub(super) fn matches(parts: &[Part], names: &[&str]) -> bool {
    let (Some((part, rest)), Some((name, below))) = (parts.split_first(), names.split_first())
    else {
        return parts.is_empty() && names.is_empty();
    };
    let last = below.is_empty();
    match part {
        Part::Any => {
            (!rest.is_empty() && matches(rest, names))
                || (part.takes(name)
                    && if last {
                        rest.is_empty()
                    } else {
                        matches(parts, below)
                    })
        }
        Part::One(_) => part.takes(name) && matches(rest, below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_as_files_do() {
        for (pattern, yes, no) in [
            (
                "*.json",
                &["a.json"][..],
                &["a/b.json", ".a.json", "a.csv"][..],
            ),
            (
                "**/*.json",
                &["a.json", "a/b/c.json"],
                &["a/.b/c.json", "a.csv"],
            ),
            ("a/**", &["a/b", "a/b/c"], &["a", "b/c", "a/.b", "a/.b/c"]),
            ("a/", &["a/b", "a/b/c"], &["a", "ab"]),
            ("", &["a", "a/b"], &[".a"]),
            ("?/[ab].x", &["1/a.x"], &["1/c.x", "12/a.x"]),
            (
                "a/**/b/**/c",
                &["a/b/c", "a/1/b/2/3/c"],
                &["a/c", "a/b/c/d"],
            ),
        ] {
            let pattern = Pattern::parse_key(pattern).unwrap();
            let fixed = pattern.fixed.to_str().unwrap();
            let is = |key: &&str| {
                let below = match fixed {
                    "" => Some(*key),
                    _ => key
                        .strip_prefix(fixed)
                        .and_then(|rest| rest.strip_prefix('/')),
                };
                below.is_some_and(|below| {
                    matches(&pattern.rest, &below.split('/').collect::<Vec<_>>())
                })
            };
            assert!(yes.iter().all(is), "{pattern:?} {yes:?}");
            assert!(!no.iter().any(is), "{pattern:?} {no:?}");
        }
        for bad in ["a//b", "a/../b", "a/[.csv", "a//"] {
            assert!(Pattern::parse_key(bad).is_err(), "{bad}");
        }
    }
}
