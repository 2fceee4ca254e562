//! Lists, structs and maps: the form that the engine's functions read rightly, and one order for all that compares them.

mod common;
mod compact;
mod contained;
mod order;
mod quantified;
mod removed;
mod roles;
mod shown;

pub(crate) use common::{common_type, peer_field};
pub(crate) use compact::{COMPACT, compact, compacted};
pub(crate) use contained::{has_all, has_any};
pub(crate) use order::{Comparison, compared, extreme, ordered_values};
pub(crate) use quantified::{common, is_quantified, item_of, quantified};
pub(crate) use removed::without;
pub(crate) use roles::{Role, roles, with_items};
pub(crate) use shown::{nested_text, shown_as_text};
