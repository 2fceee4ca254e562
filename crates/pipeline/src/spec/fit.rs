//! Checks that the parts of a pipeline fit each other, as far as the configuration shows.
//!
//! Each part has been validated alone before. Never reads data, and never contacts another host.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use forebay_config::{Document, suggest};
use forebay_core::Error;

use super::components::{ConfiguredSource, ConfiguredTarget, Stage, is_component, own_extractor};
use super::{Build, Step};
use crate::platform::iceberg::IcebergTarget;
use forebay_formats::contract::{ColumnRule, ContractPolicy, NewColumns};
use forebay_lake::bitemporal;

impl Build<'_> {
    /// An extractor of one source is read by that source only, and that source by no other extractor.
    pub(super) fn check_own_extractor(&mut self) {
        let chosen = |key: &str| Some(self.document.get(key)?.single()?.0);
        let (Some(source), Some(extract)) = (chosen("source"), chosen("extract")) else {
            return;
        };
        let known = is_component(Stage::Source, &source) && is_component(Stage::Extract, &extract);
        let own = [&source, &extract].into_iter();
        let mut own = own.filter(|name| own_extractor(name).is_some());
        let Some(name) = own.next().filter(|_| known && source != extract) else {
            return;
        };
        let what = format!("`source: {name}` and `extract: {{{name}: {{}}}}` only work together");
        self.part("extract", |document| {
            Err::<(), _>(document.error("extract_does_not_fit", what))
        });
    }

    /// A source must not read the table that the pipeline loads, and the rows of a statement must fit the mode of the target.
    pub(super) fn check_tables(
        &mut self,
        source: Option<&ConfiguredSource>,
        load: Option<&ConfiguredTarget>,
    ) {
        let (Some(source), Some(target)) = (source, load) else {
            return;
        };
        let Some(tables) = source.tables() else {
            return;
        };
        let is_by_pass = source.capabilities().is_by_pass;
        let lake = target.lake();
        if lake.is_some_and(|target| tables.all.contains(&target.table)) {
            let what = "the pipeline reads the table that it loads: each run would read the rows added by the last one";
            self.refuse_load("table", &Error::config("endless_table", what));
        }
        let has_new = !tables.new.is_empty();
        if is_by_pass && has_new && target.replaces() {
            let what = "the rows that are new since the last run would replace all others";
            let hint = "read the tables without `${new:…}`, or load `mode: append` or `upsert`";
            let error = Error::config("new_rows_replace", what).with_hint(hint);
            self.refuse_load("mode", &error);
        }
        if source.repeats_rows() && lake.is_some_and(IcebergTarget::only_adds) {
            let what = "a run would add rows once more that an earlier one has added";
            let hint = "load `mode: replace` or `upsert`, or read only new rows with `FROM ${new:namespace.table}`";
            let error = Error::config("result_added_again", what).with_hint(hint);
            self.refuse_load("mode", &error);
        }
    }

    fn refuse_load(&mut self, key: &str, error: &Error) {
        self.part("load", |document| {
            let place = config_of(document);
            let place = place.get(key).unwrap_or(place);
            let placed = place.error(error.code(), error.message());
            Err::<(), _>(match error.hint() {
                Some(hint) => placed.with_hint(hint),
                None => placed,
            })
        });
    }

    /// A target that is replaced at the end of a run needs a source that ends.
    pub(super) fn check_end(
        &mut self,
        source: Option<&ConfiguredSource>,
        load: Option<&ConfiguredTarget>,
    ) {
        let pushed = source.is_some_and(|source| source.push().is_some());
        if pushed && load.is_some_and(ConfiguredTarget::replaces) {
            self.part("load", |document| {
                let place = document
                    .single()
                    .map_or_else(|| document.clone(), |(_, config)| config);
                let place = place.get("mode").unwrap_or(place);
                Err::<(), _>(place.error(
                    "replace_without_end",
                    "pushes never end, so they cannot replace a table",
                ))
            });
        }
    }

    /// Rows of child tables have no periods.
    pub(super) fn check_children(&mut self, load: Option<&ConfiguredTarget>) {
        let is_bitemporal = load
            .and_then(ConfiguredTarget::lake)
            .is_some_and(|target| target.bitemporal().is_some());
        let extract = self
            .document
            .get("extract")
            .and_then(|extract| extract.single());
        let nested = extract.and_then(|(_, config)| config.get("nested"));
        let makes_tables = |nested: &Document| nested.as_str() == Some("tables");
        let Some(nested) = nested.filter(|nested| is_bitemporal && makes_tables(nested)) else {
            return;
        };
        let what = "rows of child tables have no periods of their own, so `mode: bitemporal` cannot load them";
        let error = nested.error("bitemporal_children", what);
        let hint = "use `nested: flatten` or `keep`, which leave lists in their row";
        self.made(&nested, Err::<(), _>(error.with_hint(hint)));
    }

    /// A table is partitioned, and its rows are combined, by columns that the last transform yields, as far as its configuration shows
    /// them.
    pub(super) fn check_columns(
        &mut self,
        steps: Option<&[Step]>,
        load: Option<&ConfiguredTarget>,
    ) {
        let columns = steps
            .and_then(<[Step]>::last)
            .and_then(|step| step.transform.columns());
        let (Some(columns), Some(target)) = (columns, load.and_then(ConfiguredTarget::lake)) else {
            return;
        };
        let is_own =
            |name: &str| target.bitemporal().is_some() && bitemporal::is_period_column(name);
        let is_yielded = |name: &str| columns.iter().any(|column| column == name);
        let is_unknown = |name: &str| !name.starts_with('_') && !is_own(name) && !is_yielded(name);
        let mut partition = target.partition.iter().enumerate();
        if let Some((at, field)) = partition.find(|(_, field)| is_unknown(&field.column)) {
            let what = format!("the table is partitioned by `{}`", field.column);
            self.refuse_column(("partition", Some(at)), &what, &field.column, columns);
        }
        let mut named = target.named_columns().into_iter();
        if let Some((key, name)) = named.find(|(_, name)| !is_yielded(name)) {
            let what = format!("`{key}` names `{name}`");
            self.refuse_column((key, None), &what, name, columns);
        }
    }

    /// `place` is a key of the load, and the number of an element of its list.
    fn refuse_column(
        &mut self,
        place: (&str, Option<usize>),
        what: &str,
        name: &str,
        columns: &[String],
    ) {
        let names = columns.iter().map(String::as_str);
        let hint = match suggest::nearest(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("columns are {}", suggest::list(names)),
        };
        let what = format!("{what}, which the last transform does not yield");
        let (key, at) = place;
        self.part("load", |document| {
            let config = document
                .single()
                .map_or_else(|| document.clone(), |(_, config)| config);
            let list = config.get(key).unwrap_or(config);
            let element = at.and_then(|at| list.elements().into_iter().nth(at));
            let place = element.unwrap_or(list);
            Err::<(), _>(place.error("no_column", what).with_hint(hint))
        });
    }

    /// Keys that the source looks up in bodies need JSON.
    pub(super) fn check_bodies(&mut self, source: Option<&ConfiguredSource>) {
        let Some(key) = source.and_then(|source| source.capabilities().json_key) else {
            return;
        };
        let extractor = self
            .document
            .get("extract")
            .and_then(|extract| extract.single());
        let is_other = |name: &str| name != "json" && is_component(Stage::Extract, name);
        let Some((extractor, _)) = extractor.filter(|(name, _)| is_other(name)) else {
            return;
        };
        let what =
            format!("`{key}` needs JSON, but `extract: {{{extractor}: …}}` does not read JSON");
        self.part("source", |document| {
            let place = config_of(document);
            let place = place.get(key).unwrap_or(place);
            let error = place.error("extract_does_not_fit", what);
            Err::<(), _>(error.with_hint(format!(
                "remove `{key}`; of pages, `paginate: {{link_header: {{}}}}` reads headers only"
            )))
        });
    }

    /// Checks columns that a statement computes from columns with declared types, and computed columns that are declared as
    /// extracted.
    pub(super) fn check_made_columns(
        &mut self,
        policy: Option<&ContractPolicy>,
        steps: Option<&[Step]>,
    ) {
        let (Some(policy), Some(steps)) = (policy, steps) else {
            return;
        };
        let mut known = declared(policy);
        for (at, step) in steps.iter().enumerate() {
            if let Some(statement) = self.statement(at) {
                let checked = step.transform.check_columns(&known);
                let checked = checked.map_err(|error| statement.sql_error(&error));
                if self.made(&statement, checked).is_none() {
                    break;
                }
            }
            known = step.transform.known_columns(&known);
        }
        let first = (0..steps.len()).find(|at| self.statement(*at).is_some());
        let passes = |step: &Step| {
            policy
                .columns
                .keys()
                .all(|name| step.transform.passes(name))
        };
        let Some(at) = first.filter(|at| steps[..*at].iter().all(passes)) else {
            return;
        };
        for name in steps[at].transform.made() {
            self.check_made(name, policy);
        }
    }

    fn statement(&self, index: usize) -> Option<Document> {
        let steps = self.valid("transform")?.elements();
        let (kind, statement) = steps.into_iter().nth(index)?.single()?;
        (kind == "sql").then_some(statement)
    }

    /// A type under `schema.columns` applies to extracted columns, not to columns computed by a statement.
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
        "`schema.columns` describes extracted columns, but `{name}` is computed by the transform, which does not read it"
    );
    let hint = format!(
        "set its type in the statement, `CAST(… AS type) AS {name}`, or with a `cast` step after it, and remove it here"
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
