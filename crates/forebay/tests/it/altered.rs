//! Columns that are renamed, dropped and added again by SQL, and merged rows, as other engines read them.

use crate::forebay::Project;
use crate::peers::run_peers;

#[test]
fn other_engines_read_renamed_and_dropped_columns() {
    let project = Project::new();
    project.write("forebay.toml", "");
    for sql in [
        "CREATE TABLE shop.people (id bigint, called text, note text, address struct<zip text, street text>)",
        "INSERT INTO shop.people VALUES (1, 'ada', 'x', {'zip': '1000', 'street': 'a'}), (2, 'bob', 'y', {'zip': '2000', 'street': 'b'})",
        "ALTER TABLE shop.people RENAME COLUMN called TO name",
        "ALTER TABLE shop.people DROP COLUMN note",
        "ALTER TABLE shop.people RENAME COLUMN address.zip TO postcode",
        "ALTER TABLE shop.people DROP COLUMN address.street",
        "ALTER TABLE shop.people ADD COLUMN note text",
        "INSERT INTO shop.people (id, name, note, address) VALUES (3, 'eve', 'new', {'postcode': '3000'})",
        "MERGE INTO shop.people p USING (VALUES (2, 'bob!'), (4, 'kim')) AS s(id, name) ON p.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)",
    ] {
        project.ok(&["sql", sql]);
    }
    let sum = "SELECT string_agg(name || coalesce(note, '-') || coalesce(address.postcode, '-'), ' ' ORDER BY id) FROM shop.people";
    assert_eq!(project.value(sum), "ada-1000 bob!-2000 evenew3000 kim--");
    run_peers(&project, "altered_peers.py", &[]);
}
