//! Completion in the shell: keywords in the case that is typed, tables after their namespace, columns after a dot.

use reedline::{Completer, CompletionResult, Span, Suggestion};

/// Suggestions that are shown at once.
const SUGGESTIONS_MAX: usize = 200;

const KEYWORDS: [&str; 36] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "USING",
    "AS",
    "AND",
    "OR",
    "NOT",
    "NULL",
    "IN",
    "IS NULL",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "WITH",
    "UNION ALL",
    "DISTINCT",
    "CAST",
    "EXPLAIN",
    "DESCRIBE",
    "SHOW TABLES",
    "FOR SYSTEM_TIME AS OF",
    "ASC",
    "DESC",
];

/// The names that statements may use.
#[derive(Debug, Default)]
pub(super) struct NameCompleter {
    pub(super) tables: Vec<String>,
    pub(super) columns: Vec<String>,
}

impl NameCompleter {
    /// Completions of the word before the cursor, best first.
    fn candidates(&self, word: &str) -> Vec<String> {
        let mut found = Vec::new();
        for table in &self.tables {
            if starts_with(table, word) {
                found.push(table.clone());
            }
        }
        if let Some((prefix, start)) = word.rsplit_once('.') {
            for column in &self.columns {
                if starts_with(column, start) {
                    found.push(format!("{prefix}.{column}"));
                }
            }
        } else {
            found.extend(
                self.columns
                    .iter()
                    .filter(|column| starts_with(column, word))
                    .cloned(),
            );
            let is_lower = word.chars().all(|c| c.is_lowercase());
            for keyword in KEYWORDS {
                if starts_with(keyword, word) {
                    found.push(if is_lower {
                        keyword.to_ascii_lowercase()
                    } else {
                        keyword.to_owned()
                    });
                }
            }
        }
        found.truncate(SUGGESTIONS_MAX);
        found
    }
}

fn starts_with(name: &str, start: &str) -> bool {
    name.get(..start.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Where the word that ends at the cursor begins.
fn word_start(line: &str) -> usize {
    line.char_indices()
        .rev()
        .take_while(|(_, c)| c.is_alphanumeric() || matches!(c, '_' | '.'))
        .last()
        .map_or(line.len(), |(at, _)| at)
}

impl Completer for NameCompleter {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let line = line.get(..position).unwrap_or(line);
        let start = word_start(line);
        let word = &line[start..];
        if word.is_empty() {
            return CompletionResult::fresh(Vec::new());
        }
        let suggestions = self.candidates(word).into_iter().map(|value| Suggestion {
            value,
            span: Span::new(start, line.len()),
            append_whitespace: false,
            ..Suggestion::default()
        });
        CompletionResult::fresh(suggestions.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let mut completer = NameCompleter {
            tables: vec!["quakes.events".into(), "raw.quakes".into()],
            columns: vec!["magnitude".into(), "at".into()],
        };
        let found = completer.complete(line, line.len());
        found
            .suggestions()
            .iter()
            .map(|suggestion| suggestion.value.clone())
            .collect()
    }

    #[test]
    fn keywords_follow_the_typed_case_and_names_follow_a_dot() {
        assert_eq!(completed("sel"), ["select"]);
        assert_eq!(completed("SEL"), ["SELECT"]);
        assert_eq!(
            completed("select * from quakes."),
            ["quakes.events", "quakes.magnitude", "quakes.at"]
        );
        assert_eq!(completed("select * from QUAKES.e"), ["quakes.events"]);
        assert_eq!(completed("select e.mag"), ["e.magnitude"]);
        assert_eq!(completed("select "), Vec::<String>::new());
    }
}
