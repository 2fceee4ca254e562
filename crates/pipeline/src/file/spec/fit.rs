//! Whether the parts of a pipeline fit each other, as far as their texts say it.
//!
//! Each part is valid by itself here. Never reads data, and never asks another host.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use forebay_core::Error;

use super::{Build, Step};
use crate::extract;
use crate::extract::contract::{ColumnRule, ContractPolicy, NewColumns};
use crate::file::{Document, suggest};
use crate::load::Target;
use crate::source::{self, Source};

impl Build<'_> {
    /// What a table source yields only the extractor of its name reads, and nothing else does.
    pub(super) fn check_table(&mut self) {
        let chosen = |key: &str| Some(self.document.get(key)?.single()?.0);
        let (Some(source), Some(extract)) = (chosen("source"), chosen("extract")) else {
            return;
        };
        let known = source::find(&source).is_ok() && extract::find(&extract).is_ok();
        if known && (source == "table") != (extract == "table") {
            self.part("extract", |document| {
                Err::<(), _>(document.error(
                    "extract_does_not_fit",
                    "a table of the lake is read by `extract: {table: {}}`, and nothing else is",
                ))
            });
        }
        let named = |stage: &str, component: &str, key: &str| {
            let config = self.document.get(stage)?.get(component)?;
            config.get(key)?.as_str().map(str::to_owned)
        };
        let from = named("source", "table", "name");
        if from.is_some() && from == named("load", "iceberg", "table") {
            self.part("load", |document| {
                Err::<(), _>(document.error(
                    "endless_table",
                    "the pipeline reads the table that it loads: each run would read what the last one has added",
                ))
            });
        }
    }

    /// A target that is made anew at the end of a run needs a source that has one.
    pub(super) fn check_end(&mut self, source: Option<&dyn Source>, load: Option<&dyn Target>) {
        let pushed = source.is_some_and(|source| source.push().is_some());
        if pushed && load.is_some_and(|load| load.replaces()) {
            self.part("load", |document| {
                let place = document
                    .single()
                    .map_or_else(|| document.clone(), |(_, config)| config);
                let place = place.get("mode").unwrap_or(place);
                Err::<(), _>(place.error(
                    "replace_without_end",
                    "what is pushed never ends, so it cannot take the place of a table",
                ))
            });
        }
    }

    /// A table is partitioned by columns that the last transform yields, as far as its text says which.
    pub(super) fn check_partition(&mut self, steps: Option<&[Step]>, load: Option<&dyn Target>) {
        let columns = steps
            .and_then(<[Step]>::last)
            .and_then(|step| step.transform.columns());
        let (Some(columns), Some(target)) = (columns, load.and_then(|load| load.lake())) else {
            return;
        };
        let is_unknown =
            |name: &str| !name.starts_with('_') && !columns.iter().any(|column| column == name);
        let unknown = target
            .partition
            .iter()
            .enumerate()
            .find(|(_, field)| is_unknown(&field.column));
        let Some((at, field)) = unknown else {
            return;
        };
        let names = columns.iter().map(String::as_str);
        let hint = match suggest::nearest(&field.column, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("columns are {}", suggest::list(names)),
        };
        let what = format!(
            "the table is partitioned by `{}`, which the last transform does not yield",
            field.column
        );
        self.part("load", |document| {
            let place = document
                .single()
                .map_or_else(|| document.clone(), |(_, config)| config);
            let list = place.get("partition").unwrap_or(place);
            let place = list.elements().into_iter().nth(at).unwrap_or(list);
            Err::<(), _>(place.error("no_column", what).with_hint(hint))
        });
    }

    /// What the source looks for in bodies is found in JSON only.
    pub(super) fn check_bodies(&mut self, source: Option<&dyn Source>) {
        let Some(key) = source.and_then(Source::json_key) else {
            return;
        };
        let extractor = self
            .document
            .get("extract")
            .and_then(|extract| extract.single());
        let is_other = |name: &str| name != "json" && extract::find(name).is_ok();
        let Some((extractor, _)) = extractor.filter(|(name, _)| is_other(name)) else {
            return;
        };
        let what = format!("`{key}` reads JSON, and `extract: {{{extractor}: …}}` reads none");
        self.part("source", |document| {
            let place = config_of(document);
            let place = place.get(key).unwrap_or(place);
            let error = place.error("extract_does_not_fit", what);
            Err::<(), _>(error.with_hint(format!(
                "remove `{key}`; of pages, `paginate: {{link_header: {{}}}}` reads headers only"
            )))
        });
    }

    /// What a statement makes of columns with declared types, and what it makes that is declared to come from the source.
    pub(super) fn check_made_columns(
        &mut self,
        policy: Option<&ContractPolicy>,
        steps: Option<&[Step]>,
    ) {
        let (Some(policy), Some(steps)) = (policy, steps) else {
            return;
        };
        let first = (0..steps.len()).find_map(|at| Some((at, self.statement(at)?)));
        let Some((at, statement)) = first else {
            return;
        };
        let passes = |step: &Step| {
            policy
                .columns
                .keys()
                .all(|name| step.transform.passes(name))
        };
        let is_kept = steps[..at].iter().all(passes);
        let known = match is_kept {
            true => declared(policy),
            false => Arc::new(Schema::empty()),
        };
        let transform = &steps[at].transform;
        let checked = transform.check_columns(&known);
        self.made(
            &statement,
            checked.map_err(|error| statement.sql_error(&error)),
        );
        for name in transform.made().iter().filter(|_| is_kept) {
            self.check_made(name, policy);
        }
    }

    fn statement(&self, index: usize) -> Option<Document> {
        let steps = self.valid("transform")?.elements();
        let (kind, statement) = steps.into_iter().nth(index)?.single()?;
        (kind == "sql").then_some(statement)
    }

    /// A type under `schema.columns` is that of what is extracted: for what a statement makes it says nothing.
    fn check_made(&mut self, name: &str, policy: &ContractPolicy) {
        let rule = policy.columns.get(name).filter(|rule| says_type_only(rule));
        if rule.is_none() || policy.new_columns != NewColumns::Evolve {
            return;
        }
        self.part("schema", |document| {
            let columns = document.get("columns");
            let place = columns.as_ref().and_then(|columns| columns.get(name));
            let place = place.unwrap_or_else(|| document.clone());
            Err::<(), _>(made_by_transform(&place, name))
        });
    }
}

fn says_type_only(rule: &ColumnRule) -> bool {
    rule.r#type.is_some() && !rule.required && rule.check.is_none()
}

fn made_by_transform(place: &Document, name: &str) -> Error {
    let message = format!(
        "`schema.columns` describes what is extracted, and `{name}` is made by the transform, which does not read it"
    );
    let hint = format!(
        "give it its type in the statement, `CAST(… AS type) AS {name}`, or with a `cast` step behind it, and remove it here"
    );
    place.error("column_made", message).with_hint(hint)
}

fn config_of(document: &Document) -> Document {
    let config = document.single().map(|(_, config)| config);
    config.unwrap_or_else(|| document.clone())
}

/// The columns whose types are known before the first row.
fn declared(policy: &ContractPolicy) -> Arc<Schema> {
    let columns = policy.declared_columns();
    let fields = columns.map(|(name, kind)| Field::new(name, kind.arrow(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
