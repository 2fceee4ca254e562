//! Every error code that the sources can make has an explanation in the `codes.md` of its crate, and every explanation a code.
//!
//! Codes are found where they are written: as the argument of a constructor of errors, refusals and diagnostics, or as a
//! constant that is used there.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use forebay_core::{Explanation, explanations};
use regex::Regex;

/// A place in the sources where a code is written. Each group of the pattern is a code.
struct CodeSite {
    pattern: &'static str,
    /// Part of the paths that it is looked for in.
    paths: &'static str,
}

const fn site(pattern: &'static str, paths: &'static str) -> CodeSite {
    CodeSite { pattern, paths }
}

/// `CODE` stands for the literal, `ARGUMENTS` for arguments before it.
const SITES: &[CodeSite] = &[
    site(
        r"Error::(?:config|data|unavailable|conflict|denied|not_found|unsupported|bug)\(\s*CODE",
        "",
    ),
    site(r#"\bError::(?:new|report)\(\s*[^",]+,\s*CODE"#, ""),
    site(r"ErrorKind::\w+,\s*CODE", ""),
    site(r"\bcode: CODE", ""),
    site(r"\bcode: if [^{]*\{\s*CODE\s*\} else \{\s*CODE\s*\}", ""),
    site(r"\bcode = CODE", ""),
    site(r"map_or\(CODE, \|\w+\| \w+\.code", ""),
    site(r#""code":CODE"#, ""),
    site(
        r"\b(?:error|error_at|diagnostic|diagnostic_at|report|of_file)\(ARGUMENTSCODE\s*,",
        "",
    ),
    site(
        r"\b(?:refuse|refused|rejected|give_up|given_up|refuse_long|of_piece|refuse_payload|misfit)\(ARGUMENTSCODE\s*,",
        "crates/formats/",
    ),
    site(
        r"\b(?:refuse|refused|given_up|misfit|read)\(ARGUMENTSCODE\s*,",
        "crates/connectors/",
    ),
    site(r"\bread\(ARGUMENTSCODE\)", "crates/server/src/tls"),
    site(
        r"\b(?:Refusal|Misfit|Why|Unreadable|Stop|Self)::(?:new|at|of|refuse)\(ARGUMENTSCODE,",
        "crates/formats/",
    ),
    site(
        r"\b(?:Misfit|Stop|Self)::(?:new|at|of)\(ARGUMENTSCODE,",
        "crates/connectors/",
    ),
    site(PAIR, "crates/formats/"),
    site(PAIR, "crates/connectors/"),
    site(PAIR, "crates/journal/"),
    site(r#"\(CODE, "(?:gzip|zstd)"\)"#, "crates/formats/src/decode"),
    site(r"=> CODE", "crates/connectors/src/postgres/error.rs"),
    site(r"=> (?:\{\s*)?CODE", "crates/formats/src/parquet/mod.rs"),
];

/// A code beside its message.
const PAIR: &str = r#"\(\s*CODE,\s*(?:format!|reason|what|message|"[A-Za-z`{][^"]* [^"]*")"#;

/// Uses of a constant as a code.
const CONSTANT_SITES: &[&str] = &[
    r#"Error::\w+\(\s*(?:[^",()]+(?:\(\))?,\s*)?(?:\w+::)*([A-Z][A-Z_]{2,})\s*,"#,
    r"\bcode: (?:\w+::)*([A-Z_]{3,})\b",
    r"code\(?\)? [!=]= (?:\w+::)*([A-Z_]{3,})\b",
    r"(?:Refusal|Misfit|Why|Unreadable|Stop)::\w+\(\s*(?:\w+::)*([A-Z_]{3,})\s*,",
];

const CODE: &str = r#""([a-z][a-z0-9]*(?:_[a-z0-9]+)*)""#;
const ARGUMENTS: &str = r#"(?:[^"();]|\([^"()]*\))*?"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A file of a crate, without its tests.
struct SourceFile {
    /// From the root: `crates/lake/src/lib.rs`.
    path: String,
    text: String,
}

impl SourceFile {
    fn crate_name(&self) -> &str {
        self.path.split('/').nth(1).unwrap()
    }
}

fn collect(folder: &Path, found: &mut Vec<SourceFile>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            collect(&path, found);
        } else if name.ends_with(".rs") && !matches!(name, "tests.rs" | "fixture.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            found.push(SourceFile {
                path: path.strip_prefix(root()).unwrap().display().to_string(),
                text: code.to_owned(),
            });
        }
    }
}

fn crates() -> impl Iterator<Item = PathBuf> {
    let folders = std::fs::read_dir(root().join("crates")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path());
    folders.filter(|path| !path.ends_with("testkit"))
}

fn sources() -> Vec<SourceFile> {
    let mut found = Vec::new();
    for folder in crates() {
        collect(&folder.join("src"), &mut found);
    }
    found
}

/// The codes of the sources, each with the crates that make it.
fn codes(sources: &[SourceFile]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |code: &str, source: &SourceFile| {
        let crates = found.entry(code.to_owned()).or_default();
        crates.insert(source.crate_name().to_owned());
    };
    for CodeSite { pattern, paths } in SITES {
        let pattern = pattern
            .replace("ARGUMENTS", ARGUMENTS)
            .replace("CODE", CODE);
        let pattern = Regex::new(&pattern).unwrap();
        for source in sources.iter().filter(|source| source.path.contains(paths)) {
            for captures in pattern.captures_iter(&source.text) {
                let codes = captures.iter().skip(1).flatten();
                codes.for_each(|code| add(code.as_str(), source));
            }
        }
    }
    let used = constants(sources);
    let constant = format!(r"const (\w+): &(?:'static )?str =\s*{CODE}");
    let constant = Regex::new(&constant).unwrap();
    for source in sources {
        for captures in constant.captures_iter(&source.text) {
            if used.contains(&captures[1]) {
                add(&captures[2], source);
            }
        }
    }
    found
}

/// Names of the constants that are used as codes.
fn constants(sources: &[SourceFile]) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for pattern in CONSTANT_SITES {
        let pattern = Regex::new(pattern).unwrap();
        for source in sources {
            let names = pattern.captures_iter(&source.text);
            used.extend(names.map(|captures| captures[1].to_owned()));
        }
    }
    used
}

/// The explanations of each crate.
fn explained() -> BTreeMap<String, Vec<Explanation>> {
    let of_crate = |folder: PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(folder.join("codes.md"));
        let text = text.unwrap_or_else(|error| panic!("crates/{name}/codes.md: {error}"));
        (name, explanations(text.leak()).collect())
    };
    crates().map(of_crate).collect()
}

#[test]
fn every_code_is_explained_once_beside_a_place_that_makes_it() {
    let codes = codes(&sources());
    assert!(codes.len() > 500, "only {} codes were found", codes.len());
    let mut places: BTreeMap<&str, &str> = BTreeMap::new();
    let explained = explained();
    for (name, explanations) in &explained {
        for Explanation { code, .. } in explanations {
            let makers = codes.get(*code);
            assert!(
                makers.is_some_and(|makers| makers.contains(name)),
                "crates/{name}/codes.md explains `{code}`, which is made in {makers:?}"
            );
            let first = places.insert(code, name);
            assert!(
                first.is_none(),
                "`{code}` is explained in {name} and {first:?}"
            );
        }
    }
    let missing: Vec<_> = codes
        .iter()
        .filter(|(code, _)| !places.contains_key(code.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "write what happened and what to do next into `codes.md` of a crate that makes the code: {missing:#?}"
    );
}

#[test]
fn explanations_are_ordered_sentences() {
    for (name, explanations) in explained() {
        let codes: Vec<&str> = explanations.iter().map(|one| one.code).collect();
        assert!(codes.is_sorted(), "crates/{name}/codes.md is not in order");
        for Explanation {
            code,
            cause,
            remedy,
        } in explanations
        {
            for text in [cause, remedy] {
                assert!(
                    text.len() > 10 && text.ends_with('.') && !text.contains('\n'),
                    "`{code}` of crates/{name}: {text:?}"
                );
            }
        }
    }
}
