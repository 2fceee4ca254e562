//! The interactive shell: history, completion of keywords and names, statements over several lines.

use std::borrow::Cow;
use std::io::{IsTerminal, Read};
use std::time::Instant;

use forebay_core::{Error, Result};
use forebay_store::AsOf;
use reedline::{
    ColumnarMenu, DefaultCompleter, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder,
    Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    ValidationResult, Validator, default_emacs_keybindings,
};

use crate::output::Format;
use crate::say;
use crate::wire::Workspace;

/// Statements that the history keeps.
const HISTORY_MAX: usize = 10_000;

/// Longest script on a standard input that is not a terminal.
const SCRIPT_BYTES_MAX: u64 = 16 << 20;

const KEYWORDS: [&str; 27] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "AS",
    "AND",
    "OR",
    "NOT",
    "NULL",
    "IN",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "WITH",
    "EXPLAIN",
    "SHOW TABLES",
    "FOR SYSTEM_TIME AS OF",
];

/// Reads statements until the user leaves. From a pipe it runs each statement and stops at the first error.
pub(super) async fn run(workspace: &Workspace, as_of: &AsOf, format: Format) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return script(workspace, as_of, format).await;
    }
    let mut editor = editor(workspace, as_of).await?;
    say::line("Statements end with `;`. SHOW TABLES; lists what is there, ctrl-d leaves.");
    loop {
        match tokio::task::block_in_place(|| editor.read_line(&Arrow)) {
            Ok(Signal::Success(text)) => {
                for statement in statements(&text) {
                    one(workspace, as_of, statement, format).await;
                }
            }
            Ok(Signal::CtrlC) => {}
            Ok(_) => return Ok(()),
            Err(error) => {
                return Err(
                    Error::unavailable("terminal", "failed to read from the terminal")
                        .with_source(error),
                );
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long the person waited is told to the person only"
)]
async fn one(workspace: &Workspace, as_of: &AsOf, statement: &str, format: Format) {
    let start = Instant::now();
    match super::execute(workspace, as_of.clone(), statement, format).await {
        Ok(()) => say::line(format_args!("{}", say::duration(start.elapsed()))),
        Err(error) => say::error(&error),
    }
}

async fn script(workspace: &Workspace, as_of: &AsOf, format: Format) -> Result<()> {
    let mut text = String::new();
    let unreadable = |error| {
        Error::config(
            "unreadable_script",
            "failed to read statements from standard input",
        )
        .with_source(error)
    };
    std::io::stdin()
        .take(SCRIPT_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    for statement in statements(&text) {
        super::execute(workspace, as_of.clone(), statement, format).await?;
    }
    Ok(())
}

/// Splits at `;` outside of quotes and comments.
pub(in crate::cli) fn statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut quote, mut comment) = (0, None, false);
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if comment => comment = c != '\n',
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '-') if previous == '-' => comment = true,
            (None, ';') => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            (None, _) => {}
        }
        previous = c;
    }
    found.push(&text[start..]);
    found.retain(|statement| has_words(statement));
    found
}

fn has_words(statement: &str) -> bool {
    statement
        .lines()
        .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
}

async fn editor(workspace: &Workspace, as_of: &AsOf) -> Result<Reedline> {
    let mut words: Vec<String> = KEYWORDS.iter().map(|word| (*word).to_owned()).collect();
    for name in workspace.lake().tables(as_of).await? {
        words.push(name.to_string());
        if let Some(table) = workspace.lake().table(as_of, &name).await? {
            words.extend(
                table
                    .schema()
                    .fields()
                    .iter()
                    .map(|field| field.name().clone()),
            );
        }
    }
    let completer = Box::new(DefaultCompleter::new_with_wordlen(words, 2));
    let mut keys = default_emacs_keybindings();
    let complete = ReedlineEvent::UntilFound(vec![
        ReedlineEvent::Menu("completions".to_owned()),
        ReedlineEvent::MenuNext,
    ]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, complete);
    let history =
        FileBackedHistory::with_file(HISTORY_MAX, workspace.history()).map_err(|error| {
            Error::unavailable("history", "failed to open the shell's history").with_source(error)
        })?;
    Ok(Reedline::create()
        .with_history(Box::new(history))
        .with_completer(completer)
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(
            ColumnarMenu::default().with_name("completions"),
        )))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(EndsWithSemicolon)))
}

struct EndsWithSemicolon;

impl Validator for EndsWithSemicolon {
    fn validate(&self, line: &str) -> ValidationResult {
        let text = line.trim();
        if text.is_empty() || text.ends_with(';') {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

struct Arrow;

impl Prompt for Arrow {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        "forebay".into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        "> ".into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        "      -> ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        format!("(search: {}) ", search.term).into()
    }
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn statements_end_at_semicolons_that_are_not_text() {
        let trimmed = |text| {
            statements(text)
                .into_iter()
                .map(str::trim)
                .collect::<Vec<_>>()
        };
        assert_eq!(trimmed("select 1; select 2;"), ["select 1", "select 2"]);
        assert_eq!(trimmed("select ';' as a"), ["select ';' as a"]);
        assert_eq!(
            trimmed("-- a; b\nselect 1 -- c;\n;"),
            ["-- a; b\nselect 1 -- c;"]
        );
        assert_eq!(trimmed(" ;; -- nothing\n"), Vec::<&str>::new());
    }
}
