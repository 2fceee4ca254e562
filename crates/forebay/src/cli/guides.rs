//! Every code block of README and guides is checked: pipelines, settings, commands. The statements of `forebay sql` run
//! in `tests/it/guides.rs`.

use clap::Parser;
use clap::error::ErrorKind;
use forebay_config::Variables;
use forebay_testkit::{GuideBlock, GuideLanguage, guide_blocks, guide_files, inline_commands};

use super::Cli;
use crate::settings::Settings;
use crate::wire;

/// Every secret and variable has a value here.
struct Anything;

impl Variables for Anything {
    fn env(&self, _: &str) -> Option<String> {
        Some("http://localhost".to_owned())
    }

    fn secret(&self, name: &str) -> Option<String> {
        let is_url = matches!(name, "warehouse");
        Some(match is_url {
            true => "postgres://me:some-password@db/shop".to_owned(),
            false => "a-secret-of-many-bytes".to_owned(),
        })
    }

    fn param(&self, _: &str) -> Option<String> {
        Some("value".to_owned())
    }
}

fn blocks(language: GuideLanguage) -> Vec<GuideBlock> {
    let mut blocks = guide_blocks();
    blocks.retain(|block| block.language == language);
    assert!(!blocks.is_empty());
    blocks
}

/// Where a part of a component belongs: its first key, and what stands above it.
const PARTS: &[(&str, &str)] = &[
    ("auth:", "source:\n  push:\n"),
    (
        "errors:",
        "source:\n  http:\n    url: https://example.org\n",
    ),
];

/// A part of a pipeline file as a whole one.
fn whole_file(text: &str) -> String {
    let part = PARTS.iter().find(|(key, _)| text.starts_with(key));
    let mut file = match part {
        Some((_, above)) => format!("{above}{}", indented(text)),
        None => text.to_owned(),
    };
    // Rows of the lake need no extractor.
    let is_of_lake = file.contains("\n  table:") || file.contains("\n  query:");
    let extract = match is_of_lake {
        true => "",
        false => "extract: {json: {}}\n",
    };
    for (key, default) in [
        ("pipeline:", "pipeline: example\n"),
        ("source:", "source: {file: {path: \"data/*\"}}\n"),
        ("extract:", extract),
        ("load:", "load: {iceberg: {table: shop.orders}}\n"),
    ] {
        if !file.lines().any(|line| line.starts_with(key)) {
            file.push_str(default);
        }
    }
    file
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(feature = "kafka")]
#[test]
fn pipelines_of_the_guides_are_valid() {
    let engine = wire::engine(&Settings::default());
    for block in blocks(GuideLanguage::Yaml) {
        let file = whole_file(&block.text);
        if let Err(wrong) = forebay_pipeline::spec::parse(&block.place, &file, &Anything, &engine) {
            panic!("{}: {wrong}", block.place);
        }
    }
}

#[test]
fn settings_of_the_guides_are_valid() {
    for block in blocks(GuideLanguage::Toml) {
        if let Err(wrong) = Settings::parse_with(&block.place, &block.text, &Anything) {
            panic!("{}: {wrong}", block.place);
        }
    }
    Settings::parse_with("example.toml", crate::settings::EXAMPLE, &Anything).unwrap();
}

#[test]
fn commands_of_the_guides_are_valid() {
    let mut count = 0;
    for block in blocks(GuideLanguage::Shell) {
        for arguments in block.commands() {
            count += 1;
            let line = std::iter::once("forebay".to_owned()).chain(arguments.clone());
            if let Err(wrong) = Cli::try_parse_from(line) {
                panic!("{}: forebay {}: {wrong}", block.place, arguments.join(" "));
            }
        }
    }
    assert!(count > 30, "only {count} commands");
}

/// A command that is only named, such as `forebay rebuild`, may lack arguments; those it has must exist.
#[test]
fn commands_in_sentences_exist() {
    let files = guide_files();
    let guides = files
        .iter()
        .map(|file| (file.name.as_str(), file.text.as_str()));
    let explanations = crate::explain::all();
    let remedies = explanations.iter().map(|one| (one.code, one.remedy));
    let mut count = 0;
    for (place, text) in guides.chain(remedies) {
        for arguments in inline_commands(text) {
            count += 1;
            let line = std::iter::once("forebay".to_owned()).chain(arguments.clone());
            let Err(wrong) = Cli::try_parse_from(line) else {
                continue;
            };
            let is_wrong = matches!(
                wrong.kind(),
                ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
            );
            assert!(
                !is_wrong,
                "{place}: forebay {}: {wrong}",
                arguments.join(" ")
            );
        }
    }
    assert!(count > 50, "only {count} commands");
}
