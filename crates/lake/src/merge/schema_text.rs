//! What became of the columns of a table, for people.

use iceberg::spec::Schema;

use crate::Table;

/// Changes that are listed.
const LISTED_MAX: usize = 20;

pub(super) fn schema_changes(before: &Table, after: &Table) -> Vec<String> {
    let before = before.metadata().current_schema();
    let after = after.metadata().current_schema();
    let ids = 1..=before.highest_field_id().max(after.highest_field_id());
    let mut changes: Vec<String> = ids
        .flat_map(|id| field_changes(before, after, id))
        .collect();
    let more = changes.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        changes.truncate(LISTED_MAX);
        changes.push(format!("and {more} more"));
    }
    changes
}

fn field_changes(before: &Schema, after: &Schema, id: i32) -> Vec<String> {
    let name = |schema: &Schema| schema.name_by_field_id(id).unwrap_or_default().to_owned();
    let (old, new) = match (before.field_by_id(id), after.field_by_id(id)) {
        (None, None) => return Vec::new(),
        (Some(_), None) => return vec![format!("dropped column {}", name(before))],
        (None, Some(new)) => {
            let kind = shown(&new.field_type);
            return vec![format!("added column {}: {kind}", name(after))];
        }
        (Some(old), Some(new)) => (old, new),
    };
    let mut changes = Vec::new();
    if name(before) != name(after) {
        changes.push(format!(
            "renamed column {} to {}",
            name(before),
            name(after)
        ));
    }
    let (was, is) = (shown(&old.field_type), shown(&new.field_type));
    if old.field_type.is_primitive() && was != is {
        changes.push(format!("type of column {}: {was} -> {is}", name(after)));
    }
    if old.required != new.required {
        let is = if new.required { "required" } else { "optional" };
        changes.push(format!("column {} became {is}", name(after)));
    }
    changes
}

fn shown(kind: &iceberg::spec::Type) -> String {
    match kind.is_primitive() {
        true => kind.to_string(),
        false if kind.is_struct() => "struct".to_owned(),
        false => "list or map".to_owned(),
    }
}
