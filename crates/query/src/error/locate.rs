//! Places of errors in a statement: those that the parser names, and those of words that a message is about.

/// Position of the first character of a span, 1-based.
pub(super) type Place = (u64, u64);

/// The parser ends its messages with ` at Line: 1, Column: 8`.
pub(super) fn split_place(message: &str) -> (&str, Option<Place>) {
    let Some((head, tail)) = message.rsplit_once(" at Line: ") else {
        return (message, None);
    };
    let place = tail.split_once(", Column: ").and_then(|(line, column)| {
        let digits = column
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(column.len());
        Some((line.trim().parse().ok()?, column[..digits].parse().ok()?))
    });
    (head, place)
}

/// The place behind the last character, where the parser finds no token and names no place.
pub(super) fn end_of(sql: &str) -> Place {
    let sql = sql.trim_end();
    let line = sql.matches('\n').count() + 1;
    let last = sql.rsplit('\n').next().unwrap_or_default();
    let column = last.chars().count() + 1;
    (line as u64, column as u64)
}

/// The first place of a word in the statement, for errors of the engine without a place.
pub(crate) fn locate(sql: &str, word: &str) -> Option<Place> {
    let text = sql.to_ascii_lowercase();
    let word = word.to_ascii_lowercase();
    let mut found = text.match_indices(&word).map(|(at, _)| at);
    let at = found.find(|at| is_whole_word(&text[..*at], &word, &text[at + word.len()..]))?;
    let before = &sql[..at];
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u64 + 1;
    Some((line, column))
}

fn is_whole_word(before: &str, word: &str, after: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let goes_on_before = is_letter(before.chars().next_back()) && is_letter(word.chars().next());
    let goes_on_after = is_letter(word.chars().next_back()) && is_letter(after.chars().next());
    !goes_on_before && !goes_on_after
}

/// The place of a word that is there once: of several, the first one may be the wrong one.
pub(super) fn locate_only(sql: &str, word: &str) -> Option<Place> {
    let text = sql.to_ascii_lowercase();
    let word = word.to_ascii_lowercase();
    let found = text.match_indices(&word);
    let found =
        found.filter(|(at, _)| is_whole_word(&text[..*at], &word, &text[at + word.len()..]));
    (found.count() == 1).then(|| locate(sql, &word)).flatten()
}

/// The place of one of several words, where no other of them is there.
pub(super) fn locate_any(sql: &str, words: &[&str]) -> Option<Place> {
    let mut found = words.iter().filter(|word| locate(sql, word).is_some());
    let word = found.next()?;
    match found.next() {
        None => locate_only(sql, word),
        Some(_) => None,
    }
}

/// The place of the literal that a message quotes.
pub(super) fn locate_value(sql: &str, message: &str) -> Option<Place> {
    let value = quoted(message)?;
    locate_only(sql, &format!("'{value}'"))
}

/// What a message has in single quotes first.
pub(super) fn quoted(message: &str) -> Option<&str> {
    message.split('\'').nth(1).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_the_statement() {
        assert_eq!(locate("select\n  foo(x)", "foo"), Some((2, 3)));
        assert_eq!(locate("select 1", "foo"), None);
        assert_eq!(
            split_place("Expected: end, found: x at Line: 3, Column: 14"),
            ("Expected: end, found: x", Some((3, 14)))
        );
    }

    #[test]
    fn a_word_that_is_there_twice_has_no_place() {
        assert_eq!(locate_only("select notes, not x", "not"), Some((1, 15)));
        assert_eq!(locate_only("select not x, not y", "not"), None);
        assert_eq!(
            locate_any("select 1 where 5", &["where", "having"]),
            Some((1, 10))
        );
        assert_eq!(
            locate_any("select 1 where 5 having 1", &["where", "having"]),
            None
        );
    }
}
