//! What the rows of a pipeline do to those that are there.

use forebay_core::Result;
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
        }
    }
}
