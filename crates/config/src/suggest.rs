//! "Did you mean": the nearest of the names that are allowed.

/// The nearest name, when it is near enough to be a suggestion.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let scored = names.into_iter().filter_map(|name| {
        let distance = strsim::damerau_levenshtein(&typed, &name.to_lowercase());
        let longest = typed.chars().count().max(name.chars().count());
        let similar = strsim::jaro_winkler(&typed, name);
        (distance <= (longest / 3).max(1) && distance < longest)
            .then_some((distance, similar, name))
    });
    let best = scored.min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    best.map(|(_, _, name)| name)
}

/// `a`, `b` or `c`, for messages; long lists are cut.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 20;
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        many if many.len() > SHOWN_MAX => format!(
            "{} and {} more",
            many[..SHOWN_MAX].join(", "),
            many.len() - SHOWN_MAX
        ),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        let names = ["url", "params", "paginate", "per", "rate", "records"];
        for (typed, meant) in [
            ("paginat", Some("paginate")),
            ("URL", Some("url")),
            ("rul", Some("url")),
            ("er", Some("per")),
            ("recrods", Some("records")),
            ("x", None),
            ("schedule", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
