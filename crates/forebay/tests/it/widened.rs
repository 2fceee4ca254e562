//! A column of whole numbers that turns decimal, as people and other engines see the table before and after.

use crate::forebay::Project;
use crate::peers::run_peers;

const PIPELINE: &str = "\
pipeline: prices
source: {file: {path: \"data/*.csv\"}}
extract: {csv: {}}
load: {iceberg: {table: shop.prices, partition: ['bucket(4, id)']}}
";

#[test]
fn whole_numbers_turn_decimal_and_other_engines_read_before_and_after() {
    let project = Project::new();
    project.write("pipelines/prices.yaml", PIPELINE);
    project.write("data/1.csv", "id,price\n1,5\n2,7\n");
    project.ok(&["run", "prices"]);
    project.write("data/2.csv", "id,price\n3,5.25\n");
    let said = project.ok(&["run", "prices"]);
    let told = format!("{}{}", said.out, said.err);
    assert!(
        told.contains("widened column price from long to double"),
        "{told}"
    );
    assert_eq!(project.value("SELECT sum(price) FROM shop.prices"), "17.25");
    let columns = "SELECT string_agg(column_name, ',') FROM information_schema.columns WHERE table_schema = 'shop' AND column_name LIKE 'price%'";
    assert_eq!(project.value(columns), "price");
    let rebuilt = project.ok(&["rebuild", "shop.prices"]);
    assert!(
        rebuilt.out.contains("equal") || rebuilt.err.contains("equal"),
        "{rebuilt:?}"
    );
    project.write("data/3.csv", "id,price\n4,8\n");
    project.ok(&["run", "prices"]);

    run_peers(&project, "widened_peers.py", &[]);
}
