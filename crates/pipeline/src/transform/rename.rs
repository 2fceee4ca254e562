//! `rename`: renames columns.
//!
//! ```yaml
#![doc = include_str!("rename.example.yaml")]
//! ```
//!
//! All renames happen at once, so two columns may swap their names. A column that is not there is an error.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use async_trait::async_trait;
use forebay_core::{Batch, Context, Error, Result, SqlEngine};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::{Transform, TransformKind, Transformed, column};
use forebay_config::{Component, Document};

#[derive(Debug)]
pub struct Kind;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "rename"
    }

    fn summary(&self) -> &'static str {
        "New names for columns: `{old: new}`."
    }

    fn example(&self) -> &'static str {
        include_str!("rename.example.yaml")
    }

    fn schema(&self, _: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "string", "minLength": 1 },
            "minProperties": 1,
        })
    }
}

impl TransformKind for Kind {
    fn build(&self, config: &Document, _: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>> {
        let names: BTreeMap<String, String> = config.parse()?;
        let mut taken = HashSet::new();
        for (old, new) in &names {
            if !taken.insert(new.as_str()) {
                let place = config.get(old).unwrap_or_else(|| config.clone());
                return Err(place.error(
                    "name_taken",
                    format!("two columns cannot both be named `{new}`"),
                ));
            }
        }
        Ok(Box::new(Rename { names }))
    }
}

#[derive(Debug)]
struct Rename {
    names: BTreeMap<String, String>,
}

impl Rename {
    fn schema(&self, records: &RecordBatch) -> Result<ArrowSchema> {
        for old in self.names.keys() {
            column(records, old)?;
        }
        let schema = records.schema_ref();
        let fields: Vec<Arc<Field>> = schema
            .fields()
            .iter()
            .map(|field| match self.names.get(field.name()) {
                Some(new) => Arc::new(field.as_ref().clone().with_name(new)),
                None => field.clone(),
            })
            .collect();
        let mut seen = HashSet::new();
        if let Some(twice) = fields
            .iter()
            .find(|field| !seen.insert(field.name().as_str()))
        {
            let message = format!("the rows have a column `{}` already", twice.name());
            return Err(Error::config("name_taken", message)
                .with_hint("rename that one too, or choose another name"));
        }
        Ok(ArrowSchema::new_with_metadata(
            fields,
            schema.metadata().clone(),
        ))
    }
}

#[async_trait]
impl Transform for Rename {
    fn passes(&self, column: &str) -> bool {
        !self.names.contains_key(column)
    }

    fn named(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    fn overlooks(&self, base: &str, variant: &str) -> bool {
        self.names.contains_key(base) && !self.names.contains_key(variant)
    }

    fn known_columns(&self, input: &SchemaRef) -> SchemaRef {
        let fields = input.fields().iter();
        let fields = fields.map(|field| match self.names.get(field.name()) {
            Some(name) => Arc::new(field.as_ref().clone().with_name(name)),
            None => Arc::clone(field),
        });
        Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()))
    }

    async fn apply(&self, batch: Batch, stage: &str) -> Result<Transformed> {
        let schema = Arc::new(self.schema(&batch.records).context("stage", stage)?);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.records.num_rows()));
        let records = RecordBatch::try_new_with_options(
            schema,
            batch.records.columns().to_vec(),
            &options,
        )
        .map_err(|error| Error::bug("rename", "failed to rename columns").with_source(error))?;
        Ok(Transformed {
            batch: Batch { records, ..batch },
            rejected: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::fixture;

    fn built(text: &str) -> Result<Box<dyn Transform>> {
        Kind.build(
            &Document::from_yaml(text).expect("the text is YAML"),
            &fixture::engine(),
        )
    }

    async fn names(text: &str) -> Result<Vec<String>> {
        let made = built(text)?.apply(fixture::batch(), "transform[0]").await?;
        assert_eq!(made.batch.origins, fixture::batch().origins);
        Ok(made
            .batch
            .records
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect())
    }

    #[tokio::test]
    async fn names_change_and_may_swap() {
        assert_eq!(
            names("{n: number}").await.expect("it runs"),
            ["number", "name"]
        );
        assert_eq!(
            names("{n: name, name: n}").await.expect("it runs"),
            ["name", "n"]
        );
    }

    #[tokio::test]
    async fn a_name_that_is_taken_or_missing_is_refused() {
        let error = names("{n: name}").await.expect_err("taken");
        assert_eq!(
            error.to_string(),
            "the rows have a column `name` already (stage transform[0])"
        );
        let error = names("{nam: x}").await.expect_err("missing");
        assert_eq!(
            (error.code(), error.hint()),
            ("no_column", Some("did you mean `name`?"))
        );
        assert_eq!(
            built("{n: x, name: x}").expect_err("twice").code(),
            "name_taken"
        );
    }
}
