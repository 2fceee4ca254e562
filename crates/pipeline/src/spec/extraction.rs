//! Starts the extraction of a pipeline: its extractor, with the columns that the source adds to the records.

use std::sync::Arc;

use forebay_core::{Error, Result};
use forebay_formats::contract::{CONTRACT_MISMATCH, Contract, ContractPolicy, TakenTables};
use forebay_formats::file_columns::{ExpectedColumns, FileExtraction, FileRules};
use forebay_formats::message::{MessageExtraction, MessageRules};
use forebay_formats::{Extraction, learned};
use forebay_lake::partition::Transform;

use super::PipelineSpec;

impl PipelineSpec {
    /// Starts an extraction of payloads of this pipeline's source; `contract` is the learned contract of earlier ones.
    ///
    /// Errors: `Config` when source and extractor do not fit; those of the extractor about the contract.
    pub fn extraction(&self, contract: Option<Contract>) -> Result<Box<dyn Extraction>> {
        self.extraction_beside(contract, None)
    }

    /// As [`Self::extraction`], with the tables that no list of the records may become.
    pub fn extraction_beside(
        &self,
        contract: Option<Contract>,
        taken: Option<Arc<TakenTables>>,
    ) -> Result<Box<dyn Extraction>> {
        self.check_registry()?;
        let capabilities = self.source.capabilities();
        let policy = ContractPolicy {
            taken,
            ..self.schema.clone()
        };
        if let Some(rules) = self.file_rules() {
            let inner = self.start(contract, &rules.policy_of_records(&policy))?;
            let expected = self.expected_columns(rules);
            return Ok(Box::new(FileExtraction::new(
                inner,
                rules.clone(),
                expected,
            )));
        }
        let inner = self.start(contract, &policy)?;
        match capabilities.messages {
            Some(rules) => self.of_messages(inner, rules),
            None => Ok(inner),
        }
    }

    /// The columns of files that the source adds, if any.
    pub(crate) fn file_rules(&self) -> Option<&FileRules> {
        let rules = self.source.capabilities().file_rules;
        rules.filter(|rules| rules.add_columns())
    }

    /// Errors: `Config` `needs_messages`.
    fn check_registry(&self) -> Result<()> {
        if !self.extract.needs_registry() || self.source.capabilities().has_registry {
            return Ok(());
        }
        let what =
            "the extractor reads messages with schemas of a registry, but the source has none";
        Err(Error::config("needs_messages", what)
            .with_hint("read them with `source.kafka` and its `registry`"))
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
    ) -> Result<Box<dyn Extraction>> {
        let records = self.records.as_deref();
        let learns_nothing = contract.as_ref().is_some_and(learned::is_empty);
        match self.extract.start(contract, policy, records) {
            // Another extractor may take over a contract without columns.
            Err(error) if learns_nothing && error.code() == CONTRACT_MISMATCH => {
                self.extract.start(None, policy, records)
            }
            started => started,
        }
    }

    fn expected_columns(&self, rules: &FileRules) -> ExpectedColumns {
        let declared = self.schema.declared_columns();
        let mut expected = ExpectedColumns {
            declared: declared
                .map(|(name, kind)| (name.to_owned(), kind))
                .collect(),
            folders: Vec::new(),
        };
        if rules.hive {
            expected.folders = self.partition_folders();
        }
        expected
    }

    /// The columns that partition the table and may be folders of text: the table needs them even if the first files are
    /// in no such folder. A time transform needs a declared type, and a declared column is in every batch.
    fn partition_folders(&self) -> Vec<String> {
        let partition = self.load.lake().map(|target| target.partition.as_slice());
        let passes = |name: &str| {
            self.transform
                .iter()
                .all(|step| step.transform.passes(name))
        };
        let fits = |transform| {
            matches!(
                transform,
                Transform::Identity | Transform::Bucket(_) | Transform::Truncate(_)
            )
        };
        let fields = partition.into_iter().flatten();
        let fields = fields.filter(|field| fits(field.transform) && !field.column.starts_with('_'));
        let names = fields.map(|field| field.column.clone());
        let mut names: Vec<String> = names.filter(|name| passes(name)).collect();
        names.sort();
        names.dedup();
        names
    }

    fn of_messages(
        &self,
        inner: Box<dyn Extraction>,
        rules: &MessageRules,
    ) -> Result<Box<dyn Extraction>> {
        if inner.wants_object() && !rules.only {
            return Ok(inner);
        }
        if inner.wants_object() {
            let what = "the extractor reads whole files, but the source reads messages";
            return Err(Error::config("not_for_messages", what));
        }
        let mut names = rules.columns.names();
        if let Some(name) = names.find(|name| self.schema.columns.contains_key(name)) {
            let what = format!(
                "`schema.columns.{name}` declares a column of the records, but `source` adds it to them"
            );
            return Err(
                Error::config("column_clash", what).with_hint("give one of them another name")
            );
        }
        let packs = self.extract.takes_messages();
        Ok(Box::new(MessageExtraction::of_messages(
            inner,
            packs,
            rules.clone(),
        )))
    }
}
