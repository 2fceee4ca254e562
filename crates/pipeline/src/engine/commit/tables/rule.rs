//! What the rows of a pipeline do to those that are there.

use forebay_core::{Error, ROOT_ID, ROW_ID, Result, TableName};
use forebay_lake::Draft;
use forebay_lake::bitemporal::Bitemporal;

use crate::platform::iceberg::IcebergTarget;

/// What rows do to those of the same key.
pub(super) struct RowKey {
    pub(super) rule: RowRule,
    /// Whether the draft knows it in its present schema.
    pub(super) is_set: bool,
}

pub(super) enum RowRule {
    /// See [`Draft::upsert_by`].
    Upsert {
        key: Vec<String>,
        order: Option<String>,
    },
    /// See [`Draft::bitemporal_by`].
    Bitemporal(Bitemporal),
    /// Rows of a child table of this one, whose rows replace others: see [`Draft::follow_rows`].
    Follow(TableName),
}

impl RowRule {
    /// `None` for rows that are only added.
    pub(super) fn of(target: &IcebergTarget) -> Option<Self> {
        match target.bitemporal() {
            Some((rules, _)) => Some(Self::Bitemporal(rules)),
            None => target.is_keyed().then(|| Self::Upsert {
                key: target.key.clone(),
                order: target.order.clone(),
            }),
        }
    }

    pub(super) fn apply(&self, draft: &mut Draft) -> Result<()> {
        match self {
            Self::Upsert { key, order } => draft.upsert_by(key, order.as_deref()),
            Self::Bitemporal(rules) => draft.bitemporal_by(rules),
            Self::Follow(parent) => draft.follow_rows(parent, ROOT_ID, ROW_ID),
        }
    }

    /// The rule for rows of a child table.
    ///
    /// Errors: `Unsupported` `bitemporal_children`.
    pub(super) fn of_children(self, main: &TableName) -> Result<Self> {
        match self {
            Self::Upsert { .. } | Self::Follow(_) => Ok(Self::Follow(main.clone())),
            Self::Bitemporal(_) => {
                let what = "rows of child tables have no periods of their own, so this mode cannot load them";
                let hint =
                    "extract with `nested: flatten` or `keep`, which leave lists in their row";
                Err(Error::unsupported("bitemporal_children", what).with_hint(hint))
            }
        }
    }
}
