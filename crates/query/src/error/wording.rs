//! The engine's messages in the words of SQL: its type names become SQL's, its notation of trees and signatures is left out.

use super::memory::with_plain_operators;
use super::phrases::translated;

/// Names of types as the engine writes them, the longest first.
const TYPES: [(&str, &str); 22] = [
    ("LargeUtf8", "text"),
    ("Utf8View", "text"),
    ("Utf8", "text"),
    ("LargeBinary", "bytea"),
    ("BinaryView", "bytea"),
    ("Binary", "bytea"),
    ("Boolean", "boolean"),
    ("UInt64", "bigint unsigned"),
    ("UInt32", "int unsigned"),
    ("UInt16", "smallint unsigned"),
    ("UInt8", "tinyint unsigned"),
    ("Int64", "bigint"),
    ("Int32", "int"),
    ("Int16", "smallint"),
    ("Int8", "tinyint"),
    ("Float64", "double"),
    ("Float32", "real"),
    ("Float16", "real"),
    ("Date32", "date"),
    ("Date64", "date"),
    ("Decimal128", "decimal"),
    ("Decimal256", "decimal"),
];

/// Types with parameters that SQL does not write.
const PARAMETERIZED: [(&str, &str); 5] = [
    ("Timestamp(", "timestamp"),
    ("Time64(", "time"),
    ("Time32(", "time"),
    ("Interval(", "interval"),
    ("Duration(", "interval"),
];

/// Beginnings of a trailing tree or list of signatures.
const NOTATIONS: [&str; 6] = [
    " { ",
    "Some(",
    "Ident(",
    "Identifier(",
    "BinaryOp",
    "TableFactor",
];

/// The message for people.
pub(super) fn plain(message: &str) -> String {
    let message = without_kinds(message);
    let known = plainer(message)
        .or_else(|| translated(message, with_sql_types).map(|translation| translation.message));
    if let Some(plain) = known {
        return plain;
    }
    with_plain_operators(&with_sql_types(&without_notation(message)))
}

/// What the engine puts before a message, for itself.
const KINDS: [&str; 9] = [
    "External error: ",
    "External: ",
    "Error during planning: ",
    "Execution error: ",
    "Arrow error: ",
    "Compute error: ",
    "Parser error: ",
    "Invalid argument error: ",
    "This feature is not implemented: ",
];

/// An error may be wrapped several times.
fn without_kinds(message: &str) -> &str {
    let mut kinds = KINDS.iter();
    match kinds.find_map(|kind| message.strip_prefix(kind)) {
        Some(rest) => without_kinds(rest),
        None => message,
    }
}

/// A syntax error without the parser's notation of tokens.
pub(super) fn syntax(message: &str) -> String {
    let word = message
        .strip_prefix("No infix parser for token ")
        .and_then(|token| token.split_once("value: \""))
        .and_then(|(_, word)| word.split_once('"'));
    match word {
        Some((word, _)) => format!("Expected: an operator, found: {word}"),
        None => message.to_owned(),
    }
}

/// Messages whose parts are counted or cut before they are said; all others are in [`super::phrases`].
fn plainer(message: &str) -> Option<String> {
    if let Some(kind) = condition(message) {
        return Some(format!(
            "a condition is a boolean, not {}",
            with_sql_types(kind)
        ));
    }
    if let Some(rest) = message.strip_prefix(ROWS_OF_VALUES) {
        let column = rest.split(" column ").nth(1)?.split('.').next()?;
        let column = column.parse::<u64>().ok()? + 1;
        return Some(format!(
            "column {column} of VALUES has values of two types that have none in common"
        ));
    }
    if let Some(rest) = message.strip_prefix("Projections require unique expression names") {
        let (expression, _) = rest.split_once("\" at position ")?;
        let (_, expression) = expression.split_once('"')?;
        let name = expression
            .rsplit_once(" AS ")
            .map_or(expression, |(_, name)| name);
        return Some(format!(
            "two columns have the name {}",
            with_sql_types(name)
        ));
    }
    if let Some(rest) = message.strip_prefix("Order by column out of bounds, specified: ") {
        let (place, count) = rest.split_once(", max: ")?;
        let columns = if count == "1" { "column" } else { "columns" };
        return Some(format!(
            "ORDER BY {place} is out of bounds: the select list has {count} {columns}"
        ));
    }
    if let Some(rest) = message.strip_prefix(NAMES_OF_TABLE) {
        let (has, rest) = rest.split_once(" columns but only ")?;
        let (wanted, _) = rest.split_once(' ')?;
        let columns = if has == "1" { "column" } else { "columns" };
        return Some(format!(
            "a query has {has} {columns} where {wanted} are named or compared"
        ));
    }
    None
}

const NAMES_OF_TABLE: &str = "Source table contains ";

const ROWS_OF_VALUES: &str = "Inconsistent data type across values list";

/// The operands and the operator of an operation that the engine has no rule for.
fn operation(message: &str) -> Option<&str> {
    if let Some(rest) = message.strip_prefix("Cannot coerce arithmetic expression ") {
        return rest.strip_suffix(" to valid types");
    }
    let rest = message.strip_prefix("Cannot infer common ")?;
    let (_, operands) = rest.split_once(" operation ")?;
    Some(operands)
}

/// The type of a condition that is no boolean.
fn condition(message: &str) -> Option<&str> {
    if let Some(rest) = message.strip_prefix("Cannot create filter with non-boolean predicate ") {
        return rest.rsplit_once(" returning ").map(|(_, kind)| kind);
    }
    message.strip_prefix("Join condition must be boolean type, but got ")
}

/// Operators whose operands are of types of their own; see `semantics::logic`.
const STRICT: [&str; 9] = [
    "WHEN",
    "NOT",
    "AND",
    "OR",
    "IS TRUE",
    "IS FALSE",
    "IS UNKNOWN",
    "FILTER",
    "-",
];

/// The operator of `AND takes a boolean, not bigint`.
fn strict(message: &str) -> Option<&str> {
    let (operator, _) = message.split_once(" takes a ")?;
    STRICT.contains(&operator).then_some(operator)
}

/// The operator that a message is about.
pub(super) fn operator(message: &str) -> Option<&str> {
    if let Some(operator) = strict(message) {
        return operator.split(' ').next_back();
    }
    let is_operator = |word: &&str| {
        let mut chars = word.chars();
        !word.is_empty() && chars.all(|c| "+-*/%|&#<>=~!^".contains(c))
    };
    operation(message)?.split(' ').find(is_operator)
}

/// The clauses that a message may be about.
pub(super) fn clause(message: &str) -> Option<&'static [&'static str]> {
    condition(message).map(|_| match message.starts_with("Join") {
        true => &["on"][..],
        false => &["where", "having", "qualify"],
    })
}

/// What to write instead.
pub(super) fn hint(message: &str) -> Option<&'static str> {
    Some(match message {
        message if strict(message) == Some("-") => "cast it to a number: - CAST(x AS double)",
        message if strict(message).is_some() || condition(message).is_some() => {
            "compare it with something: x > 0"
        }
        message if message.starts_with(NAMES_OF_TABLE) => "give each column one name or value",
        message if message.starts_with(ROWS_OF_VALUES) => {
            "cast the values of that column to one type: CAST(x AS type)"
        }
        message if message.starts_with("Projections require unique expression names") => {
            "give one of them another name with AS"
        }
        message => return translated(message, str::to_owned)?.hint,
    })
}

fn without_notation(message: &str) -> String {
    let first = NOTATIONS.iter().filter_map(|mark| message.find(mark)).min();
    let Some(at) = first else {
        return message.to_owned();
    };
    let head = &message[..at];
    // A name that ends at the mark belongs to the notation.
    let head = match head.rsplit_once([':', ' ']) {
        Some((before, _)) => before,
        None => head,
    };
    let head = head.trim_end_matches([':', ' ', ',']);
    if head.is_empty() || head.contains("ast node") || head.contains("sqltorel") {
        return "this form of expression".to_owned();
    }
    head.to_owned()
}

/// The text with SQL's names of types.
pub(super) fn with_sql_types(text: &str) -> String {
    let mut text = text.to_owned();
    for (from, to) in PARAMETERIZED {
        while let Some(start) = text.find(from) {
            let open = start + from.len() - 1;
            let end = text[open..]
                .find(')')
                .map_or(text.len(), |at| open + at + 1);
            let is_instant = from == "Timestamp(" && text[open..end].contains('"');
            let name = if is_instant { "timestamptz" } else { to };
            text.replace_range(start..end, name);
        }
    }
    for (from, to) in TYPES {
        text = text.replace(from, to);
    }
    with_nested_types(text)
}

/// `List(bigint)` as `bigint[]`, `Struct("a": bigint)` as `struct(a bigint)`.
fn with_nested_types(mut text: String) -> String {
    for list in ["LargeList(", "List("] {
        while let Some(start) = text.find(list) {
            let inner = start + list.len();
            let Some(end) = closing(&text[inner..]) else {
                break;
            };
            let item = text[inner..inner + end].to_owned();
            text.replace_range(start..=inner + end, &format!("{item}[]"));
        }
    }
    while let Some(start) = text.find("Struct(") {
        let inner = start + "Struct(".len();
        let end = closing(&text[inner..]).map_or(text.len(), |end| inner + end);
        let fields = text[inner..end].replace("\": ", " ").replace('"', "");
        text.replace_range(start..end, &format!("struct({fields}"));
    }
    text
}

/// The place of the parenthesis that closes one before the text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '(' => open += 1,
            ')' if open == 0 => return Some(at),
            ')' => open -= 1,
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_names_the_word() {
        let message = "No infix parser for token Word(Word { value: \"div\", quote_style: None, keyword: DIV })";
        assert_eq!(syntax(message), "Expected: an operator, found: div");
        assert_eq!(syntax("Expected: ), found: x"), "Expected: ), found: x");
    }

    #[test]
    fn messages_have_no_notation_of_the_engine() {
        for (message, expected) in [
            ("Invalid function 'lenght'.", "unknown function lenght()"),
            (
                "Cannot coerce arithmetic expression Utf8View + Int64 to valid types",
                "text + bigint does not exist",
            ),
            (
                "Projections require unique expression names but the expression \"Int64(1) AS a\" at position 0 and \"Int64(2) AS a\" at position 1 have the same name. Consider",
                "two columns have the name a",
            ),
            (
                "Order by column out of bounds, specified: 3, max: 1",
                "ORDER BY 3 is out of bounds: the select list has 1 column",
            ),
            (
                "Internal error: Expect TypeSignatureClass::Native(..). No function matches the given name and argument types 'upper(Int64, Timestamp(µs, \"+00:00\"))'. You might",
                "upper(bigint, timestamptz) does not exist",
            ),
            (
                "Cannot infer common argument type for comparison operation Date32 = Int64",
                "date = bigint does not exist",
            ),
            (
                "Cannot infer common string type for string concat operation Int64 || Boolean",
                "bigint || boolean does not exist",
            ),
            (
                "Cannot create filter with non-boolean predicate 'Utf8(\"a returning b\")' returning Utf8",
                "a condition is a boolean, not text",
            ),
            (
                "Inconsistent data type across values list at row 1 column 0. Was Map(x) but found Map(y)",
                "column 1 of VALUES has values of two types that have none in common",
            ),
            (
                "Unsupported ast node in sqltorel: Lambda(LambdaFunction { params: x })",
                "this form of expression",
            ),
            (
                "Function 'f' user-defined coercion failed with \"x\"",
                "Function 'f' user-defined coercion failed with \"x\"",
            ),
            (
                "Cannot infer common argument type for comparison operation List(Struct(\"a\": Int64, \"b\": List(Utf8))) = Int64",
                "struct(a bigint, b text[])[] = bigint does not exist",
            ),
            (
                "Date part 'DECADE' not supported",
                "there is no part 'DECADE' of a date or time",
            ),
            (
                "Error during planning: Function 'upper' requires TypeSignatureClass::Native(LogicalType(Native(String), String)), but received Int64 (DataType: Int64).",
                "upper(bigint) does not exist",
            ),
            (
                "window functions inside BoundedWindowAggExec",
                "window functions inside a window function",
            ),
            (
                "Cannot cast string 'x' to value of Decimal128(10, 2) type",
                "Cannot cast string 'x' to value of decimal(10, 2) type",
            ),
        ] {
            assert_eq!(plain(message), expected);
        }
    }
}
