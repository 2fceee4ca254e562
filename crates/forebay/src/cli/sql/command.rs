//! Commands of the shell that are not SQL: as people know them from psql, SQLite and DuckDB.

use crate::output::Format;
use clap::ValueEnum;

/// The output of `help`.
pub(super) const HELP: &str = "\
Statements end with `;` and may span lines. Ctrl-C cancels a running query.
  \\dt, .tables         list tables           \\d TABLE     describe a table
  \\x                   one value a line      \\format FMT  table, json, ndjson, csv, markdown
  \\i FILE              run a file            \\q, exit     leave (or Ctrl-D)
  SELECT … FROM t FOR SYSTEM_TIME AS OF '2026-01-01T00:00:00Z';   a table at another time";

/// One command of the shell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ShellCommand {
    Help,
    Quit,
    ListTables,
    DescribeTable(String),
    ToggleExpanded,
    SetFormat(Format),
    RunFile(String),
    /// An invalid command; the text has the reason.
    Invalid(String),
}

impl ShellCommand {
    /// The command that a line is; `None` where it is SQL.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.trim().trim_end_matches(';').trim_end();
        let mut words = line.split_whitespace();
        let first = words.next()?;
        let argument = words.next();
        if words.next().is_some() {
            return first
                .starts_with(['\\', '.'])
                .then(|| Self::Invalid(format!("{first} takes one argument at most")));
        }
        Some(match (first.to_ascii_lowercase().as_str(), argument) {
            ("help" | "\\?" | "?" | "\\h" | ".help", None) => Self::Help,
            ("exit" | "quit" | "\\q" | ".exit" | ".quit", None) => Self::Quit,
            ("\\dt" | "\\d" | "\\l" | ".tables", None) => Self::ListTables,
            ("\\d" | "\\d+" | ".schema", Some(table)) => Self::DescribeTable(table.to_owned()),
            ("\\x", None) => Self::ToggleExpanded,
            ("\\format" | ".mode", Some(name)) => match Format::from_str(name, true) {
                Ok(format) => Self::SetFormat(format),
                Err(_) => Self::Invalid(format!(
                    "unknown format `{name}`: use table, json, ndjson, csv or markdown"
                )),
            },
            ("\\i" | ".read", Some(path)) => Self::RunFile(path.to_owned()),
            (other, _) if other.starts_with(['\\', '.']) => {
                Self::Invalid(format!("unknown command `{first}`; type `help` for a list"))
            }
            _ => return None,
        })
    }

    /// Whether a line is a command, so that it needs no `;`.
    pub(super) fn is_command(line: &str) -> bool {
        !line.trim_end().contains('\n') && Self::parse(line).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_other_shells_are_understood() {
        for (line, command) in [
            ("help", ShellCommand::Help),
            ("?", ShellCommand::Help),
            ("exit;", ShellCommand::Quit),
            (" \\q ", ShellCommand::Quit),
            (".tables", ShellCommand::ListTables),
            ("\\d", ShellCommand::ListTables),
            (
                "\\d quakes.events",
                ShellCommand::DescribeTable("quakes.events".into()),
            ),
            ("\\format CSV", ShellCommand::SetFormat(Format::Csv)),
        ] {
            assert_eq!(ShellCommand::parse(line), Some(command), "{line}");
        }
        for sql in ["select 1", "exit from t", "", "with help as (select 1)"] {
            assert_eq!(ShellCommand::parse(sql), None, "{sql}");
        }
        assert!(matches!(
            ShellCommand::parse("\\z"),
            Some(ShellCommand::Invalid(_))
        ));
    }
}
