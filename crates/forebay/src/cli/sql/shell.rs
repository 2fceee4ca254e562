//! The interactive shell: history, completion, statements over several lines, commands.
//!
//! A failed or cancelled statement never ends it.

use std::borrow::Cow;
use std::io::{IsTerminal, Read};
use std::time::Instant;

use forebay_core::{Error, Result};
use forebay_query::QUERY_CANCELLED;
use forebay_store::AsOf;
use reedline::{
    ColumnarMenu, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Prompt,
    PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    ValidationResult, Validator, default_emacs_keybindings,
};

use super::command::{HELP, ShellCommand};
use super::complete::NameCompleter;
use super::split::{ScriptStatement, is_complete, statements};
use super::{Answering, execute_in_script};
use crate::output::Layout;
use crate::say;
use crate::wire::Workspace;

/// Statements that the history keeps.
const HISTORY_MAX: usize = 10_000;

/// Longest script on a standard input that is not a terminal, or in a file.
const SCRIPT_BYTES_MAX: u64 = 16 << 20;

/// Reads statements until the user leaves. From a pipe it runs each statement and stops at the first error.
pub(super) async fn run(workspace: &Workspace, as_of: &AsOf, answering: Answering) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        let text = read_script(std::io::stdin(), "standard input")?;
        return run_script(workspace, as_of, &text, answering).await;
    }
    let mut shell = Shell {
        workspace,
        as_of,
        answering,
    };
    shell.read_lines(editor(workspace, as_of).await?).await
}

/// Runs every statement of a file, whose errors name it.
pub(super) async fn run_file(
    workspace: &Workspace,
    as_of: &AsOf,
    path: &str,
    answering: Answering,
) -> Result<()> {
    let file = std::fs::File::open(path).map_err(|error| unreadable_script(path, error))?;
    let text = read_script(file, path)?;
    for mut statement in statements(&text) {
        statement.is_alone = false;
        execute_in_script(workspace, as_of.clone(), statement, answering)
            .await
            .map_err(|error| error.map_message(|message| format!("{path}:{message}")))?;
    }
    Ok(())
}

/// Runs every statement of a text, to the first error.
pub(super) async fn run_script(
    workspace: &Workspace,
    as_of: &AsOf,
    text: &str,
    answering: Answering,
) -> Result<()> {
    for statement in statements(text) {
        execute_in_script(workspace, as_of.clone(), statement, answering).await?;
    }
    Ok(())
}

fn read_script(script: impl Read, name: &str) -> Result<String> {
    let mut text = String::new();
    script
        .take(SCRIPT_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable_script(name, error))?;
    if text.len() as u64 > SCRIPT_BYTES_MAX {
        return Err(Error::config(
            "script_too_long",
            format!("{name} is longer than {}", say::bytes(SCRIPT_BYTES_MAX)),
        )
        .with_hint("split it into several files"));
    }
    Ok(text)
}

fn unreadable_script(name: &str, error: std::io::Error) -> Error {
    Error::config(
        "unreadable_script",
        format!("failed to read statements from {name}"),
    )
    .with_source(error)
}

struct Shell<'a> {
    workspace: &'a Workspace,
    as_of: &'a AsOf,
    answering: Answering,
}

impl Shell<'_> {
    async fn read_lines(&mut self, mut editor: Reedline) -> Result<()> {
        say::line("Type `help` for help, `\\q` or Ctrl-D to quit. Statements end with `;`.");
        loop {
            match tokio::task::block_in_place(|| editor.read_line(&ShellPrompt)) {
                Ok(Signal::Success(text)) => {
                    if let Err(error) = editor.sync_history() {
                        say::warn(format_args!("failed to save the history: {error}"));
                    }
                    if self.answer(&text).await {
                        return Ok(());
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

    /// Runs the input; returns whether the user wants to leave.
    async fn answer(&mut self, text: &str) -> bool {
        match ShellCommand::parse(text) {
            Some(ShellCommand::Quit) => return true,
            Some(command) => self.run_command(command).await,
            None => {
                for statement in statements(text) {
                    self.run_statement(statement).await;
                }
            }
        }
        false
    }

    async fn run_command(&mut self, command: ShellCommand) {
        match command {
            ShellCommand::Quit => {}
            ShellCommand::Help => say::line(HELP),
            ShellCommand::ListTables => {
                self.run_statement(ScriptStatement::whole(
                    "SELECT \"table\", rows, files, bytes FROM lake.tables ORDER BY 1",
                ))
                .await;
            }
            ShellCommand::DescribeTable(table) => {
                let describe = format!("DESCRIBE {table}");
                self.run_statement(ScriptStatement::whole(&describe)).await;
            }
            ShellCommand::ToggleExpanded => {
                self.answering.layout = match self.answering.layout {
                    Layout::Expanded => Layout::grid(),
                    _ => Layout::Expanded,
                };
                let state = if self.answering.layout == Layout::Expanded {
                    "on"
                } else {
                    "off"
                };
                say::line(format_args!("expanded display is {state}"));
            }
            ShellCommand::SetFormat(format) => self.answering.format = format,
            ShellCommand::RunFile(path) => {
                let done = run_file(self.workspace, self.as_of, &path, self.answering).await;
                if let Err(error) = done {
                    say::error(&error);
                }
            }
            ShellCommand::Invalid(reason) => say::line(reason),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long the person waited is shown to the person only"
    )]
    async fn run_statement(&self, statement: ScriptStatement<'_>) {
        let start = Instant::now();
        let answer = execute_in_script(
            self.workspace,
            self.as_of.clone(),
            statement,
            self.answering,
        );
        match answer.await {
            Ok(rows) => say::line(format_args!(
                "({}, {})",
                say::counted(rows as u64, "row"),
                say::duration(start.elapsed())
            )),
            Err(error) if error.code() == QUERY_CANCELLED => say::line("query cancelled"),
            Err(error) => say::error(&error),
        }
    }
}

async fn editor(workspace: &Workspace, as_of: &AsOf) -> Result<Reedline> {
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
        .with_completer(Box::new(completer(workspace, as_of).await?))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(
            ColumnarMenu::default().with_name("completions"),
        )))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(StatementValidator)))
}

/// The names of all tables and columns. A damaged table is left out: the shell still works for the others.
async fn completer(workspace: &Workspace, as_of: &AsOf) -> Result<NameCompleter> {
    let mut names = NameCompleter::default();
    for name in workspace.lake().tables(as_of).await? {
        names.tables.push(name.to_string());
        if let Ok(Some(table)) = workspace.lake().table(as_of, &name).await {
            let schema = table.schema();
            let columns = schema.fields().iter().map(|field| field.name().clone());
            names.columns.extend(columns);
        }
    }
    names.columns.sort();
    names.columns.dedup();
    Ok(names)
}

struct StatementValidator;

impl Validator for StatementValidator {
    fn validate(&self, line: &str) -> ValidationResult {
        if is_complete(line) || ShellCommand::is_command(line) {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

struct ShellPrompt;

impl Prompt for ShellPrompt {
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
