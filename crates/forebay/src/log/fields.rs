//! Fields of spans and events as JSON values, for every layer that wants them so.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};

/// Gives each field to a function.
pub(super) struct Each<F>(pub(super) F);

impl<F: FnMut(&'static str, Value)> Each<F> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        (self.0)(field.name(), value.into());
    }
}

impl<F: FnMut(&'static str, Value)> Visit for Each<F> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
