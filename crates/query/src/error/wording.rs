//! The engine's messages in the words of SQL: its type names become SQL's, its notation of trees and signatures is left out.

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
    let message = message
        .trim_start_matches("Error during planning: ")
        .trim_start_matches("Execution error: ")
        .trim_start_matches("Arrow error: ");
    let known = unknown_function(message)
        .or_else(|| wrong_arguments(message))
        .or_else(|| no_signature(message))
        .or_else(|| plainer(message));
    if let Some(plain) = known {
        return plain;
    }
    with_sql_types(&without_notation(message))
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

fn unknown_function(message: &str) -> Option<String> {
    let name = message
        .strip_prefix("Invalid function '")?
        .split('\'')
        .next()?;
    Some(format!("unknown function {name}()"))
}

fn wrong_arguments(message: &str) -> Option<String> {
    let (_, rest) =
        message.split_once("No function matches the given name and argument types '")?;
    let (call, _) = rest.split_once('\'')?;
    Some(format!("{} does not exist", with_sql_types(call)))
}

/// `Function 'sum' failed to match any signature, errors: …, but received String (DataType: text)`.
fn no_signature(message: &str) -> Option<String> {
    let (before, after) = message.split_once("' failed to match any signature")?;
    let (_, name) = before.rsplit_once('\'')?;
    let (_, received) = after.split_once("(DataType: ")?;
    let (kind, _) = received.split_once(')')?;
    Some(format!("{name}({}) does not exist", with_sql_types(kind)))
}

/// Messages of the engine that name its rules instead of the fault.
fn plainer(message: &str) -> Option<String> {
    if let Some(operands) = operation(message) {
        return Some(format!("{} does not exist", with_sql_types(operands)));
    }
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
    if let Some(call) = message.strip_prefix(FRAME) {
        let name = call.split('(').next()?;
        return Some(format!("{name}() over a moving frame"));
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
    let known = match message {
        message if message.starts_with(MAP_AS_KEY) => {
            "DISTINCT, GROUP BY, UNION or ORDER BY over maps"
        }
        message if message.starts_with(SUBSTRING) => "substring() takes FROM, FOR or both",
        message if message.starts_with(SERIES) => "a series of timestamps is not supported in FROM",
        message if message.starts_with(CORRELATED_VALUE) => {
            "a subquery that is a value and refers to the row outside may have several rows"
        }
        message if message.starts_with(PLUS) => "+ takes a number or interval",
        message if message.starts_with(UNARY) => "this operator before a value",
        message if message.starts_with(ORDERS) => "nth_value() with several orders in one SELECT",
        _ => return None,
    };
    Some(known.to_owned())
}

/// Only the engine's `nth_value` needs its rows sorted.
const ORDERS: &str = "Conflicting ordering requirements in aggregate functions";

/// What a frame leaves behind is taken away from an aggregate, where it can be.
const FRAME: &str = "Aggregate can not be used as a sliding accumulator because `retract_batch` is not implemented: ";

const SUBSTRING: &str = "Substring without for/from is not valid";

/// The engine takes timestamps in nanoseconds only there.
const SERIES: &str = "First argument must be a timestamp";

const CORRELATED_VALUE: &str = "Correlated scalar subquery must be aggregated";

const PLUS: &str = "Unary operator '+' only supports";

const UNARY: &str = "Unsupported SQL unary operator";

const NAMES_OF_TABLE: &str = "Source table contains ";

const MAP_AS_KEY: &str = "Row format support not yet implemented for";

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
const STRICT: [&str; 8] = [
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
        message if operation(message).is_some() => "cast one side: CAST(x AS type)",
        message if strict(message) == Some("-") => "cast it to a number: - CAST(x AS double)",
        message if strict(message).is_some() || condition(message).is_some() => {
            "compare it with something: x > 0"
        }
        message if message.starts_with(NAMES_OF_TABLE) => "give each column one name or value",
        message if message.starts_with(MAP_AS_KEY) => {
            "write UNION ALL, or compare map_keys(m) and map_values(m)"
        }
        message if message.starts_with(PLUS) => "leave the sign out",
        message if message.starts_with(UNARY) => {
            "write -x - 1 for ~x, sqrt(x) for |/x, cbrt(x) for ||/x, abs(x) for @x"
        }
        message if message.starts_with(ROWS_OF_VALUES) => {
            "cast the values of that column to one type: CAST(x AS type)"
        }
        message if message.starts_with("Projections require unique expression names") => {
            "give one of them another name with AS"
        }
        message if message.starts_with(FRAME) => "join the table with itself",
        message if message.starts_with(SUBSTRING) => "write substring(x FROM 2 FOR 3)",
        message if message.starts_with(SERIES) => {
            "write SELECT unnest(generate_series(…)) AS at in a subquery"
        }
        message if message.starts_with(CORRELATED_VALUE) => {
            "write an aggregate in it, such as max(x), or a join"
        }
        message if message.starts_with(ORDERS) => {
            "write (array_agg(x ORDER BY y))[n] instead of nth_value(x, n ORDER BY y)"
        }
        _ => return None,
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
    text
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
                "Cannot cast string 'x' to value of Decimal128(10, 2) type",
                "Cannot cast string 'x' to value of decimal(10, 2) type",
            ),
        ] {
            assert_eq!(plain(message), expected);
        }
    }
}
