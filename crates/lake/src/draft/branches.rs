//! What a change needs so that its branch can be merged, and the change that a merge makes.

use std::collections::BTreeMap;

use forebay_core::Result;
use iceberg::spec::Schema;

use crate::ownership::UPSERT_KEY_PROPERTY;
use crate::{DataFile, Draft};

impl Draft {
    /// Rows whose key another branch may add, too: a merge must know the key.
    pub(super) fn note_upsert_key(&mut self) {
        let Some(keys) = self.keys.as_ref().filter(|_| !self.files.is_empty()) else {
            return;
        };
        let columns = keys.lock().columns().clone();
        let names: Vec<String> = columns
            .key
            .iter()
            .map(|column| column.name.clone())
            .collect();
        let value = serde_json::Value::from(names).to_string();
        if self.property(UPSERT_KEY_PROPERTY).as_ref() != Some(&value) {
            self.set_property(UPSERT_KEY_PROPERTY, value);
        }
    }

    /// Takes over files that another branch of the table has, with the schema that they were written by when that is newer.
    pub(crate) fn graft(
        &mut self,
        schema: Option<Schema>,
        files: Vec<DataFile>,
        properties: BTreeMap<String, String>,
    ) -> Result<()> {
        if let Some(schema) = schema {
            self.change_schema(schema)?;
        }
        self.properties.extend(properties);
        self.files.extend(files);
        Ok(())
    }
}
