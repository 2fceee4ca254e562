//! The examples of the reference are valid pipeline files, and each shows its component.

use forebay_config::Variables;
use forebay_pipeline::spec::components::{Stage, components};
use forebay_pipeline::spec::{PIPELINE_EXAMPLE, parse};

use super::engine;

/// Every secret has a value.
struct AnySecret;

impl Variables for AnySecret {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn secret(&self, name: &str) -> Option<String> {
        match name {
            "warehouse" => Some("postgres://me:hunter2@db/shop".to_owned()),
            _ => Some("hunter2 hunter2 hunter2".to_owned()),
        }
    }

    fn param(&self, _: &str) -> Option<String> {
        None
    }
}

fn assert_valid(name: &str, text: &str) {
    if let Err(wrong) = parse(name, text, &AnySecret, &engine::shared()) {
        panic!("{name}: {wrong}");
    }
}

#[test]
fn every_example_is_valid_and_shows_its_component() {
    assert_valid("example.yaml", PIPELINE_EXAMPLE);
    for stage in Stage::ALL {
        for kind in components(stage) {
            let text = kind.example();
            assert_valid(&format!("{} {}", stage.key(), kind.name()), text);
            let begins = format!("\n{}:\n", stage.key());
            let (_, after) = text.split_once(&begins).unwrap();
            let first = after.trim_start().trim_start_matches("- ");
            assert!(
                first.starts_with(&format!("{}:", kind.name())),
                "the example of {} {} shows another component",
                stage.key(),
                kind.name()
            );
        }
    }
}
