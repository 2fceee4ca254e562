//! The code blocks of README and guides, and the commands in them, so that tests can run or check each.

use std::path::{Path, PathBuf};

/// What a block is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuideLanguage {
    Yaml,
    Toml,
    /// Commands, perhaps with the output of some.
    Shell,
    /// Statements for another engine.
    Sql,
    Python,
    /// Data and messages.
    Text,
}

/// A code block: fenced, or indented by four spaces.
#[derive(Debug, Clone)]
pub struct GuideBlock {
    /// `docs/guides/sql.md:5`, of its first line.
    pub place: String,
    pub language: GuideLanguage,
    /// Without indentation.
    pub text: String,
}

impl GuideBlock {
    /// The calls of `forebay` in a shell block, each as its arguments.
    pub fn commands(&self) -> Vec<Vec<String>> {
        if self.language != GuideLanguage::Shell {
            return Vec::new();
        }
        let joined = self.text.replace("\\\n", " ");
        let commands = joined.lines().flat_map(words_of_commands);
        let calls = commands.filter(|words| words.first().is_some_and(|name| name == "forebay"));
        calls.map(|words| words[1..].to_vec()).collect()
    }
}

/// A guide, or the README.
#[derive(Debug, Clone)]
pub struct GuideFile {
    /// From the root: `docs/guides/sql.md`.
    pub name: String,
    pub text: String,
}

/// README and guides.
///
/// # Panics
///
/// If a file cannot be read.
pub fn guide_files() -> Vec<GuideFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guides = std::fs::read_dir(root.join("docs/guides")).expect("the guides are there");
    let mut paths: Vec<PathBuf> = guides
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.push(root.join("README.md"));
    paths.sort();
    let read = |path: &PathBuf| GuideFile {
        name: path
            .strip_prefix(&root)
            .unwrap_or(path)
            .display()
            .to_string(),
        text: std::fs::read_to_string(path).expect("a guide can be read"),
    };
    paths.iter().map(read).collect()
}

/// Every block of README and guides.
///
/// # Panics
///
/// If a file cannot be read, or a block is in a language that is not known.
pub fn guide_blocks() -> Vec<GuideBlock> {
    guide_files().iter().flat_map(blocks_of).collect()
}

/// The calls of `forebay` between backticks in a text, each as its arguments.
pub fn inline_commands(text: &str) -> Vec<Vec<String>> {
    let codes = text.split('`').skip(1).step_by(2);
    let calls = codes.filter_map(|code| code.strip_prefix("forebay "));
    calls.map(words).collect()
}

fn blocks_of(GuideFile { name, text }: &GuideFile) -> Vec<GuideBlock> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let mut inner = Vec::new();
        let fence = line.strip_prefix("```");
        if fence.is_some() {
            inner.extend(
                lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| *line != "```"),
            );
        } else if line.starts_with("    ") {
            inner.push(line);
            while let Some((_, next)) =
                lines.next_if(|(_, next)| next.starts_with("    ") || next.is_empty())
            {
                inner.push(next);
            }
        } else {
            continue;
        }
        let text = dedented(&inner);
        let place = format!("{name}:{}", number + 1);
        let language = language(fence.unwrap_or_default(), &text)
            .unwrap_or_else(|| panic!("{place}: a block in no known language:\n{text}"));
        blocks.push(GuideBlock {
            place,
            language,
            text,
        });
    }
    blocks
}

fn dedented(lines: &[&str]) -> String {
    let filled = lines.iter().filter(|line| !line.trim().is_empty());
    let indent = filled
        .map(|line| line.len() - line.trim_start().len())
        .min();
    let lines = lines
        .iter()
        .map(|line| line.get(indent.unwrap_or(0)..).unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n"
}

/// The language of a block: that of its fence, or told by its first line.
fn language(fence: &str, text: &str) -> Option<GuideLanguage> {
    const COMMANDS: &[&str] = &["$", "forebay", "git", "cargo", "cp", "cd", "curl", "export"];
    let first = text.lines().next().unwrap_or_default();
    let word = first.split_whitespace().next().unwrap_or_default();
    match fence {
        "yaml" => Some(GuideLanguage::Yaml),
        "toml" => Some(GuideLanguage::Toml),
        "sh" => Some(GuideLanguage::Shell),
        "sql" => Some(GuideLanguage::Sql),
        "python" => Some(GuideLanguage::Python),
        "text" | "json" => Some(GuideLanguage::Text),
        "" if COMMANDS.contains(&word) => Some(GuideLanguage::Shell),
        "" if word.starts_with('[') && word.ends_with(']') => Some(GuideLanguage::Toml),
        "" if word.starts_with('{') || word == "warning:" => Some(GuideLanguage::Text),
        // A variable that is set for a process.
        "" if word.contains('=') && word.to_uppercase() == word => Some(GuideLanguage::Text),
        "" if word.ends_with(':') => Some(GuideLanguage::Yaml),
        _ => None,
    }
}

/// The commands of a line, which `&&` and `|` part, as words.
fn words_of_commands(line: &str) -> Vec<Vec<String>> {
    let line = line.trim_start().trim_start_matches("$ ");
    let mut commands = vec![Vec::new()];
    for word in words(line) {
        match word.as_str() {
            "&&" | "|" => commands.push(Vec::new()),
            _ => commands.last_mut().expect("one is there").push(word),
        }
    }
    commands
}

/// The words of a line as a shell reads them: quotes, backslashes, comments.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => {
                let next = characters.next().unwrap_or_default();
                word.get_or_insert_default().push(next);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_block_has_the_calls_of_forebay() {
        let block = GuideBlock {
            place: "a.md:1".to_owned(),
            language: GuideLanguage::Shell,
            text: "$ forebay run a   # comment\noutput of it\ncd x && forebay sql 'SELECT '\\''a b'\\' \\\n  --format csv\n".to_owned(),
        };
        let calls = [
            vec!["run", "a"],
            vec!["sql", "SELECT 'a b'", "--format", "csv"],
        ];
        assert_eq!(block.commands(), calls);
    }

    #[test]
    fn guides_have_blocks_of_every_kind() {
        let blocks = guide_blocks();
        for language in [
            GuideLanguage::Yaml,
            GuideLanguage::Toml,
            GuideLanguage::Shell,
        ] {
            let count = blocks.iter().filter(|one| one.language == language).count();
            assert!(count > 3, "{count} blocks of {language:?}");
        }
    }
}
