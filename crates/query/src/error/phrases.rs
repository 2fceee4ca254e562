//! Messages of the engine and what is said instead: one table, in which each message is a pattern.
//!
//! Only texts that name the engine's own types, operators or rules are here; others are understood as they are.

/// A message of the engine. `{}` in its pattern is any text, up to the first place where the pattern goes on.
struct Phrase {
    pattern: &'static str,
    /// `{0}` is the text of the first `{}`.
    plain: &'static str,
    hint: Option<&'static str>,
}

const fn phrase(pattern: &'static str, plain: &'static str) -> Phrase {
    Phrase {
        pattern,
        plain,
        hint: None,
    }
}

const fn hinted(pattern: &'static str, plain: &'static str, hint: &'static str) -> Phrase {
    Phrase {
        pattern,
        plain,
        hint: Some(hint),
    }
}

const CAST: &str = "cast it: CAST(x AS type)";

/// The parts of dates and times that there are.
const DATE_PARTS: &str = "the parts are year, isoyear, quarter, month, week, day, dow, isodow, doy, hour, minute, second, millisecond, microsecond and epoch";

/// The first that fits counts.
const PHRASES: &[Phrase] = &[
    // Functions and their arguments.
    phrase("Invalid function '{}'{}", "unknown function {0}()"),
    phrase(
        "{}No function matches the given name and argument types '{}'{}",
        "{1} does not exist",
    ),
    phrase(
        "{}Function '{}' failed to match any signature{}(DataType: {}){}",
        "{1}({3}) does not exist",
    ),
    phrase(
        "{}Function '{}' requires {}, but received {} (DataType: {}){}",
        "{1}({4}) does not exist",
    ),
    phrase(
        "{}Function '{}' user-defined coercion failed with {}(\"{}\"){}",
        "{1}(): {3}",
    ),
    phrase("{}unction '{}' has signature {}", "{1}() takes arguments"),
    phrase(
        "{}unction '{}' expects NativeType::{} but {}eceived NativeType::{}",
        "{1}() takes another type than {4}",
    ),
    phrase(
        "{}For function '{}' {} and {} are not coercible to a common numeric type",
        "{1}({2}, {3}) does not exist",
    ),
    phrase(
        "{}For function '{}' {} and {} is not comparable",
        "{1}({2}, {3}) does not exist",
    ),
    phrase(
        "{}Function '{}' could not coerce {} and {} to a common string type",
        "{1}({2}, {3}) does not exist",
    ),
    phrase(
        "{}unction '{}' expects {} arguments but received {}",
        "{1}() takes {2} arguments, not {3}",
    ),
    phrase(
        "{}unction '{}' expected zero argument but received {}",
        "{1}() takes no arguments",
    ),
    phrase(
        "{}unction '{}' expected at least one argument but received 0",
        "{1}() takes arguments",
    ),
    phrase(
        "{}unction '{}' expected {} arguments but received {}",
        "{1}() takes {2} arguments, not {3}",
    ),
    phrase(
        "Failed to coerce arguments to satisfy a call to '{}' function: coercion from {} to the signature {}",
        "{0}({1}) does not exist",
    ),
    phrase(
        "Unsupported data type {} for function {}",
        "{1} does not take {0}",
    ),
    phrase(
        "Unsupported data types {} for function {}",
        "{1} does not take {0}",
    ),
    phrase(
        "Unexpected data type {} for function {}",
        "{1} does not take {0}",
    ),
    phrase(
        "The {} function can only accept {}, but got {}",
        "{0}() takes {1}, not {2}",
    ),
    hinted(
        "Date part '{}' not supported",
        "there is no part '{0}' of a date or time",
        DATE_PARTS,
    ),
    hinted(
        "Date part {} not supported",
        "there is no part '{0}' of this type",
        DATE_PARTS,
    ),
    hinted(
        "Unsupported date_trunc granularity: '{}'{}",
        "date_trunc() has no '{0}'",
        "write year, quarter, month, week, day, hour, minute, second, millisecond or microsecond",
    ),
    phrase(
        "Granularity of `date_trunc` must be non-null scalar Utf8",
        "the first argument of date_trunc() is a literal such as 'day'",
    ),
    phrase(
        "First argument of `DATE_PART` must be non-null scalar Utf8",
        "the first argument of date_part() is a literal such as 'year'",
    ),
    phrase(
        "{} requires non-empty constant string",
        "the first argument of {0}() is a literal such as 'year'",
    ),
    hinted(
        "Dot access not supported for non-string expr{}",
        "a call behind a point",
        "write f(x) instead of x.f()",
    ),
    hinted(
        "Operator DIV is not yet supported",
        "the operator //",
        "/ of whole numbers cuts; write floor(a / b) for others",
    ),
    phrase("DATE_BIN {} must be {}", "date_bin(): {0} must be {1}"),
    // Types that have none in common.
    hinted(
        "Cannot coerce arithmetic expression {} to valid types",
        "{0} does not exist",
        "cast one side: CAST(x AS type)",
    ),
    hinted(
        "Cannot infer common {} operation {}",
        "{1} does not exist",
        "cast one side: CAST(x AS type)",
    ),
    hinted(
        "There isn't a common type to coerce {} and {} in {} expression",
        "{0} {2} {1} does not exist",
        CAST,
    ),
    hinted(
        "Can not find compatible types to compare {} with [{}]",
        "a list of {1} cannot hold {0}",
        CAST,
    ),
    hinted(
        "Failed to coerce then ({}) and else ({}) to common types in CASE WHEN expression",
        "the results of CASE have types that have none in common: {0}, {1}",
        CAST,
    ),
    hinted(
        "Failed to coerce case ({}) and when ({}) to common types in CASE WHEN expression",
        "CASE compares {0} with {1}",
        CAST,
    ),
    hinted(
        "expr type {} can't cast to {} in {}",
        "{0} is compared with a subquery of {1}",
        CAST,
    ),
    hinted(
        "Cannot automatically convert {} to {}",
        "{0} is no {1}",
        CAST,
    ),
    hinted(
        "Incompatible inputs for Union: {} of type {}, but got incompatible type {} on column '{}'",
        "the queries of a UNION have types that have none in common: {1}, {2}",
        CAST,
    ),
    hinted(
        "UNION field {} have different type in inputs: left has {} whereas right has {}",
        "the queries of a UNION have types that have none in common: {1}, {2}",
        CAST,
    ),
    phrase(
        "U{} different number of {}: {} has {} whereas {} has {}",
        "the queries of a UNION have different numbers of columns: {3}, {5}",
    ),
    // Forms of statements.
    hinted(
        "Aggregate can not be used as a sliding accumulator because `retract_batch` is not implemented: {}({}",
        "{0}() over a moving frame",
        "join the table with itself",
    ),
    hinted(
        "Row format support not yet implemented for{}",
        "DISTINCT, GROUP BY, UNION or ORDER BY over maps",
        "write UNION ALL, or compare map_keys(m) and map_values(m)",
    ),
    hinted(
        "Substring without for/from is not valid{}",
        "substring() takes FROM, FOR or both",
        "write substring(x FROM 2 FOR 3)",
    ),
    hinted(
        "First argument must be a timestamp{}",
        "a series of timestamps is not supported in FROM",
        "write SELECT unnest(generate_series(…)) AS at in a subquery",
    ),
    hinted(
        "Correlated scalar subquery must be aggregated{}",
        "a subquery that is a value and refers to the row outside may have several rows",
        "write an aggregate in it, such as max(x), or a join",
    ),
    hinted(
        "Unary operator '+' only supports{}",
        "+ takes a number or interval",
        "leave the sign out",
    ),
    hinted(
        "Unsupported SQL unary operator{}",
        "this operator before a value",
        "write -x - 1 for ~x, sqrt(x) for |/x, cbrt(x) for ||/x, abs(x) for @x",
    ),
    hinted(
        "Conflicting ordering requirements in aggregate functions{}",
        "nth_value() with several orders in one SELECT",
        "write (array_agg(x ORDER BY y))[n] instead of nth_value(x, n ORDER BY y)",
    ),
    hinted(
        "{}nSubquery should only return one column, but found {}: {}",
        "the subquery of IN has {1} columns, not one",
        "name one column in it",
    ),
    hinted(
        "Scalar subquery should only return one column, but found {}: {}",
        "a subquery that is a value has {0} columns, not one",
        "name one column in it",
    ),
    hinted(
        "Set comparison subquery should only return one column, but found {}: {}",
        "the subquery of ANY or ALL has {0} columns, not one",
        "name one column in it",
    ),
    hinted(
        "Column in {} must be in GROUP BY or an aggregate function: While expanding wildcard, column \"{}\" must appear{}",
        "column {1} is neither in GROUP BY nor in an aggregate",
        "add it to GROUP BY, or write an aggregate of it: max(x), any_value(x)",
    ),
    hinted(
        "Too many columns! The subquery should only return one column: {}",
        "a subquery that is a value has one column, not: {0}",
        "name one column in it",
    ),
    phrase(
        "Cannot access field at argument {}: type {} is not Struct, Map, or Null",
        "a field is read from a struct or map, not from {1}",
    ),
    phrase(
        "Field {} not found in struct",
        "the struct has no field {0}",
    ),
    phrase(
        "Inconsistent data length across values list: got {} values in row {} but expected {}",
        "the rows of VALUES have different numbers of values: {0}, {2}",
    ),
    phrase("Unsupported CAST from {} to {}", "a cast of {0} to {1}"),
    phrase("Unsupported SQL type {}", "the type {0}"),
    phrase(
        "Unsupported type '{}'. Must be a supported arrow type{}",
        "arrow_cast() has no type '{0}'",
    ),
    phrase(
        "Decimal(precision = {}, scale = {}) should satisfy {}",
        "decimal({0}, {1}): a decimal has 1 to 38 digits, and no more behind the point than it has",
    ),
    phrase(
        "variable [\"{}\"] has no type information",
        "there are no variables: {0}",
    ),
    phrase(
        "Placeholder '{}' was not provided a value for execution",
        "there is no value for the placeholder {0}",
    ),
    phrase("{} does not support: {}", "there is no part {0} of {1}"),
    hinted(
        "Multiple recursive references to the same CTE are not supported",
        "WITH RECURSIVE that names itself twice in one query",
        "name it once, and join the result",
    ),
    phrase(
        "Non-recursive term and recursive term must have the same number of columns ({} != {})",
        "the two queries of WITH RECURSIVE have different numbers of columns: {0}, {1}",
    ),
    phrase(
        "Invalid window frame: start bound ({}) cannot be larger than end bound ({})",
        "a window frame begins behind its end",
    ),
    phrase(
        "unnest() can only be applied to array, struct and null",
        "unnest() takes a list or struct",
    ),
    phrase(
        "Argument #{} must be an INTEGER, TIMESTAMP, DATE or NULL, got {}",
        "argument {0} is a whole number, timestamp or date, not {1}",
    ),
    phrase("Invalid window frame: {}", "{0} in a window frame"),
    phrase(
        "Argument {} to grouping function is not in grouping columns {}",
        "grouping() takes an element of GROUP BY, not {0}",
    ),
    phrase(
        "Unsupported ast node in sqltorel: {}",
        "this form of expression",
    ),
];

/// The message in other words, and what to write instead.
pub(super) struct Translation {
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

/// The translation of a message; `None` for one that stays as it is. `shown` gives each text of the message as people see it.
pub(super) fn translated(message: &str, shown: impl Fn(&str) -> String) -> Option<Translation> {
    PHRASES.iter().find_map(|phrase| {
        let texts = texts(phrase.pattern, message)?;
        let texts: Vec<String> = texts
            .iter()
            .map(|text| shown(text.trim_end_matches('.')))
            .collect();
        Some(Translation {
            message: filled(phrase.plain, &texts)?,
            hint: phrase.hint,
        })
    })
}

/// The words with texts at their places.
fn filled(plain: &str, texts: &[String]) -> Option<String> {
    let mut parts = plain.split('{');
    let mut filled = parts.next()?.to_owned();
    for part in parts {
        let (at, words) = part.split_once('}')?;
        filled.push_str(texts.get(at.parse::<usize>().ok()?)?);
        filled.push_str(words);
    }
    Some(filled)
}

/// What a message has at the places of a pattern.
fn texts<'m>(pattern: &str, message: &'m str) -> Option<Vec<&'m str>> {
    let mut parts = pattern.split("{}");
    let mut rest = message.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    for part in parts {
        let end = match part {
            "" => rest.len(),
            part => rest.find(part)?,
        };
        found.push(&rest[..end]);
        rest = &rest[end + part.len()..];
    }
    rest.trim_end_matches('.').is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_its_texts() {
        assert_eq!(texts("a {} b {}", "a 1 b 2"), Some(vec!["1", "2"]));
        assert_eq!(texts("a {} b", "a 1 b c"), None);
        assert_eq!(texts("a{}", "a"), Some(vec![""]));
        assert_eq!(texts("x {}", "a 1"), None);
    }

    #[test]
    fn every_place_of_a_translation_has_a_text() {
        for phrase in PHRASES {
            let texts = vec![String::new(); phrase.pattern.matches("{}").count()];
            assert!(filled(phrase.plain, &texts).is_some(), "{}", phrase.pattern);
        }
    }
}
