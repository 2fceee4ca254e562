//! The explanations of all error codes.

use forebay_core::{Error, Explanation, Result, explanations};

/// The explanations of each crate.
const FILES: &[&str] = &[
    include_str!("../codes.md"),
    forebay_config::CODES,
    forebay_connectors::CODES,
    forebay_control::CODES,
    forebay_core::CODES,
    forebay_formats::CODES,
    forebay_journal::CODES,
    forebay_lake::CODES,
    forebay_objects::CODES,
    forebay_pipeline::CODES,
    forebay_query::CODES,
    forebay_server::CODES,
    forebay_store::CODES,
];

/// Every explanation, ordered by code.
pub(crate) fn all() -> Vec<Explanation> {
    let mut all: Vec<Explanation> = FILES.iter().flat_map(|file| explanations(file)).collect();
    all.sort_by_key(|explanation| explanation.code);
    all
}

/// The explanation of a code, which may be written as an error shows it: `error[bad_url]`.
///
/// Errors: `NotFound` `no_such_code`.
pub(crate) fn find(written: &str) -> Result<Explanation> {
    let code = written.trim().trim_end_matches(':');
    let code = code.strip_prefix("error[").unwrap_or(code);
    let code = code.trim_matches(['[', ']']).to_lowercase();
    let all = all();
    if let Some(found) = all.iter().find(|explanation| explanation.code == code) {
        return Ok(*found);
    }
    let nearest = forebay_config::suggest::nearest(&code, all.iter().map(|one| one.code));
    let hint = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "`forebay explain` without a code lists all".to_owned(),
    };
    let message = format!("no error has the code `{code}`");
    Err(Error::not_found("no_such_code", message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_as_it_is_shown_and_a_misspelled_one_is_suggested() {
        for written in ["bad_url", "error[bad_url]:", "[BAD_URL]", " bad_url "] {
            assert_eq!(find(written).unwrap().code, "bad_url", "{written}");
        }
        assert_eq!(find("error_body").unwrap().code, "error_body");
        let error = find("bad_ulr").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `bad_url`?"));
        let error = find("x").unwrap_err();
        assert!(error.hint().unwrap().contains("lists all"));
    }
}
