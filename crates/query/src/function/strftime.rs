//! Formats of Postgres (`YYYY-MM-DD`) as formats of strftime (`%Y-%m-%d`).

/// The function that converts a format to strftime at run time, where it is not a literal.
pub(crate) const STRFTIME_FORMAT: &str = "strftime_format";

/// Patterns of Postgres, the longer first, with theirs of strftime.
const PATTERNS: [(&str, &str); 26] = [
    ("FMMonth", "%B"),
    ("FMHH24", "%-H"),
    ("FMHH12", "%-I"),
    ("FMDay", "%A"),
    ("FMDDD", "%-j"),
    ("FMHH", "%-I"),
    ("FMMM", "%-m"),
    ("FMDD", "%-d"),
    ("FMMI", "%-M"),
    ("FMSS", "%-S"),
    ("IYYY", "%G"),
    ("YYYY", "%Y"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("DDD", "%j"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("HH", "%I"),
    ("MI", "%M"),
    ("SS", "%S"),
    ("MS", "%3f"),
    ("US", "%6f"),
    ("IW", "%V"),
    ("ID", "%u"),
    ("Q", "%q"),
];

/// Patterns whose letters set the case of the text.
const TEXT_PATTERNS: [(&str, &str); 6] = [
    ("Mon", "%b"),
    ("Dy", "%a"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("am", "%P"),
    ("pm", "%P"),
];

/// The format for strftime. Errors: the part that is not understood.
pub(crate) fn strftime(format: &str) -> Result<String, String> {
    if format.contains('%') {
        return Ok(format.to_owned());
    }
    let mut made = String::new();
    let mut left = format;
    while let Some(first) = left.chars().next() {
        if let Some(quoted) = left.strip_prefix('"') {
            let (text, rest) = quoted
                .split_once('"')
                .ok_or_else(|| format!("the format '{format}' has an open quote"))?;
            made.push_str(text);
            left = rest;
        } else if let Some((pattern, own)) = pattern_of(left) {
            made.push_str(own);
            left = &left[pattern.len()..];
        } else if first.is_alphanumeric() {
            return Err(format!(
                "the format '{format}' is not understood at '{left}'"
            ));
        } else {
            made.push(first);
            left = &left[first.len_utf8()..];
        }
    }
    Ok(made)
}

/// The pattern that the text begins with, when no other letter follows that would make it another one.
fn pattern_of(text: &str) -> Option<(&'static str, &'static str)> {
    let begins = |pattern: &str| {
        let head = text.get(..pattern.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(pattern))
    };
    let is_named = |pattern: &str| pattern.contains(char::is_lowercase);
    let mut named = PATTERNS
        .iter()
        .filter(|(pattern, _)| is_named(pattern))
        .chain(&TEXT_PATTERNS);
    let named = named.find(|(pattern, _)| text.starts_with(pattern));
    // `Month` and `Day` without FM have blanks behind them, ordinal numbers `th`; `SSSS` and `IDDD` are not two patterns.
    let others = ["month", "day", "ssss", "iddd"];
    let is_padded = others.iter().any(|word| begins(word));
    let mut plain = PATTERNS.iter().filter(|(pattern, _)| !is_named(pattern));
    let found = named.or_else(|| plain.find(|(pattern, _)| begins(pattern)))?;
    let rest = text[found.0.len()..].get(..2);
    let is_ordinal = rest.is_some_and(|rest| rest.eq_ignore_ascii_case("th"));
    (!is_padded && !is_ordinal).then_some(*found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_postgres_are_read_or_refused() {
        for (format, expected) in [
            ("YYYY-MM-DD", "%Y-%m-%d"),
            ("yyyy-mm-dd hh24:mi:ss", "%Y-%m-%d %H:%M:%S"),
            ("DD.MM.YY HH12:MI AM", "%d.%m.%y %I:%M %p"),
            ("FMMonth FMDD, YYYY", "%B %-d, %Y"),
            ("Dy, DD Mon YYYY", "%a, %d %b %Y"),
            ("IYYY-\"W\"IW-ID", "%G-W%V-%u"),
            ("YYYY\"T\"HH24MISS.US", "%YT%H%M%S.%6f"),
            ("YYYY-Q DDD", "%Y-%q %j"),
            ("%d.%m.%Y", "%d.%m.%Y"),
        ] {
            assert_eq!(strftime(format).as_deref(), Ok(expected), "{format}");
        }
        for format in [
            "Month",
            "Day",
            "DDth",
            "YYYY-MM-DDTHH24",
            "MON",
            "WW",
            "D",
            "TZ",
            "999.99",
            "SSSS",
            "SSSSS",
            "IYYY-IDDD",
            "x",
            "\"x",
        ] {
            assert!(strftime(format).is_err(), "{format}");
        }
    }
}
