//! Links and tokens that count: `?page=2` after the first page, `next_offset: 200` after 200 records.
//!
//! Such a step is a page number or an offset by another name, and loses records when the list shifts. A keyset
//! (`after=8461`) does not. Only the values distinguish them; a keyset mistaken for a count only costs a second
//! reading.

use super::config::Config;
use super::paginate::{At, first_params, is_size};

/// Whether the step from this page, which has `records` records, to the next one counts pages or records.
pub(super) fn counts(config: &Config, at: &At, next: &At, records: u64) -> bool {
    let is_step = |before: Option<&str>, after: &str| is_step(before, after, records);
    match (at, next) {
        (At::Token(before), At::Token(after)) => is_step(Some(before), after),
        (_, At::Token(after)) => is_step(None, after),
        (At::Url(before), At::Url(after)) => any_param(&params_of(before), after, is_step),
        (_, At::Url(after)) => any_param(&first_params(config), after, is_step),
        _ => false,
    }
}

/// Whether one parameter of the URL makes such a step.
fn any_param(
    before: &[(String, String)],
    after: &str,
    is_step: impl Fn(Option<&str>, &str) -> bool,
) -> bool {
    params_of(after).iter().any(|(name, value)| {
        let before = before.iter().find(|(other, _)| other == name);
        !is_size(name) && is_step(before.map(|(_, value)| value.as_str()), value)
    })
}

/// One page or one page's records further; pages count from 0 or 1 when the first request does not specify it.
fn is_step(before: Option<&str>, after: &str, records: u64) -> bool {
    let Ok(after) = after.parse::<u64>() else {
        return false;
    };
    let steps = match before.map(str::parse::<u64>) {
        Some(Ok(before)) => after.checked_sub(before).into_iter().collect(),
        Some(Err(_)) => Vec::new(),
        None => vec![after, after.saturating_sub(1)],
    };
    steps
        .iter()
        .any(|step| *step > 0 && (*step == 1 || *step == records))
}

/// The query parameters of a URL, which may be relative.
fn params_of(address: &str) -> Vec<(String, String)> {
    let address = address.split('#').next().unwrap_or_default();
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_number_is_told_from_a_key() {
        for (before, after, records, expected) in [
            (None, "2", 30, true),
            (None, "1", 30, true),
            (None, "30", 30, true),
            (None, "31", 30, true),
            (None, "8461", 30, false),
            (Some("7"), "8", 30, true),
            (Some("60"), "90", 30, true),
            (Some("8461"), "8502", 30, false),
            (Some("2"), "2", 30, false),
            (Some("2"), "1", 30, false),
            (Some("8461"), "8461", 0, false),
            (Some("x"), "2", 30, false),
            (None, "bGFzdA==", 30, false),
        ] {
            assert_eq!(
                is_step(before, after, records),
                expected,
                "{before:?} {after}"
            );
        }
    }

    #[test]
    fn a_parameter_of_a_relative_address_counts() {
        let before = [("status".to_owned(), "1".to_owned())];
        let of = |after| any_param(&before, after, |before, after| is_step(before, after, 50));
        assert!(of("/q?status=1&page=2"));
        assert!(of("?status=1&offset=50#top"));
        assert!(!of("?status=1&per_page=2"));
        assert!(!of("?status=1&after=8461"));
        assert!(!of("/q"));
    }
}
