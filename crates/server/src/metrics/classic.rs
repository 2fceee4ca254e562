//! OpenMetrics text as the classic text format of Prometheus, which most tools read.
//!
//! They differ in three things here: the family of a counter is named like its samples, with `_total`; units are left out;
//! and so is the end marker.

/// The same metrics in the classic format.
pub(super) fn of(open: &str) -> String {
    let mut text = String::with_capacity(open.len() + 1024);
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let kind = match line.strip_prefix("# HELP ") {
            Some(_) => lines.peek().copied(),
            None => Some(line),
        };
        let counter = kind
            .and_then(|kind| kind.strip_prefix("# TYPE "))
            .and_then(|kind| kind.strip_suffix(" counter"));
        match counter {
            Some(name) if line.starts_with("# ") => {
                let (before, after) = line.split_at("# HELP ".len() + name.len());
                text.extend([before, "_total", after]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_named_as_their_samples() {
        let open = "# HELP a_b How many.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP c Now.\n# TYPE c gauge\n# UNIT c s\nc 1\n# EOF\n";
        let classic = "# HELP a_b_total How many.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP c Now.\n# TYPE c gauge\nc 1\n";
        assert_eq!(super::of(open), classic);
    }
}
