//! One payload on its way into an extractor: on arrival, on replay and on rebuild.

pub(crate) mod pour;
pub(crate) mod spill;
pub(crate) mod stored;
pub(crate) mod verify;
