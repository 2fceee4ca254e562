//! A source whose payloads are known beforehand: some records are wrong, and each has a number of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_connectors::source::{Source, SourceContext, SplitReader};
use forebay_core::{Chunk, Clock, Compression, Ident, PayloadHead, Position, Result};
use serde_json::json;

use super::super::world::Dice;

#[derive(Debug, Clone)]
pub(super) struct KnownSource {
    /// The lines of each payload.
    payloads: Arc<Vec<String>>,
    /// Numbers of the records that have a row.
    pub(super) good: Vec<u64>,
    pub(super) bad: usize,
}

impl KnownSource {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let mut source = Self {
            payloads: Arc::default(),
            good: Vec::new(),
            bad: 0,
        };
        let mut payloads = Vec::new();
        let mut number = 0;
        for _ in 0..1 + dice.below(5) {
            let mut lines = String::new();
            for _ in 0..dice.below(4) {
                number += 1;
                lines += &source.record(number, dice);
            }
            payloads.push(lines);
        }
        source.payloads = Arc::new(payloads);
        source
    }

    fn record(&mut self, number: u64, dice: &mut Dice) -> String {
        if dice.is(15) {
            self.bad += 1;
            return format!("{{\"id\": {number}, \"note\":\n");
        }
        self.good.push(number);
        let key = key(number);
        match dice.below(4) {
            0 => format!("{{\"id\": {number}, \"k\": {key}, \"note\": \"n\"}}\n"),
            1 => format!(
                "{{\"id\": {number}, \"k\": {key}, \"parts\": [{{\"p\": 1}}, {{\"p\": 2}}]}}\n"
            ),
            _ => format!("{{\"id\": {number}, \"k\": {key}}}\n"),
        }
    }

    /// Numbers of the records that stay when each replaces the one before of its key.
    pub(super) fn last_of_each_key(&self) -> Vec<u64> {
        let good = self.good.iter();
        let last: BTreeMap<u64, u64> = good.map(|number| (key(*number), *number)).collect();
        let mut last: Vec<u64> = last.into_values().collect();
        last.sort_unstable();
        last
    }

    pub(super) fn payloads(&self) -> usize {
        self.payloads.len()
    }
}

fn key(number: u64) -> u64 {
    number % 4
}

#[async_trait]
impl Source for KnownSource {
    async fn open(
        &self,
        _: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let read = position.map_or(0, |position| position.0["read"].as_u64().unwrap());
        Ok(Box::new(KnownReader {
            payloads: self.payloads.clone(),
            clock: context.clock,
            first: read,
            read,
        }))
    }
}

struct KnownReader {
    payloads: Arc<Vec<String>>,
    clock: Arc<dyn Clock>,
    first: u64,
    read: u64,
}

#[async_trait]
impl SplitReader for KnownReader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        let n = usize::try_from(self.read).unwrap();
        let Some(lines) = self.payloads.get(n) else {
            return Ok(None);
        };
        self.read += 1;
        let head = PayloadHead {
            ordinal: self.read - self.first,
            name: format!("payload-{n}"),
            received_at: self.clock.now(),
            content_type: None,
            compression: Compression::None,
            attributes: BTreeMap::new(),
            messages: None,
        };
        let position = Position(json!({ "read": self.read }));
        let bytes = Bytes::from(lines.clone());
        Ok(Some(Chunk::whole(head, bytes, Some(position))))
    }
}
