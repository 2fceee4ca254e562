//! The page about the command line, from the parser itself.

use clap::{Arg, ArgAction, Command};

use super::{Page, table};

const HEADER: &[&str] = &["argument", "default", "meaning"];

pub(super) fn page(mut command: Command) -> Page {
    command.build();
    let about = command.get_about().map(ToString::to_string);
    let mut body = format!("{}\n\n", about.unwrap_or_default());
    body.push_str("Exit codes: 0 success, 1 failure of a run or in the data, 2 usage or configuration, 3 authentication, 4 something does not answer.\n\n");
    body.push_str("## Options of every command\n\n");
    let global = command.get_arguments().filter(|arg| arg.is_global_set());
    body.push_str(&table(HEADER, global.map(cells)));
    for inner in command.get_subcommands().filter(|inner| is_shown(inner)) {
        add_command(inner, &mut body);
    }
    Page::new("command-line.md", "Command line", &body)
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn add_command(command: &Command, body: &mut String) {
    let inner: Vec<&Command> = command
        .get_subcommands()
        .filter(|inner| is_shown(inner))
        .collect();
    if inner.is_empty() || command.get_positionals().next().is_some() || has_options(command) {
        add_section(command, body);
    }
    for inner in inner {
        add_command(inner, body);
    }
}

fn own_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let arguments = command.get_arguments();
    arguments.filter(|arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help")
}

fn has_options(command: &Command) -> bool {
    own_arguments(command).next().is_some()
}

fn add_section(command: &Command, body: &mut String) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    body.push_str(&format!("\n## {name}\n\n{about}.\n\n    {usage}\n"));
    if has_options(command) {
        body.push('\n');
        body.push_str(&table(HEADER, own_arguments(command).map(cells)));
    }
    if let Some(after) = command.get_after_help() {
        body.push_str(&format!("\n{after}\n"));
    }
}

fn cells(arg: &Arg) -> Vec<String> {
    vec![shown_name(arg), shown_default(arg), meaning(arg)]
}

/// `--limit N`, `-v`, `--verbose`, `[PIPELINES]…`.
fn shown_name(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let values: Vec<&str> = values.iter().map(|name| name.as_str()).collect();
    let values = values.join(" ");
    if arg.is_positional() {
        return match arg.is_required_set() {
            true => format!("`{values}`"),
            false => format!("`[{values}]`"),
        };
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = [short, long].into_iter().flatten().collect();
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    match takes_value && !values.is_empty() {
        true => format!("`{} {values}`", names.join(", ")),
        false => format!("`{}`", names.join(", ")),
    }
}

fn shown_default(arg: &Arg) -> String {
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values = arg.get_default_values().iter();
    let values: Vec<String> = values
        .filter(|_| takes_value)
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    match (values.is_empty(), arg.is_required_set()) {
        (true, true) => "required".to_owned(),
        _ => values.join(", "),
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut text = help.map(ToString::to_string).unwrap_or_default();
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values = arg.get_possible_values().into_iter();
    let values: Vec<String> = values
        .filter(|value| takes_value && !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        text.push_str(&format!(" ({})", values.join(", ")));
    }
    if let Some(variable) = arg.get_env() {
        text.push_str(&format!("; variable `{}`", variable.to_string_lossy()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_described(command: &Command) {
        for arg in own_arguments(command) {
            let name = format!("{} {}", command.get_name(), shown_name(arg));
            assert!(!meaning(arg).is_empty(), "{name} has no doc comment");
        }
        let inner = command.get_subcommands().filter(|inner| is_shown(inner));
        inner.for_each(assert_described);
    }

    #[test]
    fn every_argument_is_described() {
        assert_described(&crate::cli::command());
    }
}
