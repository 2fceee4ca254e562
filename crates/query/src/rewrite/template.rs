//! Formats of times: Postgres patterns such as `YYYY-MM-DD` become those of strftime, which the engine takes.
//!
//! The engine gives a format without a `%` back as it is, so that rows would be grouped by the text `YYYY-MM`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};
use forebay_core::Error;

use super::{call, unsupported};

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

const HINT: &str = "use YYYY, YY, MM, DD, HH24, HH12, MI, SS, MS, US, Mon, FMMonth, Dy, FMDay, DDD, IYYY, IW, ID, Q, AM, with other text in \
    double quotes, or a strftime format such as '%Y-%m-%d'";

/// Brings the formats of a call to strftime. Errors: `Unsupported` for one that cannot be.
pub(super) fn translate(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    let Expr::Function(function) = expr else {
        return ControlFlow::Continue(());
    };
    let name = function.name.to_string().to_lowercase();
    let of_postgres = match name.as_str() {
        "to_char"
        | "to_date"
        | "to_timestamp"
        | "to_timestamp_seconds"
        | "to_timestamp_millis"
        | "to_timestamp_micros"
        | "to_timestamp_nanos"
        | "to_unixtime"
        | "to_time" => true,
        // In other engines `mm` is minutes there.
        "date_format" => false,
        _ => return ControlFlow::Continue(()),
    };
    match translate_formats(function, of_postgres) {
        Ok(()) => ControlFlow::Continue(()),
        Err(message) => ControlFlow::Break(unsupported(expr, &message, HINT)),
    }
}

fn translate_formats(function: &mut Function, of_postgres: bool) -> Result<(), String> {
    let FunctionArguments::List(list) = &mut function.args else {
        return Ok(());
    };
    for arg in list.args.iter_mut().skip(1) {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(format)) = arg else {
            continue;
        };
        match format {
            Expr::Value(value) => {
                if let Value::SingleQuotedString(text) = &mut value.value
                    && !text.contains('%')
                {
                    *text = match of_postgres {
                        true => strftime(text)?,
                        false => return Err(format!("the format '{text}' has no `%`")),
                    };
                }
            }
            other => *other = call(STRFTIME_FORMAT, vec![other.clone()]),
        }
    }
    Ok(())
}

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
